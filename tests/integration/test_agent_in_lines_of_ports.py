"""What a port's line does: another tty name after replugging, line errors, hung drivers, floods and silence."""

import asyncio
import os
import threading
from pathlib import Path

import pytest
from ptys import Board, SystemClock, until

from agent.adapters import serial_port
from agent.adapters.line_errors import read_line_errors
from agent.adapters.serial_port import SerialLink, SerialPorts
from agent.core import silence as silence_module
from agent.core.config import parse_config
from agent.errors import Unavailable
from agent.ports import LineErrors, Link, PortSettings, Reading
from agent.protocols import find
from agent.services.acquire import Acquire
from agent.wire.messages import LineHealth

DEADLINE_S = 30.0
CONFIG = """[[source]]
name = "b"
port = "{}"
protocol = "lines"
lines = {{ format = "csv", columns = [{{ name = "n", unit = "1" }}] }}
"""


@pytest.fixture
def board(tmp_path: Path):
    made = Board(tmp_path / "tty")
    yield made
    os.close(made.master)


async def reading(
    config: str, ports: SerialPorts, told: list[str] | None = None
) -> tuple[Acquire, list[Reading], asyncio.Task[None]]:
    readings: list[Reading] = []
    kinds = [] if told is None else told
    acquire = Acquire(SystemClock(), ports, find, readings.extend, lambda kind, *_: kinds.append(kind))
    await acquire.apply(parse_config(config, find).sources)
    return acquire, readings, asyncio.create_task(acquire.run())


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def test_an_adapter_that_comes_back_under_another_tty_is_read_on(tmp_path: Path):
    def plug(tty: str) -> Board:
        (tmp_path / "dev").mkdir(exist_ok=True)
        device = tmp_path / "sys" / "devices" / "1-1" / tty
        device.mkdir(parents=True)
        (device.parent / "idVendor").write_text("0403\n")
        (device.parent / "idProduct").write_text("6001\n")
        (tmp_path / "sys" / "class" / "tty" / tty).mkdir(parents=True)
        (tmp_path / "sys" / "class" / "tty" / tty / "device").symlink_to(device)
        return Board(tmp_path / "dev" / tty)

    async def scene() -> None:
        first = plug("ttyUSB0")
        ports = SerialPorts(SystemClock(), sysfs=tmp_path / "sys", dev=tmp_path / "dev")
        acquire, readings, task = await reading(CONFIG.format("usb:0403:6001"), ports)
        await until(lambda: any(source.connected for source in acquire.health()))
        first.say(b"1\n")
        await until(lambda: len(readings) == 1)
        first.unplug()
        (tmp_path / "sys" / "class" / "tty" / "ttyUSB0" / "device").unlink()
        await until(lambda: not acquire.health()[0].connected)

        second = plug("ttyUSB1")
        async with asyncio.timeout(2):
            await until(lambda: acquire.health()[0].connected)
        second.say(b"2\n")
        await until(lambda: [one.v for one in readings] == [1, 2])
        assert acquire.health()[0].line == LineHealth(reopened=1)
        await end(task)
        os.close(second.master)

    asyncio.run(scene())


def test_a_pty_has_no_counters_and_is_read_all_the_same(board: Board):
    fd = os.open(board.path, os.O_RDWR | os.O_NOCTTY)
    assert read_line_errors(fd) is None
    os.close(fd)


def test_a_pty_opens_with_any_frame_time_after_time(board: Board):
    async def scene() -> None:
        settings = PortSettings(str(board.path), 300, 7, "even", 2)
        for _ in range(3):
            async with SerialPorts(SystemClock()).open(settings) as link:
                await link.reopen(9600)
                await link.reopen(300)

    asyncio.run(scene())


def test_line_errors_count_from_the_opening(board: Board):
    counted = iter([LineErrors(5, 1, 0, 0), LineErrors(8, 1, 2, 0)])

    async def scene() -> None:
        link = SerialLink(PortSettings(str(board.path)), SystemClock(), count=lambda _: next(counted, None))
        await link.start()
        assert link.line_errors == LineErrors()
        board.say(b"x")
        await link.read(DEADLINE_S)
        assert link.line_errors == LineErrors(3, 0, 2, 0)
        await link.stop()

    asyncio.run(scene())


def test_line_errors_are_among_the_sources_errors(board: Board, monkeypatch: pytest.MonkeyPatch):
    counted = iter([LineErrors(), LineErrors(framing=7, parity=1)])
    monkeypatch.setattr(SerialLink.__init__, "__kwdefaults__", {"count": lambda _: next(counted, None), "ping_s": 30.0})

    async def scene() -> None:
        acquire, readings, task = await reading(CONFIG.format(board.path), SerialPorts(SystemClock()))
        await until(lambda: any(source.connected for source in acquire.health()))
        board.say(b"1\n")
        await until(lambda: len(readings) == 1)
        await until(lambda: acquire.health()[0].errors == 8)
        assert acquire.health()[0].detail == (
            "the line had 7 framing, 1 parity and 0 overrun errors since it was opened;"
            " are speed (9600) and parity right?"
        )
        assert acquire.health()[0].line == LineHealth(framing=7, parity=1)
        await end(task)

    asyncio.run(scene())


def test_a_driver_that_hangs_makes_the_port_lost(board: Board, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(serial_port, "STOP_TIMEOUT_S", 0.1)
    release = threading.Event()
    looks: list[int] = []

    def hang(fd: int) -> LineErrors:
        looks.append(fd)
        if len(looks) > 1:  # not yet at the opening
            release.wait(DEADLINE_S)
        return LineErrors()

    async def scene() -> None:
        link = SerialLink(PortSettings(str(board.path)), SystemClock(), count=hang, ping_s=0.1)
        await link.start()
        assert await link.read(0.5) == ()  # an idle thread answers, time after time
        board.say(b"x")
        with pytest.raises(Unavailable, match="its driver hangs"):
            await asyncio.wait_for(link.read(None), DEADLINE_S)
        release.set()
        await link.stop()

    asyncio.run(scene())


def test_a_flood_without_an_end_of_line_is_bounded_counted_and_survived(board: Board):
    async def scene() -> None:
        acquire, readings, task = await reading(CONFIG.format(board.path), SerialPorts(SystemClock()))
        await until(lambda: any(source.connected for source in acquire.health()))
        await asyncio.to_thread(lambda: [os.write(board.master, b"7" * 1000) for _ in range(500)])
        board.say(b"\n42\n")
        await until(lambda: [one.v for one in readings] == [42])
        health = acquire.health()[0]
        assert (health.errors, health.detail) == (1, "a line of more than 1024 bytes was dropped")
        assert health.line == LineHealth(overlong=1)
        await end(task)

    asyncio.run(scene())


def test_a_port_that_says_nothing_is_told_as_silent(board: Board, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(silence_module, "LEAST_S", 0.5)
    told: list[str] = []

    async def scene() -> None:
        acquire, readings, task = await reading(CONFIG.format(board.path), SerialPorts(SystemClock()), told)
        await until(lambda: "open, but nothing has come for 0 min" in [one.detail for one in acquire.health()])
        assert acquire.health()[0].line == LineHealth(silent=True)
        board.say(b"1\n")
        await until(lambda: len(readings) == 1)
        assert (acquire.health()[0].detail, acquire.health()[0].line) == ("", None)
        await until(lambda: told == ["port.silent", "port.heard"])
        await end(task)

    asyncio.run(scene())


async def stream(board: Board, link: Link, lines: int) -> int:
    """Say numbered lines, 1 ms apart; returns in how many calls all of them were read."""
    wanted = b"".join(b"%d\n" % n for n in range(lines))

    async def say() -> None:
        for n in range(lines):
            board.say(b"%d\n" % n)
            await asyncio.sleep(0.001)

    saying = asyncio.create_task(say())
    heard, calls = b"", 0
    async with asyncio.timeout(DEADLINE_S):
        while len(heard) < len(wanted):
            heard += b"".join(chunk.data for chunk in await link.read(None))
            calls += 1
        await saying
    assert heard == wanted
    return calls


def test_a_stream_of_small_reads_is_taken_in_few_turns_and_whole(board: Board):
    async def scene() -> None:
        async with SerialPorts(SystemClock()).open(PortSettings(str(board.path))) as link:
            assert await stream(board, link, 600) < 200

    asyncio.run(scene())


def test_an_answer_in_a_stream_does_not_wait_to_be_gathered(board: Board, monkeypatch: pytest.MonkeyPatch):
    async def timed(link: Link, text: bytes) -> float:
        board.say(text)
        began_s = asyncio.get_running_loop().time()
        assert [chunk.data for chunk in await link.read(None)] == [text]
        return asyncio.get_running_loop().time() - began_s

    async def scene() -> None:
        async with SerialPorts(SystemClock()).open(PortSettings(str(board.path))) as link:
            await stream(board, link, 100)
            monkeypatch.setattr(serial_port, "GATHER_S", 0.9)  # within STREAM_S of the last line
            assert await timed(link, b"more\n") > 0.8
            await stream(board, link, 100)
            link.write(b"?")
            assert await timed(link, b"answer\n") < 0.8

    asyncio.run(scene())
