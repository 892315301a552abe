"""`fleet-agent enroll`: join a fleet with a claim."""

from pathlib import Path

import click

from agent.adapters import service
from agent.adapters.clock import SystemClock
from agent.adapters.enrol import enrol
from agent.adapters.lock import holder
from agent.cli import options
from agent.core.status import iso
from agent.core.token import FILE, place_in_words
from agent.errors import Misconfigured
from agent.settings import StateDir


@click.command("enroll", short_help="Join a fleet with a one-use CLAIM.")
@click.argument("claim")
@options.state
@click.option("--force", is_flag=True, help="Enroll anew a device that is enrolled already.")
@options.key
def command(claim: str, state: Path, key: str, *, force: bool) -> None:
    """Join a fleet with a one-use CLAIM, as printed by `fleet claim create` or held by a QR code.

    The private key is made here and never leaves the device: in a file, or with --key in a TPM 2 or a PKCS#11 token,
    from which nobody can copy it. With - the claim is read from standard input, so that it stays out of the shell's
    history. A proxy is taken from agent.toml in the state directory, or from HTTPS_PROXY.

    \b
    Examples:
      fleet-agent enroll fl1/fleet.example.com:8443/R8c…/x0E…
      echo "$CLAIM" | fleet-agent enroll - --state ./state
      sudo fleet-agent enroll fl1/fleet.example.com:8443/R8c…/x0E… --key tpm2
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped
    parsed = options.claim_text(claim)
    paths = StateDir(state)
    running = holder(paths.lock)
    if running is not None:
        raise Misconfigured(
            f"An agent (process {running}) is running on {state}.",
            hint="Stop it first: `systemctl stop fleet-agent`. Nothing was changed.",
        )
    identity = enrol(parsed, paths, SystemClock().now_us(), force=force, key=key)
    click.echo(f"Enrolled as {identity.device_id} with {identity.host}:{identity.gateway_port}.")
    if identity.key != FILE:
        click.echo(f"Its key is {place_in_words(identity.key)}.")
    click.echo(f"The certificate is valid until {iso(identity.cert_expires_us)} and is renewed by itself.")
    if service.serves(paths):
        click.echo("Next: sudo systemctl start fleet-agent")
    else:
        click.echo(f"Next: fleet-agent run --state {state}")
