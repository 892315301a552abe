import asyncio
import json
import time
from pathlib import Path

import pytest

from agent.adapters.vitals import Vitals as Machine
from agent.services import health
from agent.services.health import Backlog, Checkup, Vitals
from agent.wire.codec import decode, encode
from agent.wire.messages import Health, LineHealth, MachineHealth, RoadHealth, SlaveHealth, SourceHealth
from fleet.console.machine import facts

T0_US = 1_800_000_000_000_000


class Now:
    def now_us(self) -> int:
        return T0_US

    def mono_s(self) -> float:
        return time.monotonic()


async def backlog() -> Backlog:
    return Backlog(3, 4096, 180, T0_US - 1)


def checkup(server_offset_s: float | None = 0.25) -> Checkup:
    vitals = Vitals(
        lambda: 39_000_000,
        backlog,
        lambda: (),
        lambda: T0_US + 1,
        machine=lambda: MachineHealth(cpu_celsius=48.3, throttling=("under-voltage",)),
        road=lambda: RoadHealth("link", 2, 0.041),
        server_offset_s=lambda: server_offset_s,
        written_bytes=lambda: 8192,
        written_readings=lambda: 100,
    )
    return Checkup(Now(), vitals)


def test_a_record_holds_agent_machine_and_road():
    found = asyncio.run(checkup().examine())

    assert (found.rss_bytes, found.buffer_rows, found.buffer_oldest_us) == (39_000_000, 3, T0_US - 1)
    assert found.machine == MachineHealth(cpu_celsius=48.3, throttling=("under-voltage",))
    assert found.road == RoadHealth("link", 2, 0.041)
    assert found.server_offset_s == 0.25
    assert (found.written_bytes, found.written_readings) == (8192, 100)
    assert decode(Health, encode(found)) == found


def test_an_offset_beyond_the_contract_is_brought_inside_it():
    assert asyncio.run(checkup(-1e12).examine()).server_offset_s == -1e9


def test_what_holds_the_loop_up_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health, "EVERY_S", 0.3)
    it = checkup()

    async def main() -> Health:
        running = asyncio.create_task(it.run())
        await asyncio.sleep(0.05)
        time.sleep(0.2)  # noqa: ASYNC251 - this is the hold-up
        await asyncio.sleep(0.05)
        found = await it.examine()
        running.cancel()
        await asyncio.wait((running,))
        return found

    lag_s = asyncio.run(main()).loop_lag_s

    assert lag_s is not None
    assert lag_s >= 0.15


def test_the_page_shows_what_is_wrong_on_a_port_and_what_the_flash_has_to_bear():
    bus = SourceHealth(
        *("bus", True, 9, 1, 5, ""),
        LineHealth(framing=3, silent=True),
        (SlaveHealth(3, 9, 9), SlaveHealth(9, 4, 1, 2, 1)),
    )
    record = Health(T0_US, 1, 1, 0, 0, 0, 0, (bus,), written_bytes=9000, written_readings=100)

    assert facts(encode(record).decode()) == [
        ("port of bus", "silent, 3 framing errors, slave 9: 3 of 4 unanswered"),
        ("to its disk", "90 bytes a reading"),
    ]


def test_this_machines_health_keeps_to_the_contract(tmp_path: Path):
    found = Machine().health(tmp_path)

    assert found.memory_bytes > 0
    assert found.disk_bytes > found.disk_free_bytes > 0
    assert decode(MachineHealth, encode(found)) == found


def test_the_page_shows_the_unusual_first_and_nothing_that_was_not_told():
    worn = MachineHealth(
        cpu_celsius=71.2, throttling=("throttled",), flash="mmcblk0", flash_used_percent=90, flash_errors=2
    )
    record = Health(T0_US, 1, 1, 0, 0, 0, 0, (), worn, RoadHealth("gateway", 0, 0.0412), 0.7)

    assert facts(encode(record).decode()) == [
        ("slowed by", "throttled"),
        ("flash", "2 errors on mmcblk0"),
        ("flash", "worn: up to 90 % of its life are used"),
        ("held up", "for 0.7 s"),
        ("processor", "71 °C"),
        ("answer", "in 41 ms over the gateway"),
    ]
    assert facts(json.dumps({"t_us": 1, "sources": []})) == []
    assert facts(None) == []
