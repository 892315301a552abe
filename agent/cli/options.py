"""Options that several commands share."""

from pathlib import Path

import click

from agent.settings import DEFAULT_STATE

state = click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_STATE,
    envvar="FIELDLINE_STATE",
    show_default=True,
    show_envvar=True,
    help="State directory of the agent.",
)
