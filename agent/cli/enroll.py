"""`fleet-agent enroll`: join a fleet with a claim."""

from pathlib import Path

import click

from agent.adapters.clock import SystemClock
from agent.adapters.enrol import enrol
from agent.adapters.lock import holder
from agent.cli import options
from agent.core.status import iso
from agent.errors import Misconfigured
from agent.settings import StateDir


@click.command("enroll")
@click.argument("claim")
@options.state
@click.option("--force", is_flag=True, help="Enroll anew a device that is enrolled already.")
def command(claim: str, state: Path, *, force: bool) -> None:
    """Join a fleet with a one-use CLAIM, as printed by `fleet claim create` or held by a QR code.

    The private key is made here and never leaves the device. With - the claim is read from standard input, so that
    it stays out of the shell's history.

    \b
    Examples:
      fleet-agent enroll fl1/fleet.example.com:8443/R8c…/x0E…
      echo "$CLAIM" | fleet-agent enroll - --state ./state
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped
    parsed = options.claim_text(claim)
    paths = StateDir(state)
    running = holder(paths.lock)
    if running is not None:
        raise Misconfigured(
            f"An agent (process {running}) is running on {state}.",
            hint="Stop it first: `systemctl stop fleet-agent`. Nothing was changed.",
        )
    identity = enrol(parsed, paths, SystemClock().now_us(), force=force)
    click.echo(f"Enrolled as {identity.device_id} with {identity.host}:{identity.gateway_port}.")
    click.echo(f"The certificate is valid until {iso(identity.cert_expires_us)} and is renewed by itself.")
    click.echo(f"Next: fleet-agent run --state {state}")
