"""Rules and sampling on the device: the recorder on a real buffer, with a clock that the test moves."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

from agent.adapters.buffer import Buffer
from agent.core.outbox import readings_of
from agent.core.sampling import Keep, Sampling
from agent.ports import Reading
from agent.rules.rule import Rule, read_rules
from agent.services.record import Boot, Recorder
from agent.services.restore import STATE_PREFIX, restore
from agent.wire.codec import decode
from agent.wire.document import parse_document
from agent.wire.messages import AlarmChange, Clock, DeviceEvent, Lane, Segment, Value

S = 1_000_000
START_US = 1_800_000_000 * S
SILENT = '[[rule]]\nname = "silent"\nseries = "board.temp"\nabsent_s = 30\nclear_hold_s = 0'
DOOR = """
[[rule]]
name = "door"
hold_s = 0
clear_hold_s = 0
all = [{ series = "board.door", equals = 1 }, { series = "board.temp", above = 5 }]
"""


class Moving:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.s = 0.0
        self.set_by_s = 0.0

    def now_us(self) -> int:
        return START_US + int((self.s + self.set_by_s) * S)

    def mono_s(self) -> float:
        return 1000.0 + self.s


class Device:
    """A recorder, its buffer and its clock."""

    def __init__(self, buffer: Buffer, recorder: Recorder, clock: Moving) -> None:
        self.buffer = buffer
        self.recorder = recorder
        self.clock = clock

    def read(self, quantity: str, value: Value) -> None:
        self.recorder.readings([Reading(f"board.{quantity}", "1", self.clock.now_us(), value)])

    def tick_at(self, s: float) -> None:
        self.clock.s = s
        self.recorder.tick()

    async def alarms(self) -> list[AlarmChange]:
        await self.recorder.flush()
        found, _ = await self.buffer.rows(Lane.EVENTS, 0, 10**9)
        return [event.alarm for event in (decode(DeviceEvent, row.body) for row in found) if event.alarm]

    async def kept(self) -> list[Reading]:
        await self.recorder.flush()
        found, _ = await self.buffer.rows(Lane.TELEMETRY, 0, 10**9)
        return [reading for row in found for reading in readings_of(decode(Segment, row.body))]


def rules(text: str) -> tuple[Rule, ...]:
    return read_rules(parse_document(text))


async def start(buffer: Buffer, clock: Moving, text: str, sampling: tuple[Sampling, ...] = ()) -> Device:
    boot = Boot("boot", lambda: Clock.FREE)
    rng = random.Random(1).random  # noqa: S311 - a schedule that can be repeated
    recorder = Recorder(buffer, clock, boot, await restore(buffer), rng)
    await recorder.apply(rules(text), 1.0, sampling)
    return Device(buffer, recorder, clock)


def story(tmp_path: Path, tell: Callable[[Buffer, Moving], object]) -> None:
    async def main() -> None:
        async with Buffer.open(tmp_path / "b.db") as buffer:
            await tell(buffer, Moving())  # type: ignore[misc]

    asyncio.run(main())


def test_silence_is_noticed_by_the_tick_and_ended_by_data(tmp_path: Path):
    async def tell(buffer: Buffer, clock: Moving) -> None:
        device = await start(buffer, clock, SILENT)
        device.read("temp", 4.0)
        device.tick_at(30)
        assert await device.alarms() == []
        device.tick_at(31)
        (alarm,) = await device.alarms()
        assert (str(alarm.state), alarm.first_bad_us, alarm.condition) == ("active", START_US, "no data for 30 s")
        device.read("temp", 4.0)
        assert [str(alarm.state) for alarm in await device.alarms()] == ["active", "cleared"]

    story(tmp_path, tell)


def test_an_agent_that_was_off_does_not_take_its_own_absence_for_the_sensors(tmp_path: Path):
    async def tell(buffer: Buffer, clock: Moving) -> None:
        device = await start(buffer, clock, SILENT)
        device.read("temp", 4.0)
        device.recorder.finish()
        await device.recorder.flush()

        clock.s = 3600
        restarted = await start(buffer, clock, SILENT)
        restarted.tick_at(3601)
        restarted.read("temp", 4.0)

        assert await restarted.alarms() == []

    story(tmp_path, tell)


def test_a_clock_that_is_set_raises_no_alarm_of_silence(tmp_path: Path):
    async def tell(buffer: Buffer, clock: Moving) -> None:
        device = await start(buffer, clock, SILENT)
        device.read("temp", 4.0)
        device.tick_at(1)
        device.recorder.cut()
        clock.set_by_s = 86_400 * 365
        device.recorder.set_clock(86_400 * 365 * S, START_US)
        device.tick_at(2)
        device.tick_at(3)
        device.tick_at(30)
        assert await device.alarms() == []
        device.tick_at(31)
        assert [str(alarm.state) for alarm in await device.alarms()] == ["active"]

    story(tmp_path, tell)


def test_a_condition_over_several_series_is_told_within_a_tick_and_survives_a_restart(tmp_path: Path):
    async def tell(buffer: Buffer, clock: Moving) -> None:
        device = await start(buffer, clock, DOOR)
        device.read("door", 1)
        await device.recorder.flush()
        restarted = await start(buffer, clock, DOOR)
        clock.s = 5
        restarted.read("temp", 9.0)
        restarted.tick_at(6)
        (alarm,) = await restarted.alarms()
        assert (alarm.series, alarm.condition) == ("board.door", "board.door equals 1 and board.temp above 5")

    story(tmp_path, tell)


def test_a_state_that_the_first_release_wrote_is_loaded(tmp_path: Path):
    async def tell(buffer: Buffer, clock: Moving) -> None:
        old = f'{{"phase":"active","first_bad_us":{START_US},"first_good_us":0,"bad_samples":3,"last_us":{START_US}}}'
        await buffer.commit([], {f"{STATE_PREFIX}warm\nboard.temp": old})
        text = '[[rule]]\nname = "warm"\nseries = "board.temp"\nabove = 5\nclear_hold_s = 0'
        device = await start(buffer, clock, text)
        clock.s = 1
        device.read("temp", 1.0)
        (alarm,) = await device.alarms()
        assert (str(alarm.state), alarm.first_bad_us) == ("cleared", START_US)

    story(tmp_path, tell)


def test_the_alarm_of_a_rule_that_is_gone_after_a_restart_is_cleared(tmp_path: Path):
    async def tell(buffer: Buffer, clock: Moving) -> None:
        device = await start(buffer, clock, SILENT)
        device.tick_at(1)
        device.tick_at(40)
        await device.recorder.flush()
        restarted = await start(buffer, clock, DOOR)
        assert [str(alarm.state) for alarm in await restarted.alarms()] == ["active", "cleared"]
        again = await start(buffer, clock, DOOR)
        assert len(await again.alarms()) == 2

    story(tmp_path, tell)


def test_rules_see_what_sampling_does_not_keep(tmp_path: Path):
    async def tell(buffer: Buffer, clock: Moving) -> None:
        text = '[[rule]]\nname = "warm"\nseries = "board.temp"\nabove = 5\nhold_s = 0\nclear_hold_s = 0'
        sampling = (Sampling("board.temp", Keep.CHANGE, deadband=100),)
        device = await start(buffer, clock, text, sampling)
        for s, value in enumerate([1.0, 9.0, 1.0]):
            clock.s = s
            device.read("temp", value)
        assert [str(alarm.state) for alarm in await device.alarms()] == ["active", "cleared"]
        assert [reading.v for reading in await device.kept()] == [1.0]
        assert {newest.name: newest.v for newest in device.recorder.newest()} == {"board.temp": 1.0}

    story(tmp_path, tell)


def test_windows_close_by_the_tick_when_the_config_changes_and_at_the_end(tmp_path: Path):
    async def tell(buffer: Buffer, clock: Moving) -> None:
        sampling = (Sampling("board.temp", Keep.AGGREGATE, window_us=60 * S),)
        device = await start(buffer, clock, DOOR, sampling)
        device.read("temp", 1.0)
        device.tick_at(70)
        assert len(await device.kept()) == 4
        device.read("temp", 2.0)
        await device.recorder.apply((), 1.0)
        assert len(await device.kept()) == 8
        await device.recorder.apply((), 1.0, sampling)
        device.read("temp", 3.0)
        device.recorder.finish()
        assert [reading.v for reading in await device.kept() if reading.name == "board.temp.max"] == [1.0, 2.0, 3.0]

    story(tmp_path, tell)
