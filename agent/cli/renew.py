"""`fleet-agent renew`: the next certificate, now."""

import sys
from pathlib import Path

import click

from agent.adapters.clock import SystemClock
from agent.adapters.enrol import renew
from agent.cli import options
from agent.core.status import iso
from agent.errors import Refused
from agent.services.renew import REFUSED
from agent.settings import StateDir


@click.command("renew")
@options.state
def command(state: Path) -> None:
    """Renew the device's certificate now. The running agent does this by itself at two thirds of its life.

    Works for a while after the certificate's end as well. Exit code 3: the fleet refuses; the device needs a claim.

    \b
    Example:
      fleet-agent renew
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped
    try:
        identity = renew(StateDir(state), SystemClock().now_us())
    except Refused as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(REFUSED)
    click.echo(f"Renewed: {identity.device_id}'s certificate is valid until {iso(identity.cert_expires_us)}.")
