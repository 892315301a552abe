"""Options that several commands share, said once."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fleet.cli import access
from fleet.cli.times import Time
from fleet.errors import FleetError

COMPLETION_S = 2.0  # a person waits at the TAB key no longer
COMPLETED = 200  # devices offered at most

F = TypeVar("F", bound=Callable[..., Any])


def data_option(text: str) -> Callable[[F], F]:
    """Add --data, of the commands that run where the server does."""
    return click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("fieldline-data"),
        show_default=True,
        envvar="FIELDLINE_DATA",
        show_envvar=True,
        help=text,
    )


def json_option(text: str = "Print JSON for programs.") -> Callable[[F], F]:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def limit_option(default: int | None = None, what: str = "entries") -> Callable[[F], F]:
    """Add --limit."""
    return click.option(
        "--limit",
        type=click.IntRange(min=1),
        default=default,
        show_default=default is not None,
        help=f"Print at most so many {what}" + ("." if default else "; all of them otherwise."),
    )


def complete_device(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the devices whose id begins so; none, in silence, where the server does not answer at once."""
    from fleet.cli.client import closing_client  # noqa: PLC0415 - costs half of the start-up time

    try:
        server = access.resolve(ctx.find_root().params.get("context"))
        with closing_client(server, COMPLETION_S) as client:
            found = client.items("devices", limit=COMPLETED, q=incomplete or None)
            return [item["id"] for item in found if item["id"].startswith(incomplete)]
    except FleetError:
        return []


def device_option(text: str = "Only of this device.") -> Callable[[F], F]:
    """Add --device."""
    return click.option("--device", metavar="ID", help=text, shell_complete=complete_device)


def device_argument() -> Callable[[F], F]:
    """Add the argument DEVICE."""
    return click.argument("device_id", metavar="DEVICE", shell_complete=complete_device)


def ticket_argument() -> Callable[[F], F]:
    """Add the argument TICKET: 12 or T-12."""

    def check(_ctx: click.Context, _param: click.Parameter, said: str) -> str:
        if not re.fullmatch(r"(?:[Tt]-)?[0-9]{1,18}", said):
            raise click.BadParameter(f"{said!r} is no ticket; say 12 or T-12.")
        return said

    return click.argument("ticket_id", metavar="TICKET", callback=check)


def range_options(noun: str) -> Callable[[F], F]:
    """Add --from and --to."""

    def add(command: F) -> F:
        until = click.option("--to", "to_us", type=Time(), metavar="TIME", help=f"Only {noun} before this time.")
        since = click.option(
            "--from",
            "from_us",
            type=Time(),
            metavar="TIME",
            help=f"Only {noun} from this time on: ISO-8601, -15m, now, or epoch microseconds.",
        )
        return since(until(command))

    return add
