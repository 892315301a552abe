"""Readings from real ptys: what comes, what is told when a port goes and comes back, what a new config touches."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ptys import Board, SystemClock, until

from agent.adapters.serial_port import SerialPorts
from agent.core.config import parse_config
from agent.errors import Unavailable
from agent.ports import PortSettings, Reading
from agent.protocols import find
from agent.services.acquire import Acquire

DEADLINE_S = 30.0


class Bench:
    """Acquire at work, and all that it told."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self.events: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.acquire = Acquire(SystemClock(), SerialPorts(SystemClock()), find, self._read, self._tell)

    def _read(self, readings: Sequence[Reading]) -> None:
        self.readings.extend(readings)

    def _tell(self, kind: str, subject: str, text: str) -> None:
        self.events.append((kind, subject))
        self.texts.append(text)

    def values(self, series: str) -> list[Any]:
        return [reading.v for reading in self.readings if reading.name == series]


@contextlib.asynccontextmanager
async def running(text: str) -> AsyncIterator[Bench]:
    bench = Bench()
    await bench.acquire.apply(parse_config(text, find).sources)
    task = asyncio.create_task(bench.acquire.run())
    try:
        yield bench
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def connected(bench: Bench) -> bool:
    health = bench.acquire.health()
    return bool(health) and all(source.connected for source in health)


def lines(name: str, port: Path, quantity: str = "n") -> str:
    return f"""
[[source]]
name = "{name}"
port = "{port}"
protocol = "lines"
lines = {{ format = "csv", columns = [{{ name = "{quantity}", unit = "1" }}] }}
"""


@pytest.fixture
def board(tmp_path: Path):
    return Board(tmp_path / "tty")


def test_lines_become_readings_in_order_with_the_time_they_came(board: Board):
    async def scene() -> None:
        before_us = SystemClock().now_us()
        async with running(lines("b", board.path)) as bench:
            await until(lambda: connected(bench))
            for n in range(500):
                board.say(b"%d\n" % n)
            await until(lambda: len(bench.readings) == 500)

            assert bench.values("b.n") == list(range(500))
            times = [reading.t_us for reading in bench.readings]
            assert times == sorted(times)
            assert before_us < times[0] <= times[-1] <= SystemClock().now_us()
            (health,) = bench.acquire.health()
            assert (health.readings, health.errors, health.last_us) == (500, 0, times[-1])
            assert bench.acquire.alive()
        assert bench.events == []
        assert not bench.acquire.alive()
        os.close(board.master)

    asyncio.run(scene())


def test_what_was_printed_while_nobody_listened_counts_from_the_first_line(board: Board):
    async def scene() -> None:
        async with running(lines("b", board.path)) as bench:
            await until(lambda: connected(bench))
        board.say(b"1\n2\n")
        async with running(lines("b", board.path)) as bench:
            await until(lambda: len(bench.readings) == 2)
        os.close(board.master)

    asyncio.run(scene())


def test_unplugged_and_plugged_in_again_is_told_once_on_each_edge(board: Board):
    async def scene() -> None:
        async with running(lines("b", board.path)) as bench:
            await until(lambda: connected(bench))
            board.say(b"1\n")
            await until(lambda: bench.values("b.n") == [1])
            board.unplug()
            await until(lambda: bench.events == [("port.lost", "b")])
            await asyncio.sleep(1)  # several looks for the port pass without a word
            assert not connected(bench)

            board.plug()
            plugged_s = time.monotonic()
            await until(lambda: connected(bench))
            assert time.monotonic() - plugged_s < 2
            board.say(b"2\n")
            await until(lambda: bench.values("b.n") == [1, 2])

            assert bench.events == [("port.lost", "b"), ("port.found", "b")]
        os.close(board.master)

    asyncio.run(scene())


def test_a_port_absent_at_the_start_is_told_once_and_found_when_it_comes(board: Board):
    async def scene() -> None:
        board.unplug()
        async with running(lines("b", board.path)) as bench:
            await until(lambda: bench.events == [("port.lost", "b")])
            assert str(board.path) in bench.texts[0]
            board.plug()
            await until(lambda: bench.events == [("port.lost", "b"), ("port.found", "b")])
        os.close(board.master)

    asyncio.run(scene())


def test_a_new_config_leaves_the_port_alone_that_it_does_not_change(tmp_path: Path):
    async def scene() -> None:
        kept, changed, added = (Board(tmp_path / name) for name in ("kept", "changed", "added"))
        async with running(lines("k", kept.path) + lines("c", changed.path)) as bench:
            await until(lambda: connected(bench))
            kept.say(b"1\n2")  # a line that a restart would lose
            await until(lambda: bench.values("k.n") == [1])
            text = lines("k", kept.path) + lines("c", changed.path, "m") + lines("a", added.path)

            await bench.acquire.apply(parse_config(text, find).sources)

            await until(lambda: connected(bench) and len(bench.acquire.health()) == 3)
            kept.say(b"3\n")
            changed.say(b"4\n")
            added.say(b"5\n")
            await until(lambda: len(bench.readings) == 4)
            assert {reading.name: reading.v for reading in bench.readings[1:]} == {"k.n": 23, "c.m": 4, "a.n": 5}

            await bench.acquire.apply(())
            assert bench.acquire.health() == ()
            assert bench.events == []
        for one in (kept, changed, added):
            os.close(one.master)

    asyncio.run(scene())


def test_a_port_lost_under_one_config_is_found_under_the_next(board: Board):
    async def scene() -> None:
        async with running(lines("b", board.path)) as bench:
            await until(lambda: connected(bench))
            board.unplug()
            await until(lambda: bench.events == [("port.lost", "b")])
            await bench.acquire.apply(parse_config(lines("b", board.path, "m"), find).sources)
            board.plug()
            await until(lambda: bench.events == [("port.lost", "b"), ("port.found", "b")])
        os.close(board.master)

    asyncio.run(scene())


def test_a_port_that_another_holds_is_unavailable_and_says_why(board: Board):
    async def scene() -> None:
        ports = SerialPorts(SystemClock())
        async with ports.open(PortSettings(str(board.path))):
            with pytest.raises(Unavailable, match="Another program holds it"):
                async with ports.open(PortSettings(str(board.path))):
                    pass
        os.close(board.master)

    asyncio.run(scene())


def test_bytes_go_out_and_the_speed_changes_behind_them(board: Board):
    async def scene() -> None:
        async with SerialPorts(SystemClock()).open(PortSettings(str(board.path), 300)) as link:
            link.write(b"/?!\r\n")
            await asyncio.wait_for(link.reopen(9600), DEADLINE_S)
            assert os.read(board.master, 100) == b"/?!\r\n"
            assert await link.read(0.01) == ()
            board.say(b"x")
            (chunk,) = await link.read(DEADLINE_S)
            assert chunk.data == b"x"
        os.close(board.master)

    asyncio.run(scene())


def test_garbage_is_counted_and_the_last_of_it_told(board: Board):
    async def scene() -> None:
        async with running(lines("b", board.path)) as bench:
            await until(lambda: connected(bench))
            board.say(b"\x00\xff\x13\n1\n")
            await until(lambda: bench.values("b.n") == [1])

            (health,) = bench.acquire.health()
            assert health.errors == 1
            assert "is not a number" in health.detail
        os.close(board.master)

    asyncio.run(scene())


def test_an_idle_port_costs_nothing(board: Board):
    async def scene() -> None:
        async with running(lines("b", board.path)) as bench:
            await until(lambda: connected(bench))
            spent_s = time.process_time()
            await asyncio.sleep(1)
            assert time.process_time() - spent_s < 0.02
        os.close(board.master)

    asyncio.run(scene())
