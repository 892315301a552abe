"""`fleet-agent port probe`: what a port speaks, and at which speed."""

import asyncio
from collections.abc import Sequence

import click

from agent.adapters.clock import SystemClock
from agent.adapters.serial_port import SerialPorts
from agent.errors import Unavailable
from agent.ports import Link, Ports, PortSettings
from agent.protocols.ask import questions
from agent.protocols.guess import GOOD, Guess, guess, printable, seven_bits

BAUDRATES = (9600, 115_200, 57_600, 38_400, 19_200, 4800, 2400, 1200, 300)
ENOUGH_BYTES = 4096
MAX_SHOWN_CHARS = 76
EXAMPLE_BYTES = 24
LOOK_S = 0.1
FOUND = 0
NOT_FOUND = 1


@click.command("probe", short_help="Listen on PORT at several speeds; say what is spoken there.")
@click.argument("port")
@click.option("--baudrate", "baudrates", type=int, multiple=True, help="Try this speed only; may be given again.")
@click.option(
    "--seconds", type=click.FloatRange(0.2, 600), default=3.0, show_default=True, help="How long to listen at a speed."
)
@click.option(
    "--ask", is_flag=True, help="If nothing speaks by itself: send questions that only read, and see who answers."
)
def command(port: str, baudrates: tuple[int, ...], seconds: float, *, ask: bool) -> None:
    """Listen on PORT at one speed after the other and say what is spoken there, with a [[source]] for a config.

    Knows lines (csv, json, key=value), NMEA 0183 and COBS; with --ask also Modbus RTU, IEC 62056-21 and SDI-12. Exit
    code 1 if nothing was made out.

    \b
    Examples:
      fleet-agent port probe /dev/ttyUSB0
      fleet-agent port probe /dev/ttyUSB0 --baudrate 9600 --seconds 30
      fleet-agent port probe /dev/ttyUSB0 --ask
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped
    ports = SerialPorts(SystemClock())
    found = asyncio.run(_probe(ports, port, baudrates or BAUDRATES, seconds, ask=ask))
    if found is None:
        click.echo("Nothing was made out." + ("" if ask else " A device that waits to be asked needs --ask."), err=True)
    raise SystemExit(NOT_FOUND if found is None else FOUND)


async def _probe(
    ports: Ports, port: str, baudrates: Sequence[int], seconds: float, *, ask: bool
) -> PortSettings | None:
    """Listen, then ask; prints what was found and returns how the line is set there. Raises Unavailable."""
    best: tuple[PortSettings, Guess] | None = None
    for baudrate in baudrates:
        settings = PortSettings(port, baudrate)
        async with ports.open(settings) as link:
            data = await _listen(link, seconds)
        if seven_bits(data):
            settings = PortSettings(port, baudrate, 7, "even")
            data = data.translate(bytes(i & 0x7F for i in range(256)))
        guesses = guess(data)
        _say(settings, data, guesses)
        if guesses and (best is None or guesses[0].share > best[1].share):
            best = (settings, guesses[0])
        if best and best[1].share >= GOOD:
            break
    if best is not None:
        _show(best[0], best[1].protocol, best[1].config)
        return best[0]
    return await _ask(ports, port) if ask else None


async def _listen(link: Link, seconds: float) -> bytes:
    data = b""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + seconds
    while loop.time() < until_s and len(data) < ENOUGH_BYTES:
        data += b"".join(chunk.data for chunk in await link.read(LOOK_S))
    return data


async def _ask(ports: Ports, port: str) -> PortSettings | None:
    for settings, asked in questions(port):
        click.echo(f"{_line(settings)}: asking for {', '.join(dict.fromkeys(one.protocol for one in asked))}", err=True)
        try:
            async with ports.open(settings) as link:
                for question in asked:
                    link.write(question.data)
                    told = question.answer(await _listen(link, question.wait_s))
                    if told is not None:
                        click.echo(f"{_line(settings)}: {question.protocol}, {told}", err=True)
                        _show(settings, question.protocol, question.config)
                        return settings
        except Unavailable as error:  # an adapter that cannot do this speed or frame; the port was heard before
            click.echo(f"{_line(settings)}: {error}", err=True)
    return None


def _say(settings: PortSettings, data: bytes, guesses: Sequence[Guess]) -> None:
    if not data:
        said = "silence"
    elif guesses:
        said = f"{guesses[0].protocol} ({guesses[0].share:.0%}): {guesses[0].text[:MAX_SHOWN_CHARS]!r}"
    else:
        kind = "text" if printable(data) > GOOD else "bytes"
        said = f"{len(data)} {kind} that fit nothing: {data[:EXAMPLE_BYTES]!r}"
    click.echo(f"{_line(settings)}: {said}", err=True)


def _show(settings: PortSettings, protocol: str, config: str) -> None:
    """Print a source, ready for a config."""
    frame = "" if settings.bytesize == PortSettings("").bytesize else f"bytesize = {settings.bytesize}\n"
    frame += "" if settings.parity == "none" else f'parity = "{settings.parity}"\n'
    click.echo(
        f'[[source]]\nname = "device"\nport = "{settings.port}"\nbaudrate = {settings.baudrate}\n{frame}'
        f'protocol = "{protocol}"\n{config}',
        nl=False,
    )


def _line(settings: PortSettings) -> str:
    return f"{settings.baudrate} {settings.bytesize}{settings.parity[0].upper()}{settings.stopbits:g}"
