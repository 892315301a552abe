"""`fleet-agent uninstall`: take the service off this machine."""

import sys
from pathlib import Path

import click

from agent.adapters import install, service
from agent.adapters.peek import peek
from agent.core.status import counted
from agent.errors import Damaged, Misconfigured
from agent.settings import load_identity


@click.command("uninstall", short_help="Stop the service and take it off this machine.")
@click.option(
    "--keep-data/--erase-data",
    "keep",
    default=None,
    help="Keep or erase identity, buffer and config; asked for where somebody is there to answer, else kept.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path("/"),
    help="Uninstall from the file system below this directory (an image).",
)
def command(root: Path, *, keep: bool | None) -> None:
    """Stop the service and take it off this machine: unit, udev rules, user and directory declarations.

    The program itself is taken away by what installed it (pip, pipx, uv).

    \b
    Examples:
      sudo fleet-agent uninstall --keep-data
      sudo fleet-agent uninstall --erase-data
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped
    machine = install.Machine(root)
    if machine.is_this:
        service.require_root("uninstall")
    is_live = machine.is_this and service.runs()
    if is_live and machine.path(install.FILES[install.UNIT]).exists():
        _say(service.stop())
    device, waiting = _device(machine), _waiting(machine)
    if keep is None:
        keep = not _asked(waiting) if sys.stdin.isatty() and machine.state.root.exists() else True
    for step in install.remove(machine):
        _say(step)
    if is_live:
        service.forget()
    if keep:
        program = " ".join(install.find_program().command)
        click.echo(f"{machine.state.root}: kept, {waiting}. `{program} install` takes it up again.")
    else:
        for step in install.erase(machine):
            _say(step)
        if device:
            click.echo(f"The fleet still knows the device. There: fleet device revoke {device}")
    click.echo("Done. The program: pip uninstall fieldline (or pipx, uv tool). Its user `fieldline` stays.")


def _asked(waiting: str) -> bool:
    return click.confirm(f"Erase identity, buffer and config as well ({waiting})?", default=False)


def _device(machine: install.Machine) -> str:
    try:
        return load_identity(machine.state).device_id
    except Misconfigured:
        return ""


def _waiting(machine: install.Machine) -> str:
    try:
        peeked = peek(machine.state.buffer)
    except Damaged:
        return "its buffer cannot be read"
    return f"{counted(peeked.readings, 'reading')} to be sent" if peeked.readings else "nothing in it waits to be sent"


def _say(step: install.Step) -> None:
    click.echo(f"{step.what}: {step.did}")
