"""Simulated boards, read as a device reads them, against the ledger of what they emitted."""

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.adapters.serial_port import SerialPorts
from agent.core.config import parse_config
from agent.ports import Reading
from agent.protocols import find
from agent.services.acquire import Acquire

DEADLINE_S = 60.0

COLUMNS = ", ".join(f'{{ name = "{n}", unit = "1" }}' for n in ("n", "temp", "door", "compressor", "ambient", "power"))
LINES = 'protocol = "lines"\nlines = {{ format = "{}", columns = [{}] }}'
METER = """protocol = "modbus"
[source.modbus]
every_s = 0.05
[[source.modbus.slaves]]
id = 1
registers = [
  { name = "voltage", address = 0, type = "u16", scale = 0.1, unit = "V" },
  { name = "current", address = 1, type = "u32", scale = 0.001, unit = "A" },
  { name = "power", address = 3, type = "i32", scale = 0.1, unit = "W" },
  { name = "energy", address = 5, type = "u32", scale = 0.001, unit = "kW.h" },
  { name = "frequency", address = 7, type = "f32", unit = "Hz" },
]"""

IEC62056 = """protocol = "iec62056"
[source.iec62056]
every_s = 1
values = [
  { code = "1-0:32.7.0", name = "voltage", unit = "V" },
  { code = "31.7.0", name = "current", unit = "A" },
  { code = "16.7.0", name = "power", unit = "W" },
  { code = "1.8.0", name = "energy", unit = "kW.h" },
  { code = "14.7.0", name = "frequency", unit = "Hz" },
]"""

SDI12 = """protocol = "sdi12"
[source.sdi12]
every_s = 1
crc = true
[[source.sdi12.probes]]
address = "0"
values = [
  { name = "pressure", unit = "bar" }, { name = "flow", unit = "L/min" }, { name = "vibration", unit = "mm/s" },
  { name = "current", unit = "A" }, { name = "motor_temp", unit = "Cel" },
]"""

SCENES = {
    "csv": (["freezer", "--rate", "200", "--count", "300"], LINES.format("csv", COLUMNS)),
    "json": (["freezer", "--protocol", "json", "--rate", "200", "--count", "300"], LINES.format("json", COLUMNS)),
    "kv": (["freezer", "--protocol", "kv", "--rate", "200", "--count", "300"], LINES.format("kv", COLUMNS)),
    "fast": (
        ["counter", "--rate", "2000", "--count", "4000"],
        LINES.format("csv", '{ name = "n", unit = "1" }, { name = "temp", unit = "Cel" }'),
    ),
    "nmea": (["tracker", "--rate", "50", "--count", "100"], 'protocol = "nmea"'),
    "iec62056": (["meter", "--protocol", "iec62056", "--count", "4"], IEC62056),
    "sdi12": (["pump", "--protocol", "sdi12", "--count", "6"], SDI12),
    "modbus": (["meter", "--count", "40"], METER),
}
SAID_OTHERWISE = {"altitude": "alt", "speed_kn": "speed"}  # by the ledger


class SystemClock:
    def now_us(self) -> int:
        return time.time_ns() // 1000

    def mono_s(self) -> float:
        return time.monotonic()


async def read_board(arguments: list[str], source: str, folder: Path) -> list[Reading]:
    """Run a board until it ends; return all that was read from it."""
    readings: list[Reading] = []

    def on_readings(found: Sequence[Reading]) -> None:
        readings.extend(found)

    port, ledger = folder / "tty", folder / "ledger.db"
    command = [sys.executable, "-m", "firmware_sim", "board", *arguments]
    acquire = Acquire(SystemClock(), SerialPorts(SystemClock()), find, on_readings, lambda *_: None)
    await acquire.apply(parse_config(f'[[source]]\nname = "b"\nport = "{port}"\n{source}', find).sources)
    task = asyncio.create_task(acquire.run())
    board = await asyncio.create_subprocess_exec(
        *command, "--link", str(port), "--ledger", str(ledger), "--await-reader", stdout=subprocess.DEVNULL
    )
    async with asyncio.timeout(DEADLINE_S):
        await board.wait()
        await asyncio.sleep(0.1)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return readings


def emitted(ledger: Path) -> dict[str, list[object]]:
    """Return what the ledger says was handed to a reader, by quantity."""
    found: dict[str, list[object]] = defaultdict(list)
    with contextlib.closing(sqlite3.connect(ledger)) as connection:
        for board, quantity, value in connection.execute(
            "SELECT board, quantity, value FROM sample WHERE lost_on_wire = 0 ORDER BY n"
        ):
            if not (board.endswith(".rmc") and quantity in {"lat", "lon"}):  # the agent takes them from GGA
                found[SAID_OTHERWISE.get(quantity, quantity)].append(value)
    return found


@pytest.mark.parametrize("scene", SCENES)
def test_what_a_board_emitted_is_what_was_read_in_order_and_nothing_else(scene: str, tmp_path: Path):
    readings = asyncio.run(read_board(*SCENES[scene], tmp_path))

    read: dict[str, list[object]] = defaultdict(list)
    for reading in readings:
        read[reading.name.removeprefix("b.")].append(reading.v)
    expected = emitted(tmp_path / "ledger.db")
    assert expected
    for quantity, values in expected.items():
        assert read[quantity] == pytest.approx(values, abs=1e-8), quantity
    assert set(read) - {"fix"} == set(expected)
    times = [reading.t_us for reading in readings]
    assert times == sorted(times)
