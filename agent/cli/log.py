"""`fleet-agent log`: the running agent's last lines."""

from pathlib import Path

import click

from agent.adapters.local_api import ask
from agent.cli import options
from agent.cli.asking import as_json
from agent.core.answers import LogTail
from agent.errors import Unavailable
from agent.settings import StateDir
from agent.wire.codec import decode, encode


@click.command("log", short_help="Show the last lines of the running agent's log.")
@options.state
@click.option("--lines", type=click.IntRange(1), default=50, show_default=True, help="The last so many.")
@as_json
def command(state: Path, lines: int, *, as_json: bool) -> None:
    """Show the last lines of the running agent's log, which it keeps in memory.

    They are there also where the journal is not kept, as on many a Pi. All of it:
    journalctl -u fleet-agent.

    \b
    Examples:
      fleet-agent log
      fleet-agent log --lines 200 --json | jq -r '.lines[]'
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped
    try:
        found = decode(LogTail, ask(StateDir(state).socket, "log"))
    except Unavailable as error:
        raise Unavailable(error.message, hint="What it said before it ended: journalctl -u fleet-agent") from error
    kept = LogTail(found.version, found.lines[-lines:])
    click.echo(encode(kept).decode() if as_json else "\n".join(kept.lines))
