"""`fleet-agent status`: how the agent fares."""

from pathlib import Path

import click

from agent.adapters.clock import SystemClock
from agent.adapters.local_api import ask
from agent.adapters.offline import read_offline
from agent.cli import options
from agent.core.status import Status, render
from agent.errors import Unavailable
from agent.settings import StateDir
from agent.wire.codec import decode, encode


@click.command("status", short_help="Show sources, newest values, buffer, clock, certificate.")
@options.state
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
def command(state: Path, *, as_json: bool) -> None:
    """Show sources, newest values, buffer, clock, server, config and certificate.

    The running agent is asked; if none runs, its files are read, and the answer says so.

    \b
    Examples:
      fleet-agent status
      fleet-agent status --json | jq .buffer.readings
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped
    paths = StateDir(state)
    try:
        status = decode(Status, ask(paths.socket, "status"))
    except Unavailable:
        status = read_offline(paths, SystemClock())
    click.echo(encode(status).decode() if as_json else render(status))
