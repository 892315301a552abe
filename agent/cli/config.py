"""`fleet-agent config`: the config document that runs."""

from pathlib import Path

import click

from agent.adapters.standing import load_standing
from agent.cli import options
from agent.errors import Misconfigured
from agent.settings import StateDir


@click.command("config")
@options.state
def command(state: Path) -> None:
    """Print the config document that the agent runs, as it was written.

    \b
    Example:
      fleet-agent config > running.toml
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped
    standing = load_standing(StateDir(state).config)
    if not standing.running.hash:
        raise Misconfigured(
            f"{state} has no config yet.", hint="Start with `fleet-agent run --config FILE`, or set one in the fleet."
        )
    click.echo(standing.running.toml, nl=not standing.running.toml.endswith("\n"))
