"""`fleet tally`: what is kept, counted, to hold against a ledger, an export or a copy."""

import json
from collections.abc import Iterator

import click

from fleet.cli.client import Client, pass_client
from fleet.cli.options import device_option, json_option, range_options
from fleet.cli.output import table
from fleet.cli.reading import NDJSON
from fleet.cli.shell import Command
from fleet.cli.times import in_order

SILENCE_S = 600.0  # counting goes through every reading
MODULUS = 1 << 64


@click.command(
    cls=Command,
    examples=("fleet tally --from -1d", "fleet tally --device freezer-7k3m2q --json"),
)
@device_option()
@range_options("readings")
@json_option('Print one JSON object a device: {"device", "series": {name: {"count", "checksum"}}}.')
@pass_client
def tally(client: Client, device: str | None, from_us: int | None, to_us: int | None, *, as_json: bool) -> None:
    """Count the readings that are kept, with a checksum.

    The checksum does not depend on their order: two places that hold the same readings have the same tally. The sum
    over all devices stands below them.
    """
    in_order(from_us, to_us)
    lines = client.lines("tally", accept=NDJSON, silence_s=SILENCE_S, device=device, from_=from_us, to=to_us)
    if as_json:
        for line in lines:
            if line:
                click.echo(line)
        return
    table(("device", "series", "readings", "checksum"), _rows(lines), empty="No readings are kept of that time.")


def _rows(lines: Iterator[str]) -> Iterator[tuple[object, ...]]:
    devices = readings = checksum = 0
    for line in lines:
        if not line:
            continue
        told = json.loads(line)
        count, total = 0, 0
        for series in told["series"].values():
            count += series["count"]
            total += int(series["checksum"], 16)
        yield told["device"], len(told["series"]), count, f"{total % MODULUS:016x}"
        devices, readings, checksum = devices + 1, readings + count, (checksum + total) % MODULUS
    if devices > 1:
        yield f"all {devices}", "", readings, f"{checksum:016x}"
