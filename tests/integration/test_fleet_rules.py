"""The fleet's rules on a real database: silence told apart from a link that is down, several series, rules that go."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from batches import T0_US, events, segment, telemetry
from batches import event as row
from fleets import DEVICE, Fleet, a_fleet

from agent.rules.phase import RuleState
from agent.wire.messages import AlarmChange, AlarmState, Newest, Severity
from fleet.core.actor import FLEET
from fleet.core.cases import MAX_CASES
from fleet.jobs.rules import turn
from fleet.store import alarm, config, rule_state
from fleet.store.alarm import Alarm
from fleet.store.config import Target

pytest_plugins = ("databases",)

T = TypeVar("T")
S = 1_000_000
SILENT = """
[[rule]]
name = "silent"
series = "board.temp"
absent_s = 30
clear_hold_s = 0
at = "fleet"
"""
ANY = """
[[rule]]
name = "warm"
series = "*.temp"
above = 5
hold_s = 0
clear_hold_s = 0
at = "fleet"
"""
DOOR = """
[[rule]]
name = "door"
hold_s = 0
clear_hold_s = 0
at = "fleet"
all = [{ series = "board.door", equals = 1 }, { series = "board.temp", above = 5 }]
"""


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 60))


async def configure(fleet: Fleet, toml: str) -> None:
    now = fleet.clock()
    await fleet.db.write(lambda conn: config.set_document(conn, Target.PRODUCT, "freezer", toml, now_us=now, by=FLEET))


async def alarms(fleet: Fleet) -> list[Alarm]:
    return await fleet.db.read(lambda conn: alarm.page(conn, device_id=DEVICE))


def empty(after_s: int, prev_seq: int) -> bytes:
    """A call of a device that has nothing more to say."""
    return telemetry([], prev_seq=prev_seq, sent_us=T0_US + after_s * S)


def test_data_that_stops_while_the_device_calls_is_absent(database_url: str):
    async def story() -> list[Any]:
        async with a_fleet(database_url) as fleet:
            await configure(fleet, SILENT)
            await fleet.take(telemetry([segment(1, [4.0])]))
            await fleet.take(empty(31, 1))
            quiet = await alarms(fleet)
            await fleet.take(empty(32, 1))
            (raised,) = await alarms(fleet)
            await fleet.take(telemetry([segment(2, [4.0], t0_us=T0_US + 60 * S)]))
            (cleared,) = await alarms(fleet)
            return [quiet, raised, cleared]

    quiet, raised, cleared = run(story())

    assert quiet == []
    assert (raised.state, raised.raised_us, raised.first_bad_us) == (AlarmState.ACTIVE, T0_US + 31 * S, T0_US + S)
    assert (cleared.state, cleared.condition) == (AlarmState.CLEARED, "no data for 30 s")


def test_data_that_is_late_because_the_link_was_down_is_not_absent(database_url: str):
    async def story() -> list[Alarm]:
        async with a_fleet(database_url) as fleet:
            await configure(fleet, SILENT)
            await fleet.take(telemetry([segment(1, [4.0])]))
            fleet.clock.forward(3600)
            await turn(fleet.db, fleet.clock())
            newest = (Newest("board.temp", "Cel", T0_US + 600 * S, 4.0),)
            await fleet.take(events([row(1)], newest=newest))
            for seq in range(2, 12):
                first = newest if seq == 2 else ()
                await fleet.take(telemetry([segment(seq, [4.0], t0_us=T0_US + (seq - 1) * 20 * S)], newest=first))
            return await alarms(fleet)

    assert run(story()) == []


def test_a_snapshot_of_the_newest_readings_proves_that_data_comes(database_url: str):
    async def story() -> list[Alarm]:
        async with a_fleet(database_url) as fleet:
            await configure(fleet, SILENT)
            await fleet.take(telemetry([segment(1, [4.0])]))
            newest = (Newest("board.temp", "Cel", T0_US + 600 * S, 4.0),)
            door = segment(2, [0], series="board.door", t0_us=T0_US + 500 * S)
            await fleet.take(telemetry([door], newest=newest))
            return await alarms(fleet)

    assert run(story()) == []


def test_several_series_of_one_batch_are_judged_in_order_of_time(database_url: str):
    async def story() -> list[tuple[str, int, str]]:
        async with a_fleet(database_url) as fleet:
            await configure(fleet, DOOR)
            door = [segment(1, [1], series="board.door", t0_us=T0_US + 10 * S)]
            door += [segment(2, [0], series="board.door", t0_us=T0_US + 40 * S)]
            temp = [segment(3, [9.0], t0_us=T0_US + 20 * S), segment(4, [9.0], t0_us=T0_US + 50 * S)]
            await fleet.take(telemetry([*door, *temp]))
            return [(one.kind, (one.t_us - T0_US) // S, one.text) for one in await fleet.events("alarm.")]

    told = run(story())

    assert [(kind, s) for kind, s, _ in told] == [("alarm.raised", 20), ("alarm.cleared", 40)]
    assert told[0][2] == "Major alarm door on board.door: board.door equals 1 and board.temp above 5, value 1."


def test_the_alarm_of_a_rule_that_is_gone_is_cleared_by_the_job_and_says_so(database_url: str):
    async def story() -> list[Any]:
        async with a_fleet(database_url) as fleet:
            await configure(fleet, SILENT)
            await fleet.take(telemetry([segment(1, [4.0])]))
            await fleet.take(empty(60, 1))
            await turn(fleet.db, fleet.clock())
            (kept,) = await alarms(fleet)
            await configure(fleet, DOOR)
            await turn(fleet.db, fleet.clock())
            await turn(fleet.db, fleet.clock())
            (cleared,) = await alarms(fleet)
            states = await fleet.db.read(lambda conn: rule_state.get(conn, DEVICE))
            return [kept, cleared, states, [one.text for one in await fleet.events("alarm.cleared")]]

    kept, cleared, states, told = run(story())

    assert (kept.state, cleared.state, states) == (AlarmState.ACTIVE, AlarmState.CLEARED, {})
    assert told == ["Alarm silent on board.temp cleared: its rule is no longer part of the config."]


def test_the_job_leaves_the_fleets_own_alarms_and_the_devices_alone(database_url: str):
    async def story() -> list[Alarm]:
        async with a_fleet(database_url) as fleet:
            await configure(fleet, DOOR)
            change = AlarmChange("x", "board.temp", AlarmState.ACTIVE, Severity.MAJOR, T0_US, False, 1.0, "above 0")  # noqa: FBT003 - the wire's field
            await fleet.take(events([row(1, "alarm.changed", alarm=change)]))
            await fleet.take(b"not a batch")
            await turn(fleet.db, fleet.clock())
            return await alarms(fleet)

    assert {one.state for one in run(story())} == {AlarmState.ACTIVE}


@pytest.mark.parametrize("condition", ["", "above 0"])
def test_a_device_says_why_it_cleared_an_alarm_whose_rule_is_gone(database_url: str, condition: str):
    async def story() -> list[str]:
        async with a_fleet(database_url) as fleet:
            raised = AlarmChange("x", "board.temp", AlarmState.ACTIVE, Severity.MAJOR, T0_US, False, 1.0, "above 0")  # noqa: FBT003 - the wire's field
            cleared = AlarmChange("x", "board.temp", AlarmState.CLEARED, Severity.MAJOR, T0_US, False, None, condition)  # noqa: FBT003 - the wire's field
            text = "The rule x is no longer part of the config."
            rows = [row(1, "alarm.changed", alarm=raised), row(2, "alarm.changed", alarm=cleared, text=text)]
            await fleet.take(events(rows))
            return [one.text for one in await fleet.events("alarm.cleared")]

    why = "value none." if condition else "The rule x is no longer part of the config."
    assert run(story()) == [f"Alarm x on board.temp cleared{', ' if condition else ': '}{why}"]


def test_a_state_of_the_first_release_goes_on(database_url: str):
    async def story() -> list[str]:
        async with a_fleet(database_url) as fleet:
            toml = '[[rule]]\nname = "warm"\nseries = "board.temp"\nabove = 5\nhold_s = 10\nat = "fleet"'
            await configure(fleet, toml)
            before = RuleState(first_bad_us=T0_US)
            await fleet.db.write(lambda conn: rule_state.put(conn, DEVICE, {("warm", "board.temp"): before}))
            await fleet.take(telemetry([segment(1, [9.0]), segment(20, [9.0])], prev_seq=0))
            return [one.kind for one in await fleet.events("alarm.")]

    assert run(story()) == ["alarm.raised"]


def test_of_series_without_end_some_are_remembered_and_that_is_told_once(database_url: str):
    def of_1500(first: int) -> bytes:
        return telemetry([segment(n + 2, [1.0], series=f"x{n}.temp") for n in range(first, first + 1500)])

    async def story() -> tuple[list[str], int, set[str], list[str]]:
        async with a_fleet(database_url) as fleet:
            await configure(fleet, ANY)
            await fleet.take(telemetry([segment(1, [9.0])]))
            for first in (0, 1500, 3000):
                await fleet.take(of_1500(first))
            states = await fleet.db.read(lambda conn: rule_state.get(conn, DEVICE))
            await fleet.take(telemetry([segment(4502, [1.0])]))
            told = [one.text for one in await fleet.events("rule.")]
            return told, len(states), {series for _, series in states}, [one.state for one in await alarms(fleet)]

    told, count, series, states = run(story())

    assert len(told) == 1
    assert DEVICE in told[0]
    assert count == MAX_CASES
    assert {"board.temp", "x4499.temp"} <= series
    assert "x0.temp" not in series
    assert set(states) == {AlarmState.CLEARED}
