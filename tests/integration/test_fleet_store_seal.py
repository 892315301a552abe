"""Telemetry that is sealed: read as before, in chunks well filled, drawn at any span, kept as long as was said."""

import asyncio
import dataclasses
from collections.abc import Coroutine
from dataclasses import replace
from itertools import pairwise
from typing import Any, TypeVar

import pytest
from batches import T0_US, segment, telemetry
from fleets import DEVICE, FAR_US, Fleet, a_fleet
from seals import a_shelf, a_store, kept_in_full, seal_some
from sqlalchemy import select, update

from agent.wire.messages import Clock, Lane, Segment, Series
from fleet.core import rush
from fleet.core.column import MAX_ROWS
from fleet.core.rollup import DAY_S, DAY_US, QUARTER_S
from fleet.jobs.planner import Planner
from fleet.jobs.sealing import Sealing
from fleet.store import chart, evidence, mark, query, schema, seal
from fleet.store.chart import Points
from fleet.store.chunk import of_device
from fleet.store.evidence import Subject

pytest_plugins = ("databases",)

T = TypeVar("T")
MINUTE_US = 60_000_000
DAY0_US = T0_US // DAY_US * DAY_US


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 100))


def minutes(seq: int, values: list[Any], *, start_us: int = DAY0_US, step_us: int = MINUTE_US) -> Segment:
    """One segment of `board.temp` with a reading a minute."""
    made = segment(seq, values, t0_us=start_us)
    return replace(made, series=(replace(made.series[0], dt=(0, *(step_us for _ in values[1:]))),))


async def drawn(fleet: Fleet, from_us: int, to_us: int, count: int) -> Points:
    return await fleet.db.read(lambda conn: chart.points(conn, DEVICE, "board.temp", from_us, to_us, count))


def test_a_device_sends_on_after_it_was_sealed_and_nothing_twice(database_url: str):
    async def story() -> tuple[list[object], int, int | None]:
        async with a_fleet(database_url) as fleet:
            await fleet.take(telemetry([segment(1, [1.0]), segment(2, [2.0])]))
            await seal_some(fleet.db, DEVICE, 1)
            await fleet.take(telemetry([segment(2, [2.0]), segment(3, [3.0])]))  # row 2 again: its ack was lost
            ack = await fleet.take(telemetry([segment(1, [1.0]), segment(2, [2.0])]))  # and the whole first batch
            await seal_some(fleet.db, DEVICE, 2)
            known = await fleet.db.read(lambda conn: mark.get(conn, DEVICE, "store-1", Lane.TELEMETRY))
            return await fleet.values(), known.seq, ack.acked_seq

    assert run(story()) == ([1.0, 2.0, 3.0], 3, 3)


def test_pages_go_on_where_they_were_while_the_readings_are_sealed(database_url: str):
    async def story() -> list[object]:
        async with a_fleet(database_url) as fleet:
            at = T0_US  # all in one microsecond
            for n in range(1, 7):
                await fleet.take(telemetry([segment(n, [n * 10], t0_us=at)]))
            found: list[query.Reading] = []
            after = None
            for page in range(6):
                some = await fleet.db.read(
                    lambda conn, after=after: list(
                        query.readings(conn, DEVICE, "board.temp", 0, FAR_US, after=after, limit=1)
                    )
                )
                found += some
                after = query.cursor_after(some, after)
                if page == 2:
                    await seal_some(fleet.db, DEVICE, 1)
            return [v for _, v in found]

    assert run(story()) == [10, 20, 30, 40, 50, 60]


def test_chunks_are_full_and_late_data_leaves_no_crumbs(sqlite_url: str):
    with a_store(sqlite_url) as engine:
        shelf = a_shelf(engine)
        for n in range(6):
            values = [20.0 + i % 7 for i in range(2000)]
            shelf.take([minutes(n + 1, values, start_us=DAY0_US + n * 2000 * 5_000_000, step_us=5_000_000)])
            shelf.seal()
        with engine.connect() as conn:
            before = [one.rows for one in reversed(of_device(conn, shelf.device_id, 0, FAR_US))]
        shelf.take([minutes(9, [1.0] * 50, start_us=DAY0_US + 2_500_000, step_us=5_000_000)])
        shelf.seal()
        with engine.connect() as conn:
            after = [one.rows for one in reversed(of_device(conn, shelf.device_id, 0, FAR_US))]

        assert before == [MAX_ROWS, MAX_ROWS, 12_000 - 2 * MAX_ROWS]
        assert after == [2073, 2073, MAX_ROWS, 12_000 - 2 * MAX_ROWS]
        assert kept_in_full(shelf)


def test_more_readings_of_one_microsecond_than_a_chunk_holds(sqlite_url: str):
    with a_store(sqlite_url) as engine:
        shelf = a_shelf(engine)
        for n in range(3):
            shelf.take([minutes(n + 1, list(range(n * 3000, n * 3000 + 3000)), step_us=0)])
            shelf.seal()
        shelf.take([minutes(4, [7, 8], start_us=DAY0_US - 1, step_us=2)])
        shelf.seal()

        assert kept_in_full(shelf)


def test_two_nodes_cannot_both_seal(database_url: str):
    with a_store(database_url) as engine:
        shelf = a_shelf(engine)
        shelf.take([minutes(1, [1.0, 2.0])])
        with engine.connect() as conn:
            slow = seal.plan(conn, shelf.device_id)
        shelf.seal()
        shelf.take([minutes(2, [3.0], start_us=DAY0_US + 1)])
        with engine.connect() as conn:
            slower = seal.plan(conn, shelf.device_id)
        shelf.seal()

        assert slow is not None
        assert slower is not None
        with engine.begin() as conn:
            assert not seal.apply(conn, slow, now_us=T0_US)
            assert not seal.apply(conn, slower, now_us=T0_US)
        assert kept_in_full(shelf)


def test_a_device_is_due_when_much_waits_or_old_data_does(database_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(seal, "MAX_BATCHES", 3)
    devices = ("full", "late", "fresh", "rested")

    async def story() -> tuple[list[str], list[str], str | None]:
        async with a_fleet(database_url, devices=devices) as fleet:
            now_us = fleet.clock.now_us
            for n in range(1, 4):
                await fleet.take(telemetry([segment(n, [1.0], t0_us=now_us - 1000 + n)]), device_id="full")
            await fleet.take(telemetry([segment(1, [1.0], t0_us=now_us - seal.OPEN_US - 1)]), device_id="late")
            await fleet.take(telemetry([segment(1, [1.0], t0_us=now_us - 1)]), device_id="fresh")
            await fleet.take(telemetry([segment(1, [1.0], t0_us=now_us - seal.OPEN_US - 1)]), device_id="rested")
            await seal_some(fleet.db, "rested", now_us - 1)
            await fleet.take(telemetry([segment(2, [1.0], t0_us=now_us - seal.OPEN_US - 1)]), device_id="rested")
            due, _ = await fleet.db.read(lambda conn: seal.due(conn, after="", limit=9, now_us=now_us))
            rested = now_us + seal.REST_US
            later, _ = await fleet.db.read(lambda conn: seal.due(conn, after="", limit=9, now_us=rested))
            _, following = await fleet.db.read(lambda conn: seal.due(conn, after="", limit=2, now_us=now_us))
            return due, later, following

    assert run(story()) == (["full", "late"], ["full", "late", "rested"], "full")


def test_the_job_goes_round_and_a_damaged_chunk_stops_only_its_device(database_url: str):
    devices = ("a-damaged", "b-whole")

    async def story() -> tuple[int, int]:
        async with a_fleet(database_url, devices=devices) as fleet, Planner.of(fleet.db.url) as planner:
            job = Sealing(planner.plan, lambda: False)
            now_us = fleet.clock.now_us
            for device_id in devices:
                await fleet.take(telemetry([minutes(1, [1.0])]), device_id=device_id)
            await job.turn(fleet.db, now_us)
            damage = update(schema.chunk).where(schema.chunk.c.device_id == "a-damaged").values(body=b"\1not a chunk")
            await fleet.db.write(lambda conn: conn.execute(damage).rowcount)
            for device_id in devices:
                await fleet.take(telemetry([minutes(2, [2.0])]), device_id=device_id)
            await job.turn(fleet.db, now_us + seal.REST_US)
            left = await fleet.db.read(lambda conn: list(conn.execute(select(schema.batch.c.device_id)).scalars()))
            return left, await fleet.values(device_id="b-whole")

    assert run(story()) == (["a-damaged"], [1.0, 2.0])


def test_the_job_lets_a_rush_pass_for_a_minute(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    rushed = [True]
    monkeypatch.setattr(rush, "CALM_S", 0.0)

    async def story() -> list[list[str]]:
        left: list[list[str]] = []
        async with a_fleet(sqlite_url) as fleet, Planner.of(fleet.db.url) as planner:

            async def turn() -> None:
                await job.turn(fleet.db, fleet.clock.now_us)
                fleet.clock.forward(seal.REST_US / 1e6)
                left.append(await fleet.db.read(lambda conn: list(conn.execute(select(schema.batch.c.id)).scalars())))

            job = Sealing(planner.plan, lambda: rushed[0])
            for n in (1, 2, 3):
                await fleet.take(telemetry([minutes(n, [1.0])]))
                await turn()  # in a rush, in one that lasts, and in the calm
                monkeypatch.setattr(rush, "PASS_S", 0.0)
                rushed[0] = n == 1
            rushed[0] = True
            monkeypatch.setattr(rush, "PASS_S", 3600.0)
            await fleet.take(telemetry([minutes(4, [1.0])]))
            await turn()  # the next rush is let pass again
            return left

    first, lasting, calm, next_rush = run(story())

    assert (len(first), len(lasting), len(calm), len(next_rush)) == (1, 0, 0, 1)


@pytest.mark.parametrize("sealed", [0, 1, 2])
def test_a_chart_is_the_same_whatever_is_sealed(sealed: int, sqlite_url: str):
    days = 5
    values: list[Any] = [20.0 + n % 11 / 10 for n in range(days * 1440)]
    values[3000], values[5111], values[700] = 99.5, -40.25, None

    async def story() -> list[Points]:
        async with a_fleet(sqlite_url) as fleet:
            fleet.clock.forward(days * 86_400)
            for n in range(days * 2):
                part = values[n * 720 : n * 720 + 720]
                await fleet.take(telemetry([minutes(n + 1, part, start_us=DAY0_US + n * 720 * MINUTE_US)]))
                if sealed and n == days * sealed - 1:
                    await seal_some(fleet.db, DEVICE, 1)
            end_us = DAY0_US + days * DAY_US
            spans = (
                (DAY0_US, end_us, 5),
                (DAY0_US + 7 * MINUTE_US, end_us - 11 * MINUTE_US, 60),
                (DAY0_US, end_us, 720),
            )
            return [await drawn(fleet, *span) for span in spans]

    by_day, by_quarter, by_reading = run(story())

    def envelope(found: Points, to_us: int) -> list[tuple[float, float]]:
        buckets = [
            [v for n, v in enumerate(values) if v is not None and start <= DAY0_US + n * MINUTE_US < end]
            for start, end in pairwise([*found.t_us, to_us])
        ]
        return [(min(some), max(some)) for some in buckets]

    end_us = DAY0_US + days * DAY_US
    assert [one.step_s for one in (by_day, by_quarter, by_reading)] == [DAY_S, QUARTER_S, 0]
    for found, to_us in ((by_day, end_us), (by_quarter, end_us - 11 * MINUTE_US), (by_reading, end_us)):
        assert list(zip(found.low, found.high, strict=True)) == envelope(found, to_us)
    assert by_quarter.t_us[0] == DAY0_US + 7 * MINUTE_US


def test_a_chart_says_where_the_clock_was_not_sure(database_url: str):
    async def story() -> tuple[Points, Points]:
        async with a_fleet(database_url) as fleet:
            fleet.clock.forward(86_400)
            for n, clock in enumerate((Clock.SYNCED, Clock.UNKNOWN, Clock.FREE, Clock.SERVER)):
                one = minutes(n + 1, [1.0] * 30, start_us=DAY0_US + n * 30 * MINUTE_US)
                await fleet.take(telemetry([replace(one, clock=clock)]))
            await seal_some(fleet.db, DEVICE, 1)
            return await drawn(fleet, DAY0_US, DAY0_US + 5 * DAY_US, 480), await drawn(fleet, DAY0_US, FAR_US, 9)

    single, coarse = run(story())

    assert single.unsure == [(DAY0_US + 30 * MINUTE_US, DAY0_US + 89 * MINUTE_US)]
    assert len(coarse.unsure) == 1


def test_evidence_finds_readings_that_were_sealed_before_it_was_complete(database_url: str):
    async def story() -> tuple[list[Any], list[Any]]:
        async with a_fleet(database_url) as fleet:
            await fleet.take(telemetry([minutes(1, [1.0, 2.0, 3.0], start_us=T0_US - 3 * MINUTE_US)]))
            about = Subject(DEVICE, "board.temp", "too-warm", T0_US)
            before = await fleet.db.read(lambda conn: evidence.take(conn, about, taken_us=T0_US, repeat_of=None))
            await seal_some(fleet.db, DEVICE, 1)
            await fleet.take(telemetry([minutes(2, [4.0], start_us=T0_US + MINUTE_US)]))
            after = await fleet.db.read(lambda conn: evidence.settled(conn, before))
            return [before.readings[0].v, after.readings[0].v], [dataclasses.asdict(after.readings[0])["count"]]

    assert run(story()) == ([(1.0, 2.0, 3.0), (1.0, 2.0, 3.0, 4.0)], [4])


def test_many_series_of_one_sensor_at_their_own_pace(sqlite_url: str):
    with a_store(sqlite_url) as engine:
        shelf = a_shelf(engine)
        for n in range(4):
            shelf.take(
                [
                    Segment(
                        n * 2 + part,
                        "boot",
                        0,
                        Clock.GNSS,
                        tuple(
                            Series(f"board.q{q}", "1", DAY0_US + n * 10**9 + part * 7, (0, 10**6 * (q + 1)), (q, None))
                            for q in range(part, 6)
                        ),
                    )
                    for part in (1, 2)
                ]
            )
            shelf.seal()

        assert kept_in_full(shelf)
