"""`fleet-agent config`: the config document that runs."""

import json
from pathlib import Path

import click

from agent.adapters.local_api import ask
from agent.adapters.standing import load_local, load_standing, local_status
from agent.cli import options
from agent.errors import Misconfigured, Unavailable
from agent.settings import StateDir


@click.command("config", short_help="Print the config document that the agent runs.")
@options.state
def command(state: Path) -> None:
    """Print the config document that the agent runs, as it was written.

    What is set on this device itself (agent.toml) and wins over it stands above it, in comments.

    \b
    Example:
      fleet-agent config > running.toml
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped
    paths = StateDir(state)
    try:
        toml = str(json.loads(ask(paths.socket, "config")))
    except Unavailable:
        toml = load_standing(paths.config).next_start().toml
    if not toml:
        raise Misconfigured(
            f"{state} has no config yet.", hint="Start with `fleet-agent run --config FILE`, or set one in the fleet."
        )
    local = local_status(*load_local(paths.local), toml)
    if local.problem:
        click.echo(f"# agent.toml is not followed: {local.problem}")
    for it in local.overrides:
        click.echo(f"# agent.toml on this device wins: {it.key} = {it.here}")
    click.echo(toml, nl=not toml.endswith("\n"))
