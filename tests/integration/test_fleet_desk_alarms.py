"""From what a rule announces to an alarm, a ticket, and its verification; on both databases."""

import asyncio
import threading
from dataclasses import replace

import pytest
from batches import T0_US, event, events, segment, telemetry
from desks import ANA, DAY_US, DEVICE, MIN_US, S_US, alarms, announce, change, tickets
from fleets import a_fleet
from sqlalchemy import create_engine, select
from sqlalchemy.exc import IntegrityError

from agent.wire.messages import AlarmState, Series, Severity
from fleet.core.ticket import State
from fleet.errors import Invalid, Refused
from fleet.jobs import verification
from fleet.store import alarm, evidence, note, ticket
from fleet.store.engine import parse_url, writer_engine
from fleet.store.schema import alarm as alarm_table
from fleet.store.schema import ticket as ticket_table

pytest_plugins = ("databases",)

OTHER = "freezer-000002"


def test_a_raised_alarm_opens_one_ticket_and_repeats_count_up(database_url: str) -> None:
    async def run() -> None:
        async with a_fleet(database_url) as fleet:
            await announce(fleet, at_us=T0_US)
            await announce(fleet, at_us=T0_US + S_US, first_bad_us=T0_US + S_US)
            (one,) = await alarms(fleet)
            assert (one.state, one.count, one.first_bad_us) == (AlarmState.ACTIVE, 2, T0_US)
            (work,) = await tickets(fleet)
            assert (work.state, work.alarm_id, work.first_bad_us) == (State.NEW, one.id, T0_US)
            assert [e.kind for e in await fleet.events("alarm.", "ticket.")] == ["alarm.raised", "ticket.opened"]

    asyncio.run(run())


def test_a_higher_severity_raises_an_open_alarm_and_its_ticket_and_a_lower_one_does_not(database_url: str) -> None:
    async def run() -> None:
        async with a_fleet(database_url) as fleet:
            for i, severity in enumerate((Severity.MINOR, Severity.CRITICAL, Severity.WARNING)):
                await announce(fleet, at_us=T0_US + i, severity=severity)
            (one,) = await alarms(fleet)
            (work,) = await tickets(fleet)
            assert one.severity is work.severity is Severity.CRITICAL
            assert [e.kind for e in await fleet.events("alarm.")] == ["alarm.raised", "alarm.raised"]

    asyncio.run(run())


def test_an_alarm_clears_relapses_and_clears_and_its_events_say_so(database_url: str) -> None:
    async def run() -> None:
        async with a_fleet(database_url) as fleet:
            states = (
                AlarmState.ACTIVE,
                AlarmState.CLEARING,
                AlarmState.ACTIVE,
                AlarmState.CLEARING,
                AlarmState.CLEARED,
            )
            for i, state in enumerate(states):
                await announce(fleet, state, at_us=T0_US + i * S_US)
            (one,) = await alarms(fleet)
            assert (one.state, one.count, one.cleared_us) == (AlarmState.CLEARED, 2, T0_US + 4 * S_US)
            said = [e.kind.removeprefix("alarm.") for e in await fleet.events("alarm.")]
            assert said == ["raised", "clearing", "relapsed", "clearing", "cleared"]

    asyncio.run(run())


def test_a_clear_of_what_is_not_open_is_ignored(database_url: str) -> None:
    async def run() -> None:
        async with a_fleet(database_url) as fleet:
            await announce(fleet, AlarmState.CLEARED, at_us=T0_US)
            await announce(fleet, AlarmState.CLEARING, at_us=T0_US)
            assert await alarms(fleet) == []
            assert await fleet.events("alarm.") == []

    asyncio.run(run())


def test_what_comes_out_of_order_moves_nothing_back(database_url: str) -> None:
    async def run() -> None:
        async with a_fleet(database_url) as fleet:
            await announce(fleet, at_us=T0_US)
            await announce(fleet, AlarmState.CLEARED, at_us=T0_US + 9 * S_US)
            await announce(fleet, AlarmState.ACTIVE, at_us=T0_US + 5 * S_US)
            await announce(fleet, AlarmState.CLEARING, at_us=T0_US + 4 * S_US)
            (one,) = await alarms(fleet)
            assert one.state is AlarmState.CLEARED

    asyncio.run(run())


def test_a_rule_that_asks_for_no_ticket_gets_none(database_url: str) -> None:
    async def run() -> None:
        async with a_fleet(database_url) as fleet:
            await announce(fleet, at_us=T0_US, ticket=False)
            assert len(await alarms(fleet)) == 1
            assert await tickets(fleet) == []

    asyncio.run(run())


def test_eight_who_raise_the_same_alarm_at_once_make_one_alarm_and_one_ticket(database_url: str) -> None:
    async def prepare() -> None:
        async with a_fleet(database_url):
            pass

    def raise_it(barrier: threading.Barrier, problems: list[BaseException]) -> None:
        engine = writer_engine(parse_url(database_url))
        try:
            barrier.wait(20)
            for i in range(5):
                with engine.begin() as conn:
                    alarm.apply_change(conn, DEVICE, change(), t_us=T0_US + i, received_us=T0_US + i, origin="edge")
        except BaseException as problem:  # noqa: BLE001 - handed to the test
            problems.append(problem)
        finally:
            engine.dispose()

    asyncio.run(prepare())
    barrier, problems = threading.Barrier(8), []
    threads = [threading.Thread(target=raise_it, args=(barrier, problems)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    engine = create_engine(parse_url(database_url))
    with engine.connect() as conn:
        raised = conn.execute(select(alarm_table)).all()
        opened = conn.execute(select(ticket_table.c.id)).all()
    engine.dispose()
    assert problems == []
    assert len(raised) == 1
    assert len(opened) == 1


def test_the_index_itself_forbids_a_second_open_alarm(database_url: str) -> None:
    async def run() -> None:
        async with a_fleet(database_url) as fleet:
            await announce(fleet, at_us=T0_US)
            (one,) = await alarms(fleet)
            row = {c.name: getattr(one, c.name) for c in alarm_table.c if c.name != "id"} | {"value": "null"}
            with pytest.raises(IntegrityError):
                await fleet.db.write(lambda conn: conn.execute(alarm_table.insert().values(**row)))

    asyncio.run(run())


def test_a_clear_starts_verification_on_its_own_ticket_alone(database_url: str) -> None:
    async def run() -> None:
        async with a_fleet(database_url, devices=(DEVICE, OTHER)) as fleet:
            await announce(fleet, at_us=T0_US)
            await announce(fleet, at_us=T0_US, device_id=OTHER)
            await announce(fleet, at_us=T0_US, series="board.humidity")
            await announce(fleet, AlarmState.CLEARED, at_us=T0_US + MIN_US)
            mine, other, humid = await tickets(fleet)
            assert (mine.state, mine.resume_state) == (State.VERIFYING, State.NEW)
            assert mine.verify_until_us == T0_US + 31 * MIN_US
            assert other.state is humid.state is State.NEW

    asyncio.run(run())


def test_trouble_that_comes_back_while_verifying_puts_the_ticket_back_where_it_was(database_url: str) -> None:
    async def run() -> None:
        async with a_fleet(database_url) as fleet:
            await announce(fleet, at_us=T0_US)
            await fleet.db.write(lambda conn: ticket.assign(conn, 1, "ana", now_us=T0_US + 1, by=ANA))
            await announce(fleet, AlarmState.CLEARED, at_us=T0_US + MIN_US)
            await announce(fleet, at_us=T0_US + 2 * MIN_US)
            first, second = await alarms(fleet)
            (work,) = await tickets(fleet)
            assert first.state is AlarmState.CLEARED
            assert (work.state, work.alarm_id, work.verify_until_us) == (State.ASSIGNED, second.id, None)
            assert (work.assignee, work.first_bad_us) == ("ana", T0_US)

    asyncio.run(run())


def test_a_ticket_on_hold_comes_back_on_hold_with_its_reason_and_can_still_be_resumed(database_url: str) -> None:
    async def run() -> None:
        async with a_fleet(database_url) as fleet:
            await announce(fleet, at_us=T0_US)
            move = ticket.move
            await fleet.db.write(lambda conn: ticket.assign(conn, 1, "ana", now_us=T0_US + 1, by=ANA))
            await fleet.db.write(lambda conn: move(conn, 1, State.ON_HOLD, reason="parts", now_us=T0_US + 2, by=ANA))
            await announce(fleet, AlarmState.CLEARED, at_us=T0_US + MIN_US)
            assert (await tickets(fleet))[0].state is State.VERIFYING
            await announce(fleet, at_us=T0_US + 2 * MIN_US)
            (work,) = await tickets(fleet)
            assert (work.state, work.reason, work.resume) == (State.ON_HOLD, "parts", State.ASSIGNED)
            resumed = await fleet.db.write(lambda conn: move(conn, 1, State.ASSIGNED, now_us=T0_US + 3, by=ANA))
            assert (resumed.state, resumed.reason) == (State.ASSIGNED, "")

    asyncio.run(run())


def test_a_repair_is_resolved_by_the_signal_and_closes_after_seven_days(database_url: str) -> None:
    async def run() -> None:
        async with a_fleet(database_url) as fleet:
            await announce(fleet, at_us=T0_US)
            await announce(fleet, AlarmState.CLEARED, at_us=T0_US)
            await fleet.take(telemetry([segment(i, [-18.0], t0_us=T0_US + i * MIN_US) for i in range(1, 32)]))
            fleet.clock.now_us = T0_US + 29 * MIN_US
            await verification.turn(fleet.db, fleet.clock())
            assert (await tickets(fleet))[0].state is State.VERIFYING
            fleet.clock.now_us = T0_US + 32 * MIN_US
            await verification.turn(fleet.db, fleet.clock())
            (work,) = await tickets(fleet)
            assert (work.state, work.changed_us, work.verify_until_us) == (State.RESOLVED, T0_US + 30 * MIN_US, None)
            await verification.turn(fleet.db, fleet.clock() + 7 * DAY_US)
            assert (await tickets(fleet))[0].state is State.CLOSED

    asyncio.run(run())


def test_missing_data_is_never_good_signal(database_url: str) -> None:
    async def run() -> None:
        async with a_fleet(database_url) as fleet:
            await announce(fleet, at_us=T0_US)
            await announce(fleet, AlarmState.CLEARED, at_us=T0_US)
            await verification.turn(fleet.db, T0_US + 2 * DAY_US)
            assert (await tickets(fleet))[0].state is State.VERIFYING, "no data at all"
            with_hole = [i for i in range(1, 32) if not 10 < i < 20]
            await fleet.take(telemetry([segment(i, [-18.0], t0_us=T0_US + i * MIN_US) for i in with_hole]))
            await verification.turn(fleet.db, T0_US + 2 * DAY_US)
            (work,) = await tickets(fleet)
            assert (work.state, work.verify_until_us) == (State.VERIFYING, T0_US + 50 * MIN_US), "a hole in it"
            more = [segment(i, [-18.0], t0_us=T0_US + i * MIN_US) for i in range(32, 52)]
            await fleet.take(telemetry(more, prev_seq=31))
            await verification.turn(fleet.db, T0_US + 2 * DAY_US)
            assert (await tickets(fleet))[0].state is State.RESOLVED, "a whole window after the hole"

    asyncio.run(run())


@pytest.mark.parametrize(("days", "numbers", "repeat_of"), [(6, [1], None), (20, [1, 2], 1), (40, [1, 2], None)])
def test_trouble_after_resolved_reopens_repeats_or_is_new_by_its_age(
    sqlite_url: str, days: int, numbers: list[int], repeat_of: int | None
) -> None:
    async def run() -> None:
        async with a_fleet(sqlite_url) as fleet:
            await announce(fleet, at_us=T0_US)
            await announce(fleet, AlarmState.CLEARED, at_us=T0_US)
            await fleet.db.write(lambda conn: ticket.verified(conn, 1, t_us=T0_US, now_us=T0_US))
            await announce(fleet, at_us=T0_US + days * DAY_US)
            found = await tickets(fleet)
            assert [work.id for work in found] == numbers
            assert found[-1].state is (State.TRIAGED if days == 6 else State.NEW)
            frozen = await fleet.db.read(lambda conn: evidence.of_ticket(conn, found[-1].id))
            assert frozen.repeat_of == repeat_of

    asyncio.run(run())


def test_what_somebody_canceled_stays_canceled_while_the_same_alarm_repeats(database_url: str) -> None:
    async def run() -> None:
        async with a_fleet(database_url) as fleet:
            await announce(fleet, at_us=T0_US)
            await fleet.db.write(
                lambda conn: ticket.move(conn, 1, State.CANCELED, reason="expected", now_us=T0_US + 1, by=ANA)
            )
            await announce(fleet, at_us=T0_US + S_US)
            assert len(await tickets(fleet)) == 1
            await announce(fleet, AlarmState.CLEARED, at_us=T0_US + 2 * S_US)
            await announce(fleet, at_us=T0_US + 3 * S_US)
            assert [work.state for work in await tickets(fleet)] == [State.CANCELED, State.NEW]

    asyncio.run(run())


def test_a_move_that_cannot_be_names_those_that_can(sqlite_url: str) -> None:
    async def run() -> None:
        async with a_fleet(sqlite_url) as fleet:
            await announce(fleet, at_us=T0_US)
            with pytest.raises(Refused) as refused:
                await fleet.db.write(lambda conn: ticket.move(conn, 1, State.RESOLVED, now_us=T0_US, by=ANA))
            assert "triaged, assigned, on_hold, canceled" in refused.value.hint
            with pytest.raises(Invalid) as invalid:
                await fleet.db.write(
                    lambda conn: ticket.move(conn, 1, State.ON_HOLD, reason="bored", now_us=T0_US, by=ANA)
                )
            assert "customer, parts, vendor, problem, access" in invalid.value.hint

    asyncio.run(run())


def test_the_agents_log_that_comes_with_an_alarm_is_evidence_of_the_ticket_it_opens(database_url: str) -> None:
    log = ("level=warning msg=odd", "level=error msg=worse")

    async def run() -> None:
        async with a_fleet(database_url) as fleet:
            raised = event(1, "alarm.changed", alarm=change(AlarmState.ACTIVE, first_bad_us=T0_US), log=log)
            again = replace(raised, seq=2, t_us=raised.t_us + S_US, log=("later",))
            await fleet.take(events([raised, again]))
            (work,) = await tickets(fleet)
            frozen = await fleet.db.read(lambda conn: evidence.of_ticket(conn, work.id))
            settled = await fleet.db.read(lambda conn: evidence.settled(conn, frozen))
            assert frozen.log == settled.log == log
            told = await fleet.events("alarm.", "ticket.")
            assert not any("worse" in str((one.text, one.data)) for one in told)  # events go to many, a log does not

    asyncio.run(run())


def test_the_evidence_holds_what_was_known_and_stays_as_it_was(database_url: str) -> None:
    async def run() -> None:
        async with a_fleet(database_url, devices=(DEVICE, OTHER)) as fleet:
            await announce(fleet, at_us=T0_US - MIN_US, device_id=OTHER)
            await fleet.take(telemetry([segment(i, [-18.0, -4.0, 3.5]) for i in range(1, 6)]))
            await fleet.take(events([event(1)]))
            await announce(fleet, at_us=T0_US + 3 * S_US)
            frozen = await fleet.db.read(lambda conn: evidence.of_ticket(conn, 2))
            (temp,) = frozen.readings
            assert (temp.series, temp.unit, temp.count, temp.thinned) == ("board.temp", "Cel", 15, False)
            assert temp.v[:3] == (-18.0, -4.0, 3.5)
            assert (frozen.device.product, frozen.device.serial) == ("freezer", f"S-{DEVICE}")
            assert [one.rule for one in frozen.open_alarms] == ["too-warm"]
            assert [one.device for one in frozen.elsewhere] == [OTHER]
            assert frozen.latest[0].v == 3.5
            assert [one.kind for one in frozen.events] == ["port.lost"]  # before; not that the alarm was raised
            assert not frozen.complete
            await fleet.take(telemetry([segment(i, [9.0]) for i in range(6, 9)]))
            again = await fleet.db.read(lambda conn: evidence.of_ticket(conn, 2))
            assert again == frozen
            settled = await fleet.db.read(lambda conn: evidence.settled(conn, again))
            assert settled.readings[0].count == 18
            await verification.turn(fleet.db, T0_US + 20 * MIN_US)
            whole = await fleet.db.read(lambda conn: evidence.of_ticket(conn, 2))
            assert whole == replace(settled, complete=True)

    asyncio.run(run())


def test_beyond_twenty_open_tickets_of_a_device_an_alarm_stands_and_the_newest_ticket_says_so(
    database_url: str,
) -> None:
    rows = [event(i, "alarm.changed", alarm=change(rule=f"r{i}", first_bad_us=T0_US)) for i in range(1, 41)]
    repeats = [replace(row, seq=row.seq + 40, t_us=row.t_us + MIN_US) for row in rows]

    async def run() -> None:
        async with a_fleet(database_url, devices=(DEVICE, OTHER)) as fleet:
            await fleet.take(events([*rows, *repeats]))
            opened = await tickets(fleet)
            assert [work.rule for work in opened] == [f"r{i}" for i in range(1, ticket.MAX_OPEN + 1)]
            assert [one.rule for one in await alarms(fleet)] == [f"r{i}" for i in range(1, 41)]
            withheld = await fleet.events("ticket.withheld")
            assert [one.noun_id for one in withheld] == [str(opened[-1].id)] * 20  # once each, not for repeats
            assert "r40 on board.temp opened no ticket of its own" in withheld[-1].text
            await announce(fleet, at_us=T0_US, device_id=OTHER)
            await fleet.db.write(
                lambda conn: ticket.move(
                    conn, opened[0].id, State.CANCELED, reason="false_alarm", now_us=T0_US + MIN_US, by=ANA
                )
            )
            await announce(fleet, at_us=T0_US + 2 * MIN_US, rule="r40")
            assert [(work.device_id, work.rule) for work in await tickets(fleet)][20:] == [
                (OTHER, "too-warm"),
                (DEVICE, "r40"),
            ]

    asyncio.run(run())


def test_what_a_device_says_at_length_is_cut_in_the_evidence_and_that_is_said(database_url: str) -> None:
    long = "é" * 256

    async def run() -> None:
        async with a_fleet(database_url) as fleet:
            for batch in range(1, 8):
                series = tuple(
                    Series(f"port{batch}.s{i:03}", "", T0_US, (0, *[1] * 9), (long,) * 10) for i in range(100)
                )
                await fleet.take(telemetry([replace(segment(batch, [1]), series=series)]))
            await fleet.take(telemetry([segment(8, [21.5])]))
            await fleet.take(events([event(i, text="é" * 1024) for i in range(1, 60)]))
            await announce(fleet, at_us=T0_US + 70 * S_US)
            frozen = await fleet.db.read(lambda conn: evidence.of_ticket(conn, 1))
            settled = await fleet.db.read(lambda conn: evidence.settled(conn, frozen))
            for kept in (frozen, settled):
                assert len(evidence.dump(kept).encode()) < 1_300_000
                assert {one.series: one.v for one in kept.readings}["board.temp"] == (21.5,)
                assert len(kept.readings) + kept.left_out.readings == 701
                assert len(kept.latest) + kept.left_out.latest == 701
                assert len(kept.events) + kept.left_out.events == 59
                assert min(kept.left_out.readings, kept.left_out.latest, kept.left_out.events) > 0
            assert "board.temp" in [one.series for one in frozen.latest]

    asyncio.run(run())


def test_what_a_device_says_of_an_alarm_that_is_the_fleets_changes_nothing_and_is_kept(database_url: str) -> None:
    async def run() -> None:
        async with a_fleet(database_url) as fleet:
            await fleet.take(b"garbage")
            of_rule = change(rule="silent")
            at = {"t_us": T0_US, "received_us": T0_US}
            await fleet.db.write(lambda conn: alarm.apply_change(conn, DEVICE, of_rule, **at, origin="fleet"))
            before = await alarms(fleet)
            later_us = fleet.clock()
            said = [
                change(AlarmState.CLEARED, rule="fleet.quarantine", series="fleet"),
                change(AlarmState.ACTIVE, rule="fleet.quarantine", series="fleet"),
                change(AlarmState.CLEARED, rule="silent"),
                change(AlarmState.ACTIVE, rule="fleet.new"),
                change(AlarmState.ACTIVE, series="fleet"),
            ]
            rows = [event(i, "alarm.changed", t_us=later_us + i, alarm=one) for i, one in enumerate(said, start=1)]
            await fleet.take(events(rows))
            assert await alarms(fleet) == before
            assert [one.kind for one in await fleet.events("said.")] == ["said.alarm.changed"] * 5
            over = replace(of_rule, state=AlarmState.CLEARED)
            at = {"t_us": later_us, "received_us": later_us}
            await fleet.db.write(lambda conn: alarm.apply_change(conn, DEVICE, over, **at, origin="fleet"))
            await announce(fleet, at_us=later_us + S_US, rule="silent")
            assert [(one.rule, one.origin) for one in await alarms(fleet)][2:] == [("silent", "edge")]

    asyncio.run(run())


def test_an_alarm_of_the_fleets_own_counts_up_and_is_over_when_somebody_has_seen_it(database_url: str) -> None:
    async def run() -> None:
        async with a_fleet(database_url) as fleet:
            for i in range(3):
                await fleet.take(b"garbage %d" % i)
            (one,) = await alarms(fleet)
            assert (one.rule, one.origin, one.count) == ("fleet.quarantine", "fleet", 3)
            assert await tickets(fleet) == []
            seen = await fleet.db.write(lambda conn: alarm.ack(conn, one.id, now_us=fleet.clock(), by=ANA))
            assert (seen.state, seen.acked_by) == (AlarmState.CLEARED, "user:ana")

    asyncio.run(run())


def test_an_ack_of_an_edge_alarm_leaves_it_open_and_a_second_ack_changes_nothing(database_url: str) -> None:
    async def run() -> None:
        async with a_fleet(database_url) as fleet:
            await announce(fleet, at_us=T0_US)
            for now_us in (T0_US + 1, T0_US + 2):
                seen = await fleet.db.write(lambda conn, now_us=now_us: alarm.ack(conn, 1, now_us=now_us, by=ANA))
            assert (seen.state, seen.acked_us) == (AlarmState.ACTIVE, T0_US + 1)
            assert len(await fleet.events("alarm.acked")) == 1

    asyncio.run(run())


def test_a_note_leaves_nothing_of_its_text_in_the_event(database_url: str) -> None:
    async def run() -> None:
        async with a_fleet(database_url) as fleet:
            await announce(fleet, at_us=T0_US)
            await fleet.db.write(lambda conn: note.add(conn, 1, " the customer lied ", now_us=T0_US, by=ANA))
            (written,) = await fleet.db.read(lambda conn: note.of_ticket(conn, 1))
            assert (written.text, written.author) == ("the customer lied", "user:ana")
            (said,) = await fleet.events("ticket.noted")
            assert "lied" not in f"{said.text} {said.data}"

    asyncio.run(run())
