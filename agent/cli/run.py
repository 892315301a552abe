"""`fleet-agent run`: the agent itself."""

import asyncio
import os
import sys
from pathlib import Path

import click

from agent.adapters import log
from agent.adapters.clock import SystemClock
from agent.adapters.process import share_one_arena, spare_imports
from agent.app import run
from agent.cli import options
from agent.settings import StateDir


@click.command("run", short_help="Read the sensors and bring what they say to the fleet.")
@options.state
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="First device config, TOML. Once the fleet has set one, the fleet's is used.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    envvar="FIELDLINE_LOG_LEVEL",
    show_default=True,
    help="What is written to stderr.",
)
def command(state: Path, config: Path | None, log_level: str) -> None:
    """Read the sensors, keep what they say, and bring it to the fleet, until stopped (SIGTERM, Ctrl-C).

    \b
    Examples:
      fleet-agent run
      fleet-agent run --state ./state --config first.toml
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped
    clock = SystemClock()
    log.set_up(log_level, clock.mono_s)
    share_one_arena()
    spare_imports()
    asyncio.run(run(StateDir(state), config, clock))
    # All is committed and closed. A thread may still be connecting to a gateway that does not answer; nobody waits.
    sys.stderr.flush()
    os._exit(0)
