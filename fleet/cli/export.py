"""`fleet export`: telemetry into files."""

import sys
from dataclasses import asdict
from pathlib import Path

import click

from fleet.cli.archive.journal import State, Task
from fleet.cli.archive.keep import Outcome, planned, to_file, to_folder
from fleet.cli.archive.take import take
from fleet.cli.archive.text import Stdout
from fleet.cli.client import Client, pass_client
from fleet.cli.options import complete_device, json_option, range_options
from fleet.cli.output import facts, print_json, say
from fleet.cli.series import joined
from fleet.cli.shell import Command
from fleet.cli.times import in_order, iso, now_us
from fleet.errors import Invalid

SUFFIXES = {".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson", ".csv": "csv"}


@click.command(
    cls=Command,
    examples=(
        "fleet export --device freezer-7k3m2q --from -7d --out freezer.csv",
        "fleet export product:freezer site:Berlin* --series board.temp --from 2026-01-01 --out berlin.ndjson",
        "fleet export --format parquet --out lake",
        "fleet export --device freezer-7k3m2q --from -1h",
    ),
)
@click.argument("selector", metavar="[WHICH]...", nargs=-1)
@click.option(
    "--device",
    "devices",
    metavar="ID",
    multiple=True,
    help="Only this device; may be said several times.",
    shell_complete=complete_device,
)
@click.option(
    "--series", metavar="NAME", multiple=True, help="Only this series, `*` for any characters; several times."
)
@range_options("readings")
@click.option(
    "--format",
    "form",
    type=click.Choice(("ndjson", "csv", "parquet")),
    help="What to write; the ending of --out says it otherwise, and on stdout it is ndjson.",
)
@click.option("--out", metavar="PATH", help="A file, or a folder for Parquet; stdout if not said.")
@click.option("--again", is_flag=True, help="Begin anew, whatever is there of an export before.")
@json_option("Say in JSON what was written.")
@pass_client
def export(  # noqa: PLR0913 - one option a fact
    client: Client,
    *,
    selector: tuple[str, ...],
    devices: tuple[str, ...],
    series: tuple[str, ...],
    from_us: int | None,
    to_us: int | None,
    form: str | None,
    out: str | None,
    again: bool,
    as_json: bool,
) -> None:
    """Write readings and gaps into files: of one device, of those you choose, or of the whole fleet.

    Which devices, say words: product:freezer site:Berlin*, or a part of id, serial or site; the whole fleet otherwise.
    Without --from it begins with the oldest that is kept, without --to it ends now. What was interrupted, the same
    command takes up where it was.
    """
    in_order(from_us, to_us)
    which = joined((*selector, *(["device:" + ",".join(devices)] if devices else []))) or ""
    to_stdout = out is None or out == "-"
    chosen = form or _form(out)
    asked = Task(chosen, which, series, 0, 0, from_us, to_us, now_us(), client.server.url)
    if to_stdout:
        _print(client, asked, as_json=as_json)
        return
    path = Path(out or "")
    write = to_folder if chosen == "parquet" else to_file
    done = write(client, asked, path, _progress if sys.stderr.isatty() else _silence, again=again)
    _tell(done, as_json=as_json)
    _complain(done.state)


def _form(out: str | None) -> str:
    if out is None or out == "-":
        return "ndjson"
    found = SUFFIXES.get(Path(out).suffix.lower())
    if found is None:
        raise click.UsageError(f"{out} does not say what it shall be: add --format ndjson, csv or parquet.")
    return found


def _print(client: Client, asked: Task, *, as_json: bool) -> None:
    if asked.form == "parquet":
        raise click.UsageError("Parquet is a folder of files: say --out DIR.")
    if as_json:
        raise click.UsageError("--json says what was written into a file: say --out.")
    task, machines = planned(client, asked)
    with Stdout(task.form, machines) as writer:
        state = take(client, task, machines, State(), writer, lambda _: None)
        writer.finish()
    _complain(state)


def _silence(_state: State, _groups: int) -> None:
    """Say nothing: nobody is looking."""


def _progress(state: State, groups: int) -> None:
    """Say how far it is, on one line of the terminal."""
    done = f"{state.group} of {groups} groups of devices" if groups > 1 else iso(state.next_us or 0)[:10]
    click.echo(f"\r{state.readings:,} readings · {done}\033[K", nl=False, err=True)


def _tell(done: Outcome, *, as_json: bool) -> None:
    task, state = done.task, done.state
    if as_json:
        about = {"place": str(done.place), "files": done.files, "new": done.new, "devices": done.devices}
        sums = {"readings": state.readings, "checksum": f"{state.checksum:016x}", "gaps": state.gaps}
        print_json({**about, **sums, "damaged": state.damaged, **asdict(task)})
        return
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    if not done.new:
        say(f"{done.place} is whole already; nothing was asked for. Say --again to make it anew.")
    facts(
        (
            ("written", f"{done.place} ({task.form}{f', {done.files} files' if done.files > 1 else ''})"),
            ("devices", done.devices),
            ("readings", f"{state.readings:,}"),
            ("gaps", f"{state.gaps:,}"),
            ("from", iso(task.from_us) if task.from_us else "the oldest that is kept"),
            ("before", iso(task.to_us)),
            ("checksum", f"{state.checksum:016x}, as `fleet tally` has it"),
        )
    )


def _complain(state: State) -> None:
    if state.damaged:
        raise Invalid(
            f"{state.damaged} chunks of the fleet are damaged: their readings are missing here",
            hint="`fleet gap list` and the server's log say which; all else is whole.",
        )
