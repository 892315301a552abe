"""`fleet doctor`: what is amiss with the server and its data, and what to do about it."""

import json
import sys
import time
from collections.abc import Iterator

import click

from fleet.cli.client import Client, Item, pass_client
from fleet.cli.options import json_option
from fleet.cli.output import print_json
from fleet.cli.reading import NDJSON
from fleet.cli.shell import Command, Exit, printable

SILENCE_S = 3600.0  # one check of a large table takes its time
LEVELS = ("ok", "warn", "fail")
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
SHAPE = 1  # of the JSON; fields are only added


@click.command(cls=Command, examples=("fleet doctor", "fleet doctor --deep", "fleet doctor --json"))
@click.option("--deep", is_flag=True, help="Look into every reading, not only into a sample of devices.")
@json_option('Print one JSON object: {"version", "worst", "findings": [{"check", "level", "said", "do", "device"}]}.')
@pass_client
def doctor(client: Client, *, deep: bool, as_json: bool) -> None:
    """Check the server and its data; say what to do.

    Schema and integrity of the database, marks against data, chunks, rollups, newest values, alarms and tickets
    against their events, jobs, quarantine, disk, certificates, broker and clock. Looks and changes nothing, beside the
    running server. Exit code 1 if something is not as it must be, 0 if all is well or there are only warnings.
    """
    found: list[Item] = []
    for item in _findings(client, deep=deep):
        found.append(item)
        if not as_json:
            _print(item)
    worst = max((item["level"] for item in found), key=LEVELS.index, default=LEVELS[0])
    if as_json:
        print_json({"version": SHAPE, "worst": worst, "findings": found})
    sys.exit(Exit.FAILED if worst == LEVELS[-1] else Exit.DONE)


def _findings(client: Client, *, deep: bool) -> Iterator[Item]:
    caller_us = time.time_ns() // 1000
    for line in client.lines("doctor", accept=NDJSON, silence_s=SILENCE_S, deep=deep or None, caller_us=caller_us):
        if line:
            yield json.loads(line)


def _print(item: Item) -> None:
    level = click.style(f"{item['level']:<5}", fg=COLOURS[item["level"]])
    click.echo(f"{level} {item['check']:<12} {printable(item['said'])}")
    if item["do"]:
        click.echo(f"{'':<19}{printable(item['do'])}")
