"""Clocks as in the field, in simulated time, on a real buffer and a real fleet: dates are right in the fleet."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from clocks import Machine, S, kept, living, told, worst_s
from fleets import DEVICE, Fleet, a_fleet

from agent.core.receiver import ERA_US
from agent.wire.codec import decode
from agent.wire.messages import AlarmState, Clock, Lane, Segment
from fleet.store import quarantine

DAY_S = 86_400
LONG = '[[rule]]\nname = "high"\nseries = "board.temp"\nabove = 1\nhold_s = 900'

Story = Callable[[Path, Fleet], Coroutine[Any, Any, None]]


def play(tmp_path: Path, story: Story) -> None:
    async def main() -> None:
        async with a_fleet(f"sqlite:///{tmp_path / 'fleet.db'}") as fleet:
            await story(tmp_path, fleet)
            assert await fleet.db.read(lambda conn: quarantine.count(conn, DEVICE)) == 0

    asyncio.run(main())


def test_a_machine_that_starts_in_1970_is_dated_by_the_fleet(tmp_path: Path):
    async def story(folder: Path, fleet: Fleet) -> None:
        async with living(Machine(), folder) as life:
            await life.live(30)
            assert await life.buffer.rows(Lane.TELEMETRY, 0, 10**6) == ([], False)
            await life.sync(fleet)
            await life.live(5)
            await life.sync(fleet)
            assert await worst_s(fleet, life.taken) < 0.1

    play(tmp_path, story)


def test_what_was_read_in_the_ten_minutes_before_ntp_answers_is_dated_rightly(tmp_path: Path):
    async def story(folder: Path, fleet: Fleet) -> None:
        machine = Machine()
        async with living(machine, folder) as life:
            await life.live(600)
            machine.wall_off_us, machine.ntp = 0, Clock.SYNCED
            await life.live(10)
            await life.date()
            assert [event.kind for event in await told(life.buffer)] == ["clock.set"]
            await life.sync(fleet)
            assert await worst_s(fleet, life.taken) < 0.1

    play(tmp_path, story)


@pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S])
@pytest.mark.parametrize("ntp", [Clock.FREE, Clock.SYNCED])
def test_a_wall_clock_that_jumps_by_a_day_moves_no_date(tmp_path: Path, jump_s: int, ntp: Clock):
    async def story(folder: Path, fleet: Fleet) -> None:
        machine = Machine(wall_off_us=0, ntp=Clock.SYNCED)
        async with living(machine, folder) as life:
            await life.live(30)
            await life.sync(fleet)
            machine.wall_off_us, machine.ntp = jump_s * S, ntp
            await life.live(120)
            machine.wall_off_us = 0
            await life.live(30)
            await life.sync(fleet)
            assert await worst_s(fleet, life.taken) < 0.1
            assert await told(life.buffer) == []

    play(tmp_path, story)


def test_a_guess_that_was_a_day_off_is_mended_both_ways(tmp_path: Path):
    async def story(folder: Path, fleet: Fleet) -> None:
        taken: list[int] = []
        machine = Machine(wall_off_us=-DAY_S * S)  # a clock that was restored from the disk
        for wall_off_us in (-DAY_S * S, DAY_S * S):
            machine.wall_off_us = wall_off_us
            async with living(machine, folder) as life:
                await life.live(30)
                await life.sync(fleet)
                taken += life.taken
            machine.reboot(off_s=5)
        assert await worst_s(fleet, taken) < 0.1

    play(tmp_path, story)


def test_a_power_cut_at_any_point_of_dating_costs_nothing(tmp_path: Path):
    async def story(folder: Path, fleet: Fleet) -> None:
        taken: list[int] = []
        machine = Machine()
        async with living(machine, folder) as life:
            await life.live(1200)
            machine.wall_off_us, machine.ntp = 0, Clock.SYNCED
            life.reckon.look()
            await life.recorder.flush()
            assert await life.buffer.date()  # one step of three
            taken += life.taken
        async with living(machine, folder) as life:
            await life.live(5)
            assert await life.buffer.date()
            taken += life.taken
        machine.reboot(off_s=60)
        async with living(machine, folder) as life:
            await life.live(10)
            await life.sync(fleet)
            taken += life.taken
        assert await worst_s(fleet, taken) < 0.1

    play(tmp_path, story)


def test_a_power_cut_before_the_order_is_on_the_disk_only_puts_dating_off(tmp_path: Path):
    async def story(folder: Path, fleet: Fleet) -> None:
        machine = Machine()
        async with living(machine, folder) as first:
            await first.live(60)
            machine.wall_off_us, machine.ntp = 0, Clock.SYNCED
            first.reckon.look()  # and the agent is killed
        async with living(machine, folder) as life:
            await life.live(5)
            await life.sync(fleet)
            assert await worst_s(fleet, first.taken + life.taken) < 0.1

    play(tmp_path, story)


def test_boots_that_never_knew_the_time_end_where_the_next_began(tmp_path: Path):
    async def story(folder: Path, fleet: Fleet) -> None:
        taken: list[int] = []
        machine = Machine(wall_off_us=0, ntp=Clock.SYNCED)
        async with living(machine, folder) as life:
            await life.live(10)
            taken += life.taken
        for off_s in (7 * DAY_S, 40):
            machine.reboot(off_s=off_s)
            async with living(machine, folder) as life:
                await life.live(300)
                taken += life.taken
        machine.reboot(off_s=40)
        async with living(machine, folder) as life:
            await life.live(10)
            await life.sync(fleet)
            taken += life.taken
        assert await worst_s(fleet, taken) < 90

    play(tmp_path, story)


def test_a_hold_that_began_before_the_clock_was_known_ends_when_it_should(tmp_path: Path):
    async def story(folder: Path, fleet: Fleet) -> None:
        machine = Machine()
        async with living(machine, folder, LONG) as life:
            await life.live(600)
            await life.sync(fleet)
            await life.live(280)
            assert all(event.alarm is None for event in await told(life.buffer))
            await life.live(40)
            (alarm,) = [event for event in await told(life.buffer) if event.alarm]
            assert alarm.alarm is not None
            assert alarm.alarm.state is AlarmState.ACTIVE
            assert abs(alarm.alarm.first_bad_us - life.taken[0]) < S // 10
            assert abs(alarm.t_us - life.taken[900]) < S // 10

    play(tmp_path, story)


def test_an_alarm_of_before_the_clock_was_known_leaves_with_its_right_dates(tmp_path: Path):
    async def story(folder: Path, fleet: Fleet) -> None:
        async with living(Machine(), folder, LONG.replace("900", "10")) as life:
            await life.live(60)
            await life.sync(fleet)
            (raised,) = await fleet.events("alarm.raised")
            assert abs(raised.t_us - life.taken[10]) < S // 10

    play(tmp_path, story)


def test_after_an_offline_year_the_rules_still_judge_what_a_clock_in_1970_dates(tmp_path: Path):
    async def story(folder: Path, fleet: Fleet) -> None:
        del fleet
        machine = Machine(wall_off_us=0, ntp=Clock.SYNCED)
        async with living(machine, folder, LONG) as life:
            await life.live(10)
            life.recorder.finish()
            await life.recorder.flush()
        machine.reboot(off_s=365 * DAY_S)
        async with living(machine, folder, LONG.replace("900", "5")) as life:
            await life.live(20)
            events = await life.buffer.depth(Lane.EVENTS)
            assert events.rows == 1  # the alarm; it waits for its date

    play(tmp_path, story)


def test_a_snapshot_and_live_readings_are_not_shown_with_a_guessed_date(tmp_path: Path):
    async def story(folder: Path, fleet: Fleet) -> None:
        async with living(Machine(), folder) as life:
            seen: list[object] = []
            life.recorder.on_live = seen.append
            life.read()
            assert (seen, life.recorder.snapshot()) == ([], ())
            assert len(life.recorder.newest()) == 1
            await life.sync(fleet)
            life.read()
            assert len(seen) == 1
            (newest,) = life.recorder.snapshot()
            assert abs(newest.t_us - life.machine.true_us) < S // 10

    play(tmp_path, story)


def test_a_backlog_keeps_its_bytes_readings_and_depth_while_it_is_dated(tmp_path: Path):
    async def story(folder: Path, fleet: Fleet) -> None:
        del fleet
        machine = Machine()
        async with living(machine, folder) as life:
            await life.live(30)
            before = await life.buffer.depth(Lane.TELEMETRY)
            life.reckon.server(machine.true_us, 0.2)
            await life.date()
            after = await life.buffer.depth(Lane.TELEMETRY)
            assert (after.rows, after.bytes, after.readings) == (before.rows, before.bytes, before.readings)
            assert after.newest_us - after.oldest_us == before.newest_us - before.oldest_us
            assert abs(after.oldest_us - life.taken[0]) < S

    play(tmp_path, story)


def test_the_service_goes_on_with_the_clock_that_its_boot_has_learnt(tmp_path: Path):
    async def story(folder: Path, fleet: Fleet) -> None:
        machine = Machine()
        async with living(machine, folder) as first:
            await first.live(10)
            await first.sync(fleet)
        async with living(machine, folder) as life:
            assert life.clock.state() is Clock.FREE
            await life.live(10)
            assert len((await life.buffer.rows(Lane.TELEMETRY, 0, 10**6))[0]) > 10
            await life.sync(fleet)
            assert await worst_s(fleet, first.taken + life.taken) < 0.1

    play(tmp_path, story)


# A satellite receiver.


def test_a_machine_in_1970_without_any_network_is_dated_by_its_receiver(tmp_path: Path):
    async def story(folder: Path, fleet: Fleet) -> None:
        machine = Machine(gnss_off_s=0)
        async with living(machine, folder) as life:
            await life.live(30)
            await life.date()
            rows, _ = await life.buffer.rows(Lane.TELEMETRY, 0, 10**6)
            found = await kept(life.buffer)
            assert {decode(Segment, row.body).clock for row in rows} == {Clock.GNSS}
            assert [reading.v for reading in found] == life.taken
            assert max(abs(reading.t_us - it) for reading, it in zip(found, life.taken, strict=True)) < 0.75 * S
            assert [event.kind for event in await told(life.buffer)] == ["clock.set"]
            assert life.clock.state() is Clock.GNSS
            await life.sync(fleet)
            assert await worst_s(fleet, life.taken) < 0.75

    play(tmp_path, story)


@pytest.mark.parametrize("off_s", [DAY_S, -DAY_S])
def test_a_receiver_that_is_a_day_off_is_not_followed_against_ntp_and_fleet(tmp_path: Path, off_s: int):
    async def story(folder: Path, fleet: Fleet) -> None:
        machine = Machine(wall_off_us=0, ntp=Clock.SYNCED)
        async with living(machine, folder) as life:
            await life.live(10)
            await life.sync(fleet)
            machine.gnss_off_s = off_s
            await life.live(120)
            await life.sync(fleet)
            machine.ntp = Clock.FREE  # now it is the receiver's word against the fleet's
            await life.live(120)
            await life.sync(fleet)
            assert await worst_s(fleet, life.taken) < 0.1
            assert await told(life.buffer) == []

    play(tmp_path, story)


def test_a_receiver_that_was_wrong_when_nobody_else_was_there_is_overruled_by_the_fleets_first_word(tmp_path: Path):
    async def story(folder: Path, fleet: Fleet) -> None:
        machine = Machine(gnss_off_s=-DAY_S)
        async with living(machine, folder) as life:
            await life.live(10)
            await life.sync(fleet)
            await life.live(60)
            await life.sync(fleet)
            assert abs(life.clock.now_us() - machine.true_us) < S // 10
            assert [event.kind for event in await told(life.buffer)] == ["clock.set", "clock.stepped"]

    play(tmp_path, story)


def test_a_receiver_that_has_lost_count_of_its_weeks_is_not_believed(tmp_path: Path):
    async def story(folder: Path, fleet: Fleet) -> None:
        machine = Machine(gnss_off_s=-len(ERA_US) / S)
        async with living(machine, folder) as life:
            await life.live(30)
            assert life.clock.state() is Clock.UNKNOWN
            await life.sync(fleet)
            assert await worst_s(fleet, life.taken) < 0.1

    play(tmp_path, story)
