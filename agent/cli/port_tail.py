"""`fleet-agent port tail`: what comes on a port, as it comes."""

import asyncio
from datetime import UTC, datetime

import click

from agent.adapters.clock import SystemClock
from agent.adapters.serial_port import SerialPorts
from agent.cli.line import line_options, settings_of, told_to_stop
from agent.ports import Chunk, PortSettings
from agent.wire.units import US_PER_S

LOOK_S = 0.2  # between looks whether to stop
MAX_LINE_BYTES = 1024  # shown as one line at most
BYTES_A_ROW = 16


@click.command("tail", short_help="Show what comes on PORT, each line with its time.")
@click.argument("port")
@line_options
@click.option("--hex", "as_hex", is_flag=True, help="Show bytes as hex, as they come together.")
@click.option("--seconds", type=click.FloatRange(min=0.1), help="End after so long.  [default: at Ctrl-C]")
def command(port: str, *, as_hex: bool, seconds: float | None, **line: str | int) -> None:
    """Show what comes on PORT, with the time (UTC) at which each line began.

    \b
    Examples:
      fleet-agent port tail /dev/ttyUSB0 --baudrate 115200
      fleet-agent port tail usb:0403:6001 --hex
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped
    asyncio.run(_tail(settings_of(port, **line), seconds, as_hex=as_hex))  # type: ignore[arg-type] # click's types


async def _tail(settings: PortSettings, seconds: float | None, *, as_hex: bool) -> None:
    stopping = told_to_stop(seconds)
    shown = Rows() if as_hex else Lines()
    async with SerialPorts(SystemClock()).open(settings) as link:
        while not stopping.is_set():
            for chunk in await link.read(LOOK_S):
                for row in shown.rows(chunk):
                    click.echo(row)


class Lines:
    """Text: a row a line. What cannot be shown is escaped, so that a terminal takes no harm."""

    def __init__(self) -> None:
        self._rest = b""
        self._rest_us = 0

    def rows(self, chunk: Chunk) -> list[str]:
        """Return the rows that a chunk completes."""
        began_us = self._rest_us if self._rest else chunk.t_us
        *lines, self._rest = (self._rest + chunk.data).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            lines.append(self._rest)
            self._rest = b""
        self._rest_us = began_us if not lines else chunk.t_us
        return [f"{_time(began_us if i == 0 else chunk.t_us)}  {_shown(line)}" for i, line in enumerate(lines)]


class Rows:
    """Hex: 16 bytes a row."""

    def rows(self, chunk: Chunk) -> list[str]:
        """Return the rows of a chunk."""
        data = chunk.data
        pieces = [data[at : at + BYTES_A_ROW] for at in range(0, len(data), BYTES_A_ROW)]
        return [f"{_time(chunk.t_us)}  {piece.hex(' '):47}  {_shown(piece)}" for piece in pieces]


def _shown(data: bytes) -> str:
    text = data.rstrip(b"\r").decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text)


def _time(t_us: int) -> str:
    return f"{datetime.fromtimestamp(t_us / US_PER_S, UTC):%H:%M:%S.%f}"[:-3]
