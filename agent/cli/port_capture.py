"""`fleet-agent port capture`: what goes over a port, as a file that can be replayed."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import click

from agent.adapters.capture import RecordingPorts
from agent.adapters.clock import SystemClock
from agent.adapters.serial_port import SerialPorts
from agent.cli.line import line_options, settings_of, source_of, told_to_stop
from agent.core.config import SourceConfig
from agent.ports import PortSettings
from agent.protocols import find
from agent.services.acquire import Acquire

LOOK_S = 0.2  # between looks whether to stop


@click.command("capture", short_help="Write down what comes and goes on PORT, with its times.")
@click.argument("port", required=False)
@line_options
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Read the port as a source of this device config does: needed where a device speaks only when asked.",
)
@click.option("--source", help="Which source of it.  [default: its only one]")
@click.option("--seconds", type=click.FloatRange(min=0.1), help="End after so long.  [default: at Ctrl-C]")
@click.option(
    "--output", "-o", type=click.File("w", lazy=False), default="-", help="Where to.  [default: standard output]"
)
def command(
    port: str | None,
    config: Path | None,
    source: str | None,
    seconds: float | None,
    output: TextIO,
    **line: str | int,
) -> None:
    """Write down what comes on PORT, or what goes both ways while a source reads it, with its times.

    The file's format is in docs/reference/capture.md. `fleet-agent port replay` reads it.

    \b
    Examples:
      fleet-agent port capture /dev/ttyUSB0 --baudrate 115200 -o board.capture
      fleet-agent port capture --config running.toml --source meter --seconds 60 -o meter.capture
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped
    count = 0

    def write(text: str) -> None:
        nonlocal count
        count += 1
        output.write(text + "\n")
        output.flush()

    if config is not None:
        found = source_of(config, source)
        asyncio.run(_capture_source(found, seconds, write))
    elif port is not None:
        asyncio.run(_capture(settings_of(port, **line), seconds, write))  # type: ignore[arg-type] # click's types
    else:
        raise click.UsageError("Give a PORT, or a --config whose source is to be captured.")
    click.echo(f"{max(0, count - 1)} entries.", err=True)


async def _capture(settings: PortSettings, seconds: float | None, write: Callable[[str], None]) -> None:
    """Listen alone."""
    clock = SystemClock()
    stopping = told_to_stop(seconds)
    async with RecordingPorts(SerialPorts(clock), clock, write).open(settings) as link:
        while not stopping.is_set():
            await link.read(LOOK_S)


async def _capture_source(source: SourceConfig, seconds: float | None, write: Callable[[str], None]) -> None:
    """Listen, and ask as the source does."""
    clock = SystemClock()
    stopping = told_to_stop(seconds)
    ports = RecordingPorts(SerialPorts(clock), clock, write)
    acquire = Acquire(clock, ports, find, lambda _: None, lambda kind, _, text: click.echo(f"{kind}: {text}", err=True))
    await acquire.apply((source,))
    task = asyncio.create_task(acquire.run())
    await stopping.wait()
    task.cancel()
    await asyncio.wait([task])
