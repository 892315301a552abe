"""The recorder on a real buffer: alarms at once, states that survive, nothing lost in silence when the disk fails."""

import asyncio
import random
from pathlib import Path

import pytest
from agent_out import Now, until

from agent.adapters.buffer import Buffer
from agent.core.outbox import readings_of
from agent.errors import Unavailable
from agent.ports import Reading
from agent.rules.rule import Rule, read_rules
from agent.services.record import Boot, Recorder
from agent.services.restore import restore
from agent.wire.codec import decode
from agent.wire.document import parse_document
from agent.wire.messages import AlarmState, Clock, DeviceEvent, Lane, Segment

RULE = """
[[rule]]
name = "too-warm"
series = "board.temp"
above = -5.0
hold_s = 2
clear_hold_s = 2
ticket = true
"""
START_US = 1_800_000_000_000_000


async def recorder_on(buffer: Buffer, max_pending_bytes: int = 4_000_000) -> Recorder:
    rng = random.Random(1).random  # noqa: S311 - a schedule that can be repeated
    boot = Boot("boot", lambda: Clock.FREE)
    return Recorder(buffer, Now(), boot, await restore(buffer), rng, max_pending_bytes=max_pending_bytes)


def rules(text: str = RULE) -> tuple[Rule, ...]:
    return read_rules(parse_document(text))


def temp(second: float, value: float) -> list[Reading]:
    return [Reading("board.temp", "Cel", START_US + int(second * 1e6), value)]


async def events(buffer: Buffer) -> list[DeviceEvent]:
    found, _ = await buffer.rows(Lane.EVENTS, 0, 10**9)
    return [decode(DeviceEvent, row.body) for row in found]


async def values(buffer: Buffer) -> list[object]:
    found, _ = await buffer.rows(Lane.TELEMETRY, 0, 10**9)
    return [reading.v for row in found for reading in readings_of(decode(Segment, row.body))]


def test_an_alarm_is_committed_at_once_with_the_readings_that_raised_it(tmp_path: Path):
    async def main() -> None:
        async with Buffer.open(tmp_path / "b.db") as buffer:
            recorder = await recorder_on(buffer)
            await recorder.apply(rules(), 60.0)
            told: list[tuple[Lane, int, bool]] = []
            recorder.on_committed = lambda *what: told.append(what)
            task = asyncio.create_task(recorder.run())

            for second in range(4):
                recorder.readings(temp(second, 3.0))
            await until(lambda: told)
            task.cancel()

            alarm = (await events(buffer))[0].alarm
            assert alarm is not None
            assert (alarm.state, alarm.first_bad_us, alarm.ticket) == (AlarmState.ACTIVE, START_US, True)
            assert await values(buffer) == [3.0] * 4
            assert (Lane.EVENTS, 1, True) in told

    asyncio.run(main())


def test_an_alarm_that_wants_a_ticket_takes_the_end_of_the_log_along(tmp_path: Path):
    async def main() -> None:
        async with Buffer.open(tmp_path / "b.db") as buffer:
            recorder = await recorder_on(buffer)
            recorder.log = lambda: ["level=info msg=first", "level=error msg=last"]
            await recorder.apply(rules(RULE + RULE.replace("too-warm", "quiet").replace("true", "false")), 1.0)
            for second in (0, 3, 4, 7):
                recorder.readings(temp(second, 3.0 if second < 4 else -20.0))
            await recorder.flush()

            told = {(event.subject, event.alarm.state): event.log for event in await events(buffer) if event.alarm}
            assert told["too-warm", AlarmState.ACTIVE] == ("level=info msg=first", "level=error msg=last")
            assert {key for key, log in told.items() if log} == {("too-warm", AlarmState.ACTIVE)}
            assert ("too-warm", AlarmState.CLEARED) in told
            assert recorder.written_readings == 4

    asyncio.run(main())


def test_a_running_hold_survives_a_restart(tmp_path: Path):
    async def main() -> None:
        async with Buffer.open(tmp_path / "b.db") as buffer:
            recorder = await recorder_on(buffer)
            await recorder.apply(rules(), 1.0)
            recorder.readings(temp(0, 3.0))
            await recorder.flush()
        async with Buffer.open(tmp_path / "b.db") as buffer:
            recorder = await recorder_on(buffer)
            await recorder.apply(rules(), 1.0)
            recorder.readings(temp(2.5, 3.0))
            await recorder.flush()
            assert [event.alarm.first_bad_us for event in await events(buffer) if event.alarm] == [START_US]

    asyncio.run(main())


def test_the_alarm_of_a_rule_that_is_gone_is_cleared(tmp_path: Path):
    async def main() -> None:
        async with Buffer.open(tmp_path / "b.db") as buffer:
            recorder = await recorder_on(buffer)
            await recorder.apply(rules(), 1.0)
            for second in range(4):
                recorder.readings(temp(second, 3.0))
            await recorder.apply((), 1.0)
            await recorder.flush()
            states = [event.alarm.state for event in await events(buffer) if event.alarm]
            assert states == [AlarmState.ACTIVE, AlarmState.CLEARED]

    asyncio.run(main())


async def fill_disk(buffer: Buffer, pages: int) -> None:
    await buffer._call(lambda: buffer._db.execute(f"PRAGMA max_page_count = {pages}"))  # noqa: SLF001 - its connection's


def test_a_full_disk_loses_nothing_while_memory_lasts(tmp_path: Path):
    async def main() -> None:
        async with Buffer.open(tmp_path / "b.db") as buffer:
            recorder = await recorder_on(buffer)
            await fill_disk(buffer, 8)
            for i in range(20_000):
                recorder.readings(temp(i, float(i)))
            with pytest.raises(Unavailable):
                await recorder.flush()
            assert "full" in recorder.problem
            await fill_disk(buffer, 100_000)
            await recorder.flush()
            assert await values(buffer) == [float(i) for i in range(20_000)]
            assert recorder.problem == ""

    asyncio.run(main())


def test_what_had_to_be_shed_is_a_gap_that_says_what(tmp_path: Path):
    async def main() -> None:
        async with Buffer.open(tmp_path / "b.db") as buffer:
            recorder = await recorder_on(buffer, max_pending_bytes=200_000)
            await fill_disk(buffer, 8)
            for i in range(50_000):
                recorder.readings(temp(i, float(i)))
            for _ in range(3):
                with pytest.raises(Unavailable):
                    await recorder.flush()
            await fill_disk(buffer, 100_000)
            await recorder.flush()

            kept = await values(buffer)
            gaps = [event.gap for event in await events(buffer) if event.gap]
            found, _ = await buffer.rows(Lane.TELEMETRY, 0, 10**9)
            held = {row.seq for row in found}
            assert sum(gap.count for gap in gaps) + len(kept) == 50_000
            assert all(not held & set(range(gap.from_seq, gap.to_seq + 1)) for gap in gaps)
            assert kept[-1] == 49_999.0
            assert "full" in gaps[0].reason

    asyncio.run(main())


def test_newest_has_the_last_reading_of_each_series(tmp_path: Path):
    async def main() -> None:
        async with Buffer.open(tmp_path / "b.db") as buffer:
            recorder = await recorder_on(buffer)
            recorder.readings([Reading("a.x", "1", 1, 1.0), Reading("a.y", "1", 2, 2.0), Reading("a.x", "1", 3, 3.0)])
            assert {newest.name: newest.v for newest in recorder.newest()} == {"a.x": 3.0, "a.y": 2.0}

    asyncio.run(main())
