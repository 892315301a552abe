"""Telemetry read back: every reading once, in order of event time, in pages that fit, in buckets for charts."""

import asyncio
import itertools
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from batches import STEP_US, T0_US, segment, telemetry
from fleets import DEVICE, FAR_US, Fleet, a_fleet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from agent.wire.messages import Newest, Segment
from fleet.store import chart, latest, query
from fleet.store.chart import Points
from fleet.store.latest import Latest
from fleet.store.query import Cursor, Reading
from fleet.store.schema import device

pytest_plugins = ("databases",)

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


async def pages(fleet: Fleet, size: int) -> list[Reading]:
    found: list[Reading] = []
    after: Cursor | None = None
    while True:
        page = await fleet.db.read(
            lambda conn, after=after: list(
                query.readings(conn, DEVICE, "board.temp", 0, FAR_US, after=after, limit=size)
            )
        )
        if not page:
            return found
        found += page
        after = Cursor.parse(str(query.cursor_after(page, after)))


segments = st.lists(
    st.tuples(st.integers(0, 6), st.integers(1, 5)), min_size=1, max_size=12
)  # (start in ms, number of readings, 1 ms apart)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spans=segments, cut=st.integers(1, 4), size=st.integers(1, 7))
def test_readings_come_in_order_of_event_time_each_once_in_pages_of_any_size(
    spans: list[tuple[int, int]], cut: int, size: int, tmp_path_factory: pytest.TempPathFactory
):
    numbers = itertools.count()
    rows: list[Segment] = []
    for seq, (start, length) in enumerate(spans, 1):
        values = [float(next(numbers)) for _ in range(length)]
        rows.append(segment(seq, values, t0_us=T0_US + start * 1000))
    # Each batch repeats the last row of the one before: a duplicate that must not be read twice.
    payloads = [telemetry(rows[max(0, i - 1) : i + cut]) for i in range(0, len(rows), cut)]

    async def story(folder: Path) -> tuple[list[Reading], list[Reading]]:
        async with a_fleet(f"sqlite:///{folder / 'fleet.db'}") as fleet:
            for payload in payloads:
                await fleet.take(payload)
            return await fleet.readings(), await pages(fleet, size)

    at_once, paged = run(story(tmp_path_factory.mktemp("query")))

    times = [t_us for t_us, _ in at_once]
    assert times == sorted(times)
    assert sorted(value for _, value in at_once) == [float(n) for n in range(next(numbers))]
    assert paged == at_once


def test_only_what_lies_in_the_span_and_the_series_is_read(database_url: str):
    async def story() -> list[Reading]:
        async with a_fleet(database_url) as fleet:
            for n in range(1, 40):
                await fleet.take(telemetry([segment(n, [n, n + 0.5], series=("board.temp", "board.n")[n % 2])]))
            first, last = T0_US + 10 * STEP_US, T0_US + 14 * STEP_US
            return await fleet.db.read(lambda conn: list(query.readings(conn, DEVICE, "board.temp", first, last)))

    at = T0_US + 10 * STEP_US
    assert run(story()) == [(at, 10), (at + 1000, 10.5), (at + 2 * STEP_US, 12), (at + 2 * STEP_US + 1000, 12.5)]


def test_a_backlog_that_comes_late_is_read_where_it_belongs(database_url: str):
    async def story() -> list[object]:
        async with a_fleet(database_url) as fleet:
            await fleet.take(telemetry([segment(n, [float(n)]) for n in range(100, 110)], prev_seq=0, store_id="new"))
            for n in range(1, 60):
                await fleet.take(telemetry([segment(n, [float(n)])]))
            return await fleet.values()

    assert run(story()) == [float(n) for n in [*range(1, 60), *range(100, 110)]]


def test_a_long_span_can_be_streamed(database_url: str):
    async def story() -> list[object]:
        async with a_fleet(database_url) as fleet:
            for n in range(1, 60):
                await fleet.take(telemetry([segment(n, [float(n)] * 100)]))
            parts = fleet.db.stream(lambda conn: query.readings(conn, DEVICE, "board.temp", 0, FAR_US))
            return [value async for part in parts for _, value in part]

    assert run(story()) == [float(n) for n in range(1, 60) for _ in range(100)]


def test_buckets_keep_every_spike(database_url: str):
    values = [20.0 + n % 3 for n in range(2000)]
    values[777], values[1234] = 99.0, -99.0

    async def story() -> Points:
        async with a_fleet(database_url) as fleet:
            for n in range(20):
                await fleet.take(telemetry([segment(n + 1, values[n * 100 : n * 100 + 100])]))
            first, last = T0_US + STEP_US, T0_US + 21 * STEP_US
            return await fleet.db.read(lambda conn: chart.points(conn, DEVICE, "board.temp", first, last, 50))

    drawn = run(story())

    assert 10 <= len(drawn.t_us) <= 50
    assert (max(drawn.high), min(drawn.low)) == (99.0, -99.0)
    assert drawn.bucket_us == 400_000
    assert drawn.v == []


def test_few_readings_are_drawn_one_by_one_with_the_gaps_between(database_url: str):
    async def story() -> Points:
        async with a_fleet(database_url) as fleet:
            await fleet.take(telemetry([segment(1, [1.0, None, "text", 4])]))
            await fleet.take(telemetry([segment(9, [5.0])], prev_seq=1))
            return await fleet.db.read(lambda conn: chart.points(conn, DEVICE, "board.temp", 0, FAR_US, 50))

    drawn = run(story())

    assert drawn.v == [1.0, None, 4, 5.0]
    assert (drawn.bucket_us, len(drawn.gaps)) == (0, 1)


def test_series_are_listed_with_their_units(database_url: str):
    async def story() -> list[Any]:
        async with a_fleet(database_url) as fleet:
            newest = (Newest("gps.speed", "km/h", T0_US, 5.5),)
            await fleet.take(telemetry([segment(1, [1.0])], newest=newest))
            return await fleet.db.read(lambda conn: query.series_of(conn, DEVICE))

    assert [(one.name, one.unit, one.v) for one in run(story())] == [
        ("board.temp", "Cel", 1.0),
        ("gps.speed", "km/h", 5.5),
    ]


def test_the_newest_of_one_series_is_found_over_all_devices(database_url: str):
    devices = ("a", "b", "c")

    async def story() -> list[list[Any]]:
        async with a_fleet(database_url, devices=devices) as fleet:
            for n, device_id in enumerate(devices):
                names = ("board.temp", "board.n") if device_id != "b" else ("board.n",)
                rows = [segment(i, [n, n + 0.5], series=name) for i, name in enumerate(names, 1)]
                await fleet.take(telemetry(rows), device_id=device_id)
            some = select(device.c.id).where(device.c.id > "a")
            asked: list[tuple[str, Any]] = [
                ("board.temp", None),
                ("board.n", some),
                ("board.none", None),
                ('"\\', None),
            ]
            return [
                await fleet.db.read(lambda conn, name=name, ids=ids: list(latest.across(conn, name, ids)))
                for name, ids in asked
            ]

    temps, numbers, none, no_name = run(story())

    assert temps == [(one, Latest(T0_US + STEP_US + 1000, v, "Cel")) for one, v in (("a", 0.5), ("c", 2.5))]
    assert [(one, new.v) for one, new in numbers] == [("b", 1.5), ("c", 2.5)]
    assert none == no_name == []


@pytest.mark.parametrize("text", ["", "x", "1", "1.", ".1", "-1.2", "1.2.3", "9" * 60 + ".1", "\uff11.1", f"{2**63}.1"])
def test_a_broken_cursor_is_an_error(text: str):
    with pytest.raises(ValueError, match="no cursor"):
        Cursor.parse(text)
