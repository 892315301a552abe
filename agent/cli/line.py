"""How a line is set, as options that the port commands share, and the end of commands that run until told to stop."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from agent.core.config import DocumentError, Parity, SourceConfig, parse_config
from agent.errors import Misconfigured
from agent.ports import PortSettings
from agent.protocols import find

Decorated = Callable[..., Any]


def line_options(command: Decorated) -> Decorated:
    """Add --baudrate, --bytesize, --parity and --stopbits."""
    for option in (
        click.option(
            "--stopbits", type=click.Choice(["1", "1.5", "2"]), default="1", show_default=True, help="Stop bits."
        ),
        click.option(
            "--parity",
            type=click.Choice([one.value for one in Parity]),
            default=Parity.NONE.value,
            show_default=True,
            help="Parity.",
        ),
        click.option("--bytesize", type=click.IntRange(5, 8), default=8, show_default=True, help="Data bits."),
        click.option("--baudrate", type=click.IntRange(50, 4_000_000), default=9600, show_default=True, help="Speed."),
    ):
        command = option(command)
    return command


def settings_of(port: str, baudrate: int, bytesize: int, parity: str, stopbits: str) -> PortSettings:
    """Return the settings that the options say."""
    return PortSettings(port, baudrate, bytesize, parity, float(stopbits))


def source_of(config: Path, name: str | None) -> SourceConfig:
    """Return a source of a config file, the only one if no name is given; raises Misconfigured."""
    try:
        sources = parse_config(config.read_text(encoding="utf-8"), find).sources
    except OSError as error:
        raise Misconfigured(f"The config {config} cannot be read: {error.strerror}.") from error
    except (DocumentError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{config}: {error}.") from error
    found = [source for source in sources if name in {None, source.name}]
    if len(found) == 1:
        return found[0]
    names = ", ".join(source.name for source in sources) or "none"
    problem = f"has no source {name!r}" if name else f"has {len(sources)} sources"
    raise Misconfigured(f"{config} {problem}.", hint=f"Name one with --source; there are: {names}.")


def told_to_stop(seconds: float | None) -> asyncio.Event:
    """Return an event that is set by Ctrl-C or SIGTERM, or after so many seconds."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if seconds is not None:
        loop.call_later(seconds, stopping.set)
    return stopping
