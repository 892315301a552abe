"""The Modbus master against pymodbus's own server, over two ptys that are wired together."""

import asyncio
import contextlib
import os
import threading
import time
import tty
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice

from agent.adapters.serial_port import SerialPorts
from agent.core.config import parse_config
from agent.errors import Unavailable
from agent.ports import Reading
from agent.protocols import find
from agent.protocols.modbus_write import Order
from agent.services.acquire import Acquire

DEADLINE_S = 30.0

CONFIG = """
[[source]]
name = "chiller"
port = "{port}"
baudrate = 115200
protocol = "modbus"
[source.modbus]
every_s = 0.05
timeout_s = 0.1
[[source.modbus.slaves]]
id = 1
name = "east"
registers = [
  {{ name = "temp", address = 0, type = "i16", scale = 0.1, unit = "Cel" }},
  {{ name = "energy", address = 1, type = "u32", unit = "W.h" }},
  {{ name = "power", address = 3, type = "f32", unit = "W" }},
  {{ name = "absent", address = 900, unit = "1" }},
]
[[source.modbus.slaves]]
id = 2
name = "west"
registers = [{{ name = "temp", address = 0, type = "i16", scale = 0.1, unit = "Cel" }}]
[[source.modbus.slaves]]
id = 3
name = "dead"
registers = [{{ name = "temp", address = 0, unit = "Cel" }}]

[[source]]
name = "second"
port = "{port}"
baudrate = 115200
protocol = "modbus"
[source.modbus]
every_s = 0.05
[[source.modbus.slaves]]
id = 4
registers = [{{ name = "level", address = 7, type = "u16", unit = "%" }}]
"""


class SystemClock:
    def now_us(self) -> int:
        return time.time_ns() // 1000

    def mono_s(self) -> float:
        return time.monotonic()


def relay(source: int, target: int) -> None:
    with contextlib.suppress(OSError):
        while data := os.read(source, 1024):
            os.write(target, data)


@pytest.fixture
def wire() -> Iterator[tuple[str, str]]:
    """Return the two ends of a serial line."""
    ends = [os.openpty(), os.openpty()]
    for master, slave in ends:
        tty.setraw(master)
        tty.setraw(slave)
    (a, _), (b, _) = ends
    threads = [threading.Thread(target=relay, args=pair) for pair in ((a, b), (b, a))]
    for thread in threads:
        thread.start()
    yield os.ttyname(ends[0][1]), os.ttyname(ends[1][1])
    for _, slave in ends:
        os.close(slave)  # the last one: the relays read a hang-up and end
    for thread in threads:
        thread.join(DEADLINE_S)
    for master, _ in ends:
        os.close(master)


def device(number: int, *registers: int) -> SimDevice:
    return SimDevice(number, [SimData(0, values=list(registers), datatype=DataType.REGISTERS)])


@contextlib.asynccontextmanager
async def serving(port: str) -> AsyncIterator[None]:
    devices = [
        device(1, 0xFF4A, 1, 0x86A0, 0x42F6, 0xE979),
        device(2, 0xFF38),
        device(4, *range(100, 120)),
    ]
    server = ModbusSerialServer(devices, framer=FramerType.RTU, port=port, baudrate=115200, ignore_missing_devices=True)
    await server.serve_forever(background=True)
    try:
        yield
    finally:
        await server.shutdown()


def test_an_order_writes_to_the_slave_and_is_read_back(wire: tuple[str, str]):
    newest: dict[str, Reading] = {}

    def on_readings(readings: Sequence[Reading]) -> None:
        newest.update({reading.name: reading for reading in readings})

    async def scene() -> None:
        acquire = Acquire(SystemClock(), SerialPorts(SystemClock()), find, on_readings, lambda *_: None)
        await acquire.apply(parse_config(CONFIG.format(port=wire[0]), find).sources)
        async with serving(wire[1]):
            task = asyncio.create_task(acquire.run())
            async with asyncio.timeout(DEADLINE_S):
                while len(newest) < 5:  # noqa: ASYNC110 - what is waited for happens in a thread
                    await asyncio.sleep(0.02)
                assert await acquire.write("second", Order(0, 4, 7, (42,))) == ""
                assert await acquire.write("chiller", Order(0, 2, 0, (0xFF9C,), single=False)) == ""
                refused = await acquire.write("chiller", Order(0, 2, 900, (1, 2)))
                while (newest["second.level"].v, newest["chiller.west.temp"].v) != (42, -10.0):  # noqa: ASYNC110 - the same
                    await asyncio.sleep(0.02)
            with pytest.raises(Unavailable, match="no source 'other'"):
                await acquire.write("other", Order(0, 1, 1, (1,)))
            (chiller, _) = acquire.health()
            task.cancel()
            await asyncio.wait([task])
        assert refused == "slave 2, write of registers 900…901: illegal data address (2)"
        assert "slave 1: " in chiller.detail  # its register 900 is not there

    asyncio.run(scene())


def test_several_slaves_and_two_sources_on_one_bus(wire: tuple[str, str]):
    newest: dict[str, Reading] = {}
    events: list[str] = []

    def on_readings(readings: Sequence[Reading]) -> None:
        newest.update({reading.name: reading for reading in readings})

    async def scene() -> None:
        acquire = Acquire(
            SystemClock(), SerialPorts(SystemClock()), find, on_readings, lambda kind, _, __: events.append(kind)
        )
        await acquire.apply(parse_config(CONFIG.format(port=wire[0]), find).sources)
        async with serving(wire[1]):
            task = asyncio.create_task(acquire.run())
            async with asyncio.timeout(DEADLINE_S):
                while len(newest) < 5 or any(source.readings < 20 for source in acquire.health()):  # noqa: ASYNC110 - what is waited for happens in a thread
                    await asyncio.sleep(0.02)
            chiller, second = acquire.health()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        assert chiller.errors > 0
        assert second.errors == 0

    asyncio.run(scene())

    assert {name: (reading.v, reading.unit) for name, reading in newest.items()} == {
        "chiller.east.temp": (-18.2, "Cel"),
        "chiller.east.energy": (100_000, "W.h"),
        "chiller.east.power": (pytest.approx(123.456, abs=1e-4), "W"),
        "chiller.west.temp": (-20.0, "Cel"),
        "second.level": (107, "%"),
    }
    assert events == []
