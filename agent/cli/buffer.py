"""`fleet-agent buffer`: what waits, and its way out on a USB stick."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import click

from agent.adapters import lookup
from agent.adapters.files import sync_dir
from agent.cli import options
from agent.cli.asking import as_json, asked, moment, now_us, since, until
from agent.core.answers import VERSION, BufferReport, ReadingsQuestion, buffer_lines
from agent.core.export import EVENT_COLUMNS, READING_COLUMNS, Format, batched, event_line, head, reading_line
from agent.errors import Misconfigured
from agent.settings import StateDir
from agent.wire.codec import encode
from agent.wire.limits import MAX_TIME_US

PIECE_CHARS = 256 * 1024  # written at a time


@click.group("buffer", invoke_without_command=True, short_help="Show what waits in the buffer, or export it to a file.")
@options.state
@as_json
@click.pass_context
def command(ctx: click.Context, state: Path, *, as_json: bool) -> None:
    """Show what waits in the buffer for the fleet; `export` writes it to a file.

    \b
    Examples:
      fleet-agent buffer
      fleet-agent buffer --json | jq '.lanes[].rows'
      fleet-agent buffer export /media/usb/freezer.csv
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped
    ctx.obj = StateDir(state)
    if ctx.invoked_subcommand is not None:
        return
    answer = asked(ctx.obj, BufferReport, "buffer", lambda: _offline(ctx.obj))
    click.echo(encode(answer).decode() if as_json else "\n".join(buffer_lines(answer)))


@command.command("export", short_help="Write all that the buffer holds to FILE, oldest first.")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True, dir_okay=False))
@click.option(
    "--format",
    "form",
    type=click.Choice([str(it) for it in Format]),
    help="csv or ndjson; by the end of FILE's name unless given.",
)
@click.option("--series", default="", help="Only this series.")
@since
@until
@click.option("--events", "is_events", is_flag=True, help="The device's events instead of its readings.")
@click.option("--waiting", is_flag=True, help="Only what the fleet has not acked yet.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@click.pass_obj
def export(  # noqa: PLR0913 - its options
    paths: StateDir,
    file: Path,
    *,
    form: str | None,
    series: str,
    from_text: str | None,
    to_text: str | None,
    is_events: bool,
    waiting: bool,
    force: bool,
) -> None:
    """Write all that the buffer holds to FILE, oldest first, one reading a line; - is standard output.

    The agent may run meanwhile. Nothing is taken out of the buffer: the fleet gets everything all the same.

    \b
    Examples:
      fleet-agent buffer export /media/usb/freezer.csv
      fleet-agent buffer export - --format ndjson --from 2h --series board.temp | jq .v
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped
    chosen = _format(file, form)
    if not paths.buffer.exists():
        raise Misconfigured(f"There is no {paths.buffer}.", hint="Give the agent's directory with --state.")
    question = ReadingsQuestion(series, moment(from_text, 0), moment(to_text, MAX_TIME_US))
    counted = _Counted(_lines(paths, question, chosen, is_events=is_events, waiting=waiting))
    first = head(chosen, EVENT_COLUMNS if is_events else READING_COLUMNS)
    if str(file) == "-":
        click.echo(first, nl=False)
        for piece in batched(counted, PIECE_CHARS):
            click.echo(piece, nl=False)
        return
    if file.exists() and not force:
        raise Misconfigured(f"{file} is there already.", hint="Choose another name, or write over it with --force.")
    _write(file, first, batched(counted, PIECE_CHARS))
    what = "events" if is_events else "readings"
    click.echo(
        f"{counted.count} {what} are in {file} ({file.stat().st_size / 1e6:.1f} MB), written through to the disk."
    )


class _Counted:
    """Counts what passes."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.count = 0
        self._lines = lines

    def __iter__(self) -> "_Counted":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.count += 1
        return line


def _lines(
    paths: StateDir, question: ReadingsQuestion, form: Format, *, is_events: bool, waiting: bool
) -> Iterator[str]:
    span = question.from_us, question.to_us
    if is_events:
        for event in lookup.events(paths.buffer, *span, waiting=waiting):
            yield event_line(form, event)
        return
    for segment in lookup.segments(paths.buffer, *span, waiting=waiting):
        for reading in lookup.readings_of(segment, question):
            yield reading_line(form, reading, segment.clock)


def _format(file: Path, form: str | None) -> Format:
    if form is not None:
        return Format(form)
    try:
        return Format(file.suffix.removeprefix("."))
    except ValueError:
        raise click.UsageError("Give --format csv or --format ndjson, or a FILE that ends so.") from None


def _write(file: Path, first: str, pieces: Iterator[str]) -> None:
    """Write beside, sync, rename: a stick that is pulled too early holds no file that looks whole."""
    part = file.with_name(file.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="") as out:
            out.write(first)
            for piece in pieces:
                out.write(piece)
            out.flush()
            os.fsync(out.fileno())
        part.replace(file)
        sync_dir(file.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise Misconfigured(f"{file} cannot be written: {error.strerror or error}.", hint="Is there room?") from error


def _offline(paths: StateDir) -> BufferReport:
    lanes = lookup.lanes(paths.buffer, now_us())
    size = lookup.file_bytes(paths.buffer)
    return BufferReport(VERSION, False, str(paths.buffer), size, lanes, "")  # noqa: FBT003 - running
