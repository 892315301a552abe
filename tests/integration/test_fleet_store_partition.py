"""PostgreSQL keeps telemetry in parts by time: no row is refused, a chart reads few of them, what is old is dropped."""

# ruff: noqa: S608 - a test's own names and numbers

import asyncio
import re
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
import pytest
from batches import T0_US, segment, telemetry
from databases import upgrade_to
from desks import ANA
from fleets import DEVICE, FAR_US, Fleet, a_fleet, add_device
from hypothesis import given
from hypothesis import strategies as st
from seals import Shelf, a_shelf, a_store, kept_in_full, seal_some
from sqlalchemy import Connection, Engine, event, text

from fleet.core import partition as core
from fleet.core.partition import SPLITS, Part, outside, passed
from fleet.core.retention import Kept, Policy
from fleet.core.rollup import DAY_S, DAY_US, QUARTER_S
from fleet.errors import Busy
from fleet.jobs import partition as job
from fleet.jobs.retention import Retention
from fleet.store import chart, partition, retention
from fleet.store.engine import parse_url, writer_engine

pytest_plugins = ("databases",)

T = TypeVar("T")
WEEK_US = 7 * DAY_US
MONDAY_US = SPLITS[Kept.READINGS].start_of(T0_US)


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 100))


def ahead(conn: Connection) -> list[Part]:
    return partition.make_ahead(conn, T0_US)


def places(conn: Connection, table: str = "chunk") -> dict[str, int]:
    """How many rows lie in which part."""
    rows = conn.execute(text(f"SELECT tableoid::regclass::text, count(*) FROM {table} GROUP BY 1"))
    return {name: count for name, count in rows}  # noqa: C416 - a result is no sequence of pairs


def by_week(engine: Engine, *weeks: int) -> Shelf:
    """A device with readings in the middle of weeks, counted from that of T0; sealed."""
    shelf = a_shelf(engine)
    for seq, week in enumerate(weeks, 1):
        shelf.take([segment(seq, [float(week), 2.0], t0_us=MONDAY_US + week * WEEK_US + 3 * DAY_US)])
        shelf.seal()
    return shelf


@contextmanager
def said(engine: Engine) -> Iterator[list[tuple[str, Any, int]]]:
    """Statements, their parameters, and how many rows they touched."""
    found: list[tuple[str, Any, int]] = []

    def hear(_conn: object, cursor: Any, statement: str, parameters: object, *_rest: object) -> None:  # noqa: ANN401
        found.append((statement, parameters, cursor.rowcount))

    event.listen(engine, "after_cursor_execute", hear)
    try:
        yield found
    finally:
        event.remove(engine, "after_cursor_execute", hear)


def test_parts_are_made_around_now_at_start_and_once(postgresql_url: str):
    with a_store(postgresql_url) as engine, engine.begin() as conn:
        now_us = time.time_ns() // 1000
        made = partition.parts(conn)
        again = partition.make_ahead(conn, now_us)

    for kept, split in SPLITS.items():
        assert made[kept][0].from_us <= now_us - split.back * split.period_us
        assert made[kept][-1].to_us > now_us + split.ahead * split.period_us
        assert [one.to_us for one in made[kept][:-1]] == [one.from_us for one in made[kept][1:]]
    assert again == []


def test_a_row_of_any_time_finds_its_place(postgresql_url: str):
    with a_store(postgresql_url) as engine:
        with engine.begin() as conn:
            ahead(conn)
        shelf = by_week(engine, -2000, -5, 0, 4, 300)
        with engine.connect() as conn:
            chunks, quarters = places(conn), places(conn, "rollup")

        assert kept_in_full(shelf)
    assert chunks == {"chunk_rest": 2, "chunk_20260420": 1, "chunk_20260525": 1, "chunk_20260622": 1}
    assert quarters["rollup_quarter_rest"] == 2
    assert sum(quarters.values()) - quarters["rollup_day"] == 5


def test_what_lies_in_the_rest_moves_when_its_part_is_made(postgresql_url: str):
    with a_store(postgresql_url) as engine:
        shelf = by_week(engine, -1, 0)
        with engine.begin() as conn:
            before = places(conn)
            made = ahead(conn)
            after = places(conn)
        by_week_again = shelf.take([segment(9, [5.0], t0_us=MONDAY_US)])
        shelf.seal()

        assert by_week_again is None
        assert kept_in_full(shelf)
    assert before == {"chunk_rest": 2}
    assert after == {"chunk_20260518": 1, "chunk_20260525": 1}
    assert len(made) == sum(split.back + split.ahead + 1 for split in SPLITS.values())


def test_a_database_from_before_keeps_every_row(bare_postgresql_url: str):
    url = parse_url(bare_postgresql_url)
    engine = writer_engine(url)
    with engine.connect() as conn:
        upgrade_to(conn, "0005")
    with engine.begin() as conn:
        add_device(conn, DEVICE)
        for table, columns in (
            ("chunk", "sensor, from_us, part, to_us, rows, readings"),
            ("rollup", "series, step_s, from_us"),
        ):
            for from_us in (5, MONDAY_US - 9 * WEEK_US, MONDAY_US, MONDAY_US + DAY_US, FAR_US):
                rest = (
                    f"'board', {from_us}, 0, {from_us}, 1, 1" if table == "chunk" else f"'board.temp', 900, {from_us}"
                )
                conn.execute(
                    text(f"INSERT INTO {table} (device_id, {columns}, body) VALUES ('{DEVICE}', {rest}, '\\x01')")
                )
        conn.execute(text(f"INSERT INTO rollup VALUES ('{DEVICE}', 'board.temp', 86400, 5, '\\x02')"))
        before = [conn.execute(text(f"SELECT * FROM {one} ORDER BY from_us")).all() for one in ("chunk", "rollup")]
    engine.dispose()

    with a_store(bare_postgresql_url) as engine, engine.connect() as conn:
        after = [conn.execute(text(f"SELECT * FROM {one} ORDER BY from_us")).all() for one in ("chunk", "rollup")]
        storage = conn.execute(text(STORAGE)).scalars().all()
        found = places(conn)

    assert after == before
    assert found["chunk_20260525"] == 2
    assert set(storage) == {"e"}  # bodies are compressed already


STORAGE = """
SELECT attstorage FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE attname = 'body' AND (relname LIKE 'chunk%' OR relname LIKE 'rollup%') AND relkind IN ('r', 'p')
"""


@pytest.mark.parametrize(("days", "step_s"), [(1, 0), (2, QUARTER_S), (20, DAY_S)])
def test_a_chart_reads_only_the_parts_of_its_time(days: int, step_s: int, postgresql_url: str):
    with a_store(postgresql_url) as engine:
        with engine.begin() as conn:
            ahead(conn)
        shelf = by_week(engine, *range(-12, 4))
        with said(engine) as statements, engine.connect() as conn:
            points = {0: 1000, QUARTER_S: 100, DAY_S: 2}[step_s]
            from_us = MONDAY_US + 3 * DAY_US
            chart.points(conn, shelf.device_id, "board.temp", from_us, from_us + days * DAY_US, points)
        plans = []
        with engine.connect() as conn:
            for statement, parameters, _ in statements:
                if re.search(r"FROM (chunk|rollup)\b", statement):
                    cursor = conn.connection.cursor()
                    cursor.execute(f"EXPLAIN {statement}", parameters)
                    plans.append("\n".join(row[0] for row in cursor.fetchall()))

    assert plans != []
    for plan in plans:
        scanned = set(re.findall(r"\b(?:chunk|rollup_quarter|rollup_day)_?\w*", plan)) & _tables()
        assert 1 <= len(scanned) <= 2 + days // 7, plan


def _tables() -> set[str]:
    names = {part.name for split in SPLITS.values() for part in split.wanted(T0_US)}
    return names | {"rollup_day"} | {split.rest for split in SPLITS.values()}


async def a_year(fleet: Fleet) -> None:
    """Readings of each week of four months, sealed, in parts."""
    await fleet.db.beside(ahead)
    await fleet.db.beside(lambda conn: partition.make_ahead(conn, T0_US - 10 * WEEK_US))
    for seq, week in enumerate(range(-17, 1), 1):
        at_us = MONDAY_US + week * WEEK_US + 3 * DAY_US
        await fleet.take(telemetry([segment(seq, [float(week)], t0_us=min(at_us, T0_US))]))
    while await seal_some(fleet.db, DEVICE, 1):
        pass


def test_letting_go_of_whole_weeks_deletes_no_row(postgresql_url: str):
    async def story() -> tuple[Any, ...]:
        async with a_fleet(postgresql_url) as fleet:
            await a_year(fleet)
            would = await fleet.db.read(lambda conn: list(retention.would_go(conn, now_us=T0_US)))
            turns = Retention()
            engine = fleet.db._writer_engine  # noqa: SLF001 - what it says is the question
            with said(engine) as statements:
                gone, _ = await retention.drop_some(fleet.db, T0_US, most_s=30)
                still = await fleet.db.read(partition.parts)
                for _ in range(2):
                    await turns.turn(fleet.db, T0_US)
            deleted = [rows for one, _, rows in statements if one.startswith("DELETE FROM chunk")]
            then = await fleet.db.read(lambda conn: list(retention.would_go(conn, now_us=T0_US)))
            left = await fleet.db.read(partition.parts)
            return would, gone, still, deleted, then, left, await fleet.values()

    would, gone, still, deleted, then, left, values = run(story())

    begins_us = core.begins(Policy(), Kept.READINGS, T0_US)
    assert begins_us % WEEK_US == MONDAY_US % WEEK_US
    assert 0 <= T0_US - 90 * DAY_US - begins_us < WEEK_US
    assert {kept: one for _, kept, _, one in would} == gone
    assert gone[Kept.READINGS].readings == 18 - len(values) == 4
    assert sum(deleted) == 0
    assert min(part.from_us for part in still[Kept.READINGS]) < begins_us
    assert min(part.from_us for part in left[Kept.READINGS]) == begins_us
    assert values == [float(week) for week in range(-13, 1)]
    assert {one.rows for _, _, _, one in then} == {0}


def test_what_one_product_keeps_longer_is_not_dropped_and_the_others_go_row_by_row(postgresql_url: str):
    async def story() -> tuple[Any, ...]:
        async with a_fleet(postgresql_url) as fleet:
            await a_year(fleet)
            await fleet.db.write(lambda conn: add_device(conn, "oven-000001", "oven"))
            await fleet.take(telemetry([segment(1, [1.0], t0_us=T0_US - 100 * DAY_US)]), device_id="oven-000001")
            await seal_some(fleet.db, "oven-000001", 1)
            days = {Kept.READINGS: 120}
            await fleet.db.write(lambda conn: retention.put(conn, "oven", days, now_us=T0_US, by=ANA))
            turns = Retention()
            with said(fleet.db._writer_engine) as statements:  # noqa: SLF001 - what it says is the question
                for _ in range(3):
                    await turns.turn(fleet.db, T0_US)
            deleted = [rows for one, _, rows in statements if one.startswith("DELETE FROM chunk")]
            left = await fleet.db.read(partition.parts)
            return deleted, left, await fleet.values(), await fleet.values(device_id="oven-000001")

    deleted, left, values, of_oven = run(story())

    assert sum(deleted) == 4
    assert min(part.from_us for part in left[Kept.READINGS]) < T0_US - 100 * DAY_US
    assert (len(values), of_oven) == (14, [1.0])


def test_a_part_is_not_dropped_under_a_reader_and_ingest_does_not_wait(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(partition, "LOCK_MS", 50)

    async def story() -> tuple[Any, ...]:
        async with a_fleet(postgresql_url) as fleet:
            await a_year(fleet)
            turns = Retention()
            await turns.turn(fleet.db, T0_US)
            await turns.turn(fleet.db, T0_US)
            with psycopg.connect(postgresql_url.replace("+psycopg", "")) as reader:
                reader.execute("SELECT count(*) FROM chunk")
                await turns.turn(fleet.db, T0_US)
                ack = await fleet.take(telemetry([segment(50, [1.0], t0_us=T0_US)], prev_seq=18))
                under = await fleet.db.read(partition.parts)
            await turns.turn(fleet.db, T0_US)
            return ack.acked_seq, under, await fleet.db.read(partition.parts)

    acked, under, after = run(story())

    assert acked == 50
    assert len(under[Kept.READINGS]) - len(after[Kept.READINGS]) > 1


def test_who_is_in_the_way_of_a_new_part_is_waited_for_until_the_next_turn(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(partition, "LOCK_MS", 50)

    async def story() -> tuple[int, ...]:
        async with a_fleet(postgresql_url) as fleet:

            async def count() -> int:
                return len((await fleet.db.read(partition.parts))[Kept.READINGS])

            before = await count()
            with psycopg.connect(postgresql_url.replace("+psycopg", "")) as other:
                other.execute("LOCK TABLE chunk_rest IN ROW EXCLUSIVE MODE")
                with pytest.raises(Busy):
                    await job.turn(fleet.db, T0_US)
                between = await count()
            await job.turn(fleet.db, T0_US)
            return before, between, await count()

    before, between, after = run(story())

    assert (between - before, after > before) == (0, True)


def test_sqlite_has_no_parts(sqlite_url: str):
    async def story() -> object:
        async with a_fleet(sqlite_url) as fleet:
            await job.turn(fleet.db, T0_US)
            await Retention().turn(fleet.db, T0_US)
            return await fleet.db.read(partition.parts)

    assert run(story()) == {}


@given(st.lists(st.integers(0, 40), unique=True), st.integers(0, 50), st.integers(0, 50))
def test_spans_outside_of_parts_and_the_parts_are_all_of_the_time(starts: list[int], low: int, high: int):
    parts = [Part(str(start), start, start + 1) for start in starts]

    spans = outside(parts, low, high)

    of_spans = [t for start, end in spans for t in range(start, end)]
    assert of_spans == [t for t in range(low, high) if t not in starts]
    assert {part.to_us <= 20 for part in passed(parts, 20)} <= {True}


def test_short_times_go_by_days_and_not_by_parts():
    short, usual = Policy(7, 30, 400), Policy()

    assert core.begins(short, Kept.READINGS, T0_US) == short.begins(Kept.READINGS, T0_US)
    assert core.begins(usual, Kept.READINGS, T0_US) <= usual.begins(Kept.READINGS, T0_US)
    assert core.begins(usual, Kept.DAYS, T0_US) == usual.begins(Kept.DAYS, T0_US)
