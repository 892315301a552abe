"""`fleet-agent readings`: what was read, from the buffer."""

from pathlib import Path

import click

from agent.adapters import lookup
from agent.cli import options
from agent.cli.asking import as_json, asked, moment, since, until
from agent.core.answers import MAX_LIMIT, Readings, ReadingsQuestion, readings_lines
from agent.settings import StateDir
from agent.wire.codec import encode
from agent.wire.limits import MAX_TIME_US


@click.command("readings", short_help="Show readings that the buffer holds, in order of time.")
@click.argument("series", required=False, default="")
@options.state
@since
@until
@click.option(
    "--limit", type=click.IntRange(1, MAX_LIMIT), default=20, show_default=True, help="The newest so many of the range."
)
@as_json
def command(  # noqa: PLR0913 - its options
    series: str, state: Path, from_text: str | None, to_text: str | None, limit: int, *, as_json: bool
) -> None:
    """Show readings that the buffer holds, of one SERIES or of all, in order of time.

    The buffer keeps what was not acked yet and, for a while, what was. For all of it: fleet-agent buffer export.

    \b
    Examples:
      fleet-agent readings board.temp
      fleet-agent readings board.temp --from 2h --limit 1000 --json
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped
    paths = StateDir(state)
    question = ReadingsQuestion(series, moment(from_text, 0), moment(to_text, MAX_TIME_US), limit)
    answer = asked(
        paths,
        Readings,
        f"readings {encode(question).decode()}",
        lambda: lookup.readings(paths.buffer, question, running=False),
    )
    click.echo(encode(answer).decode() if as_json else "\n".join(readings_lines(answer)))
