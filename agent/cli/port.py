"""`fleet-agent port`: what is on the serial ports, for those who set a machine up or look for a fault."""

import importlib
import json

import click

from agent.adapters.usb import list_ports

COMMANDS = {"probe": "port_probe", "tail": "port_tail", "capture": "port_capture", "replay": "port_replay"}


class Lazy(click.Group):
    """A group whose larger commands are modules of their own, imported when they are used."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names in the order in which a port is got to know."""
        return ["list", *COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module and return its `command`."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        found = importlib.import_module(f"agent.cli.{COMMANDS[cmd_name]}").command
        return found if isinstance(found, click.Command) else None


@click.group("port", cls=Lazy, short_help="List the serial ports; probe, watch, capture and replay one.")
def command() -> None:
    """List the serial ports, find out what is spoken on one, watch, capture and replay it.

    A port that the running agent reads is locked: stop the agent first (`systemctl stop fleet-agent`).

    \b
    Examples:
      fleet-agent port list
      fleet-agent port probe /dev/ttyUSB0
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped


@command.command("list", short_help="List the serial ports, and names that survive replugging.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array, for programs.")
def list_command(*, as_json: bool) -> None:
    """List the serial ports, what is plugged in, and the names for a config that survive replugging.

    \b
    Example:
      fleet-agent port list
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped
    found = list_ports()
    if as_json:
        keys = ("path", "driver", "vendor", "product", "serial", "interface", "text", "by_id", "address")
        click.echo(json.dumps([{key: getattr(info, key) for key in keys} for info in found]))
        return
    if not found:
        click.echo("There is no serial port on this machine.", err=True)
    for info in found:
        click.echo(f"{info.path}  {info.text or info.driver}".rstrip())
        for name in (info.address, info.by_id):
            if name:
                click.echo(f"    {name}")
