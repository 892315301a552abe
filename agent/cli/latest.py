"""`fleet-agent latest`: the newest value of each series."""

from pathlib import Path

import click

from agent.adapters.peek import peek
from agent.cli import options
from agent.cli.asking import as_json, asked, now_us
from agent.core.answers import VERSION, Latest, latest_lines
from agent.core.status import LatestStatus, iso
from agent.settings import StateDir
from agent.wire.codec import encode


@click.command("latest")
@options.state
@as_json
def command(state: Path, *, as_json: bool) -> None:
    """Show the newest value of each series.

    The running agent is asked; if none runs, its buffer is read.

    \b
    Examples:
      fleet-agent latest
      fleet-agent latest --json | jq '.items[] | select(.name == "board.temp").v'
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped
    paths = StateDir(state)
    answer = asked(paths, Latest, "latest", lambda: _offline(paths))
    click.echo(encode(answer).decode() if as_json else "\n".join(latest_lines(answer)))


def _offline(paths: StateDir) -> Latest:
    now = now_us()
    newest = sorted(peek(paths.buffer).newest, key=lambda it: it.name)
    items = tuple(LatestStatus(it.name, it.unit, it.t_us, iso(it.t_us), it.v) for it in newest)
    return Latest(VERSION, running=False, t_us=now, t=iso(now), items=items)
