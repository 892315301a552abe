"""Options and arguments that several commands share."""

import sys
from pathlib import Path

import click

from agent.settings import DEFAULT_STATE
from agent.wire.claim import Claim, ClaimError, parse_claim

MAX_CLAIM_CHARS = 1024

state = click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
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
