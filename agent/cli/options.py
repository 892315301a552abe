"""Options and arguments that several commands share."""

import os
import sys
from pathlib import Path

import click

from agent.core.token import FILE, read_place
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


def _key(_context: click.Context, _option: click.Parameter, text: str) -> str:
    try:
        read_place(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error
    return text


key = click.option(
    "--key",
    default=FILE,
    show_default=True,
    metavar="file|tpm2|pkcs11:URI",
    callback=_key,
    help="Where the private key is made and stays: a file, the machine's TPM 2, or a PKCS#11 token (RFC 7512), as in "
    "pkcs11:token=NAME;object=NAME?module-path=/…&pin-source=file:/…. A key that is there already is used.",
)


def claim_text(claim: str) -> Claim:
    """Read a claim from an argument, or from standard input where that is -; a bad one is a usage error."""
    try:
        return parse_claim(sys.stdin.readline(MAX_CLAIM_CHARS) if claim == "-" else claim)
    except ClaimError as error:
        raise click.UsageError(f"{error}. Copy the whole claim, or ask for a new one: fleet claim create.") from error
