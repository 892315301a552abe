"""`fleet-agent install`: the agent as a service of this machine."""

from collections.abc import Iterable
from pathlib import Path

import click

from agent.adapters import install, service
from agent.adapters.clock import SystemClock
from agent.cli import options
from agent.cli.options import claim_text
from agent.core.config import parse_config
from agent.errors import Misconfigured
from agent.protocols import find
from agent.settings import load_identity
from agent.wire.claim import Claim
from agent.wire.document import DocumentError


@click.command("install", short_help="Install the agent as a service here, and enroll it with CLAIM.")
@click.argument("claim", required=False)
@click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="First device config, TOML, to run until the fleet sets one; it is copied to /etc/fieldline/first.toml.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path("/"),
    help="Install into the file system below this directory (an image) instead of this machine; nothing is started.",
)
@click.option(
    "--program",
    type=click.Path(path_type=Path),
    help="Path of fleet-agent as the service will see it, where it is not the one that runs now.",
)
@options.key
def command(claim: str | None, config: Path | None, root: Path, program: Path | None, key: str) -> None:
    """Install the agent as a service of this machine, enroll it if a CLAIM is given, and start it.

    Puts the systemd unit, udev rules, user and directories in place, each only where it differs; run it again after an
    upgrade, or to mend what is amiss. With - the claim is read from standard input.

    \b
    Examples:
      sudo fleet-agent install fl1/fleet.example.com:8443/R8c…/x0E…
      sudo fleet-agent install --config first.toml
      sudo fleet-agent install --root /mnt/image --program /opt/fieldline/bin/fleet-agent
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped
    parsed = claim_text(claim) if claim else None
    machine = install.Machine(root)
    _check(machine, parsed, config, program)
    changed = _tell(install.place(machine, install.find_program(program), config))
    if not machine.is_this:
        _tell([install.enable_image(machine)])
        click.echo("Done. The image's first boot makes the user and the state directory; then enroll the device there.")
        return
    _tell(service.make_ready(machine.state))
    if parsed is not None:
        _enrol(machine, parsed, key)
    if not service.runs():
        click.echo("systemd does not run here (a container?): nothing was started. Start the agent by hand:")
        click.echo(f"  fleet-agent run --state {machine.state.root}")
        return
    _tell(service.start(machine.state, changed=changed))
    if machine.state.identity.exists():
        click.echo("Done. Look at it: sudo fleet-agent status")
    else:
        click.echo("Done. Next, with a claim from `fleet claim create`: sudo fleet-agent install CLAIM")


def _check(machine: install.Machine, claim: Claim | None, config: Path | None, program: Path | None) -> None:
    """Refuse what cannot work before anything is changed."""
    if program is not None and not program.is_absolute():
        raise click.UsageError(f"--program has to be an absolute path, not {program}.")
    if not machine.is_this and claim is not None:
        raise click.UsageError("An image is not enrolled: each device has a key and a claim of its own.")
    if machine.is_this:
        service.require_root("install")
    if config is not None:
        try:
            parse_config(config.read_text(encoding="utf-8"), find)
        except (DocumentError, UnicodeDecodeError) as error:
            raise Misconfigured(
                f"{config}: {error}.", hint="Mend it and run the same again. Nothing changed."
            ) from error


def _enrol(machine: install.Machine, claim: Claim, key: str) -> None:
    if machine.state.identity.exists():
        identity = load_identity(machine.state)
        click.echo(
            f"This device is enrolled already, as {identity.device_id} of {identity.host}; the claim is not used. "
            "To give that identity up: sudo systemctl stop fleet-agent; sudo fleet-agent enroll CLAIM --force"
        )
        return
    from agent.adapters.enrol import enrol  # noqa: PLC0415 - loads cryptography

    identity = enrol(claim, machine.state, SystemClock().now_us(), key=key)
    click.echo(f"Enrolled as {identity.device_id} with {identity.host}:{identity.gateway_port}.")


def _tell(steps: Iterable[install.Step]) -> bool:
    """Say each step as it is done; tells whether any changed something."""
    changed = False
    for step in steps:
        click.echo(f"{step.what}: {step.did}")
        changed = changed or step.changed
    return changed
