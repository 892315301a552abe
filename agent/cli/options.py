"""Options and arguments that several commands share."""

import os
import sys
from pathlib import Path

import click

from agent.errors import Misconfigured
from agent.settings import DEFAULT_STATE
from agent.wire.claim import Claim, ClaimError, parse_claim

MAX_CLAIM_CHARS = 1024


def _open_to_us(ctx: click.Context, _option: click.Parameter, path: Path) -> Path:
    if os.path.isdir(path) and not os.access(path, os.R_OK | os.X_OK):  # noqa: PTH112 - Path.is_dir raises where the one above is closed
        raise Misconfigured(
            f"{path} is open to the agent and to root alone.",
            hint=f"Type the same after `sudo`: sudo {ctx.command_path} …",
        )
    return path


state = click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False, readable=False),
    callback=_open_to_us,
    default=DEFAULT_STATE,
    envvar="FIELDLINE_STATE",
    show_default=True,
    show_envvar=True,
    help="State directory of the agent.",
)


def claim_text(claim: str) -> Claim:
    """Read a claim from an argument, or from standard input where that is -; a bad one is a usage error."""
    try:
        return parse_claim(sys.stdin.readline(MAX_CLAIM_CHARS) if claim == "-" else claim)
    except ClaimError as error:
        raise click.UsageError(f"{error}. Copy the whole claim, or ask for a new one: fleet claim create.") from error
