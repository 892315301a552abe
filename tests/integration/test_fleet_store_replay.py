"""Quarantine, replayed: what can be read by now is stored exactly once, and the gap that it left ends."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from batches import STEP_US, T0_US, event, events, segment, telemetry
from fleets import DEVICE, Fleet, a_fleet

from agent.wire.messages import Gap, Lane
from fleet.core.actor import FLEET
from fleet.errors import NotFound, Refused
from fleet.gateway.replay import Replay
from fleet.store import gap, quarantine

pytest_plugins = ("databases",)

T = TypeVar("T")
DAY_S = 86_400
AHEAD_US = T0_US + DAY_S * 1_000_000


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


async def replay(fleet: Fleet) -> tuple[int, int]:
    """Replay the only batch in quarantine; returns rows and readings that were missing."""
    (kept,) = await fleet.db.read(quarantine.page)
    _, rows, readings = await Replay(fleet.db, fleet.clock)(kept.id, FLEET)
    return rows, readings


async def gaps(fleet: Fleet) -> list[tuple[int, int, int | None]]:
    kept = await fleet.db.read(lambda conn: gap.page(conn, DEVICE))
    return sorted((one.from_seq, one.to_seq, one.count) for one in kept)


def test_a_batch_whose_time_has_come_is_stored_once_and_its_gap_ends(database_url: str):
    early = telemetry([segment(n, [float(n), 0.5], t0_us=AHEAD_US + n * STEP_US) for n in (2, 3)])

    async def story() -> list[Any]:
        async with a_fleet(database_url) as fleet:
            await fleet.take(telemetry([segment(1, [1.0])]))
            await fleet.take(early)
            await fleet.take(telemetry([segment(4, [4.0])], prev_seq=1))
            before = await gaps(fleet)
            fleet.clock.forward(2 * DAY_S)
            done = await replay(fleet)
            with pytest.raises(Refused):
                await replay(fleet)
            told = await fleet.events("batch.replayed")
            return [before, done, await gaps(fleet), await fleet.values(), len(told)]

    before, done, after, values, told = run(story())

    assert before == [(2, 3, 4)]
    assert done == (2, 4)
    assert after == []
    assert sorted(values) == [0.5, 0.5, 1.0, 2.0, 3.0, 4.0]
    assert told == 1


def test_of_a_batch_only_what_is_missing_is_stored_and_the_rest_of_a_gap_stays(database_url: str):
    early = telemetry([segment(n, [float(n)], t0_us=AHEAD_US + n * STEP_US) for n in (2, 4, 5)], prev_seq=0)
    lost = Gap(Lane.TELEMETRY, 2, 3, T0_US, T0_US, 10, "the fleet could not read it")

    async def story() -> list[Any]:
        async with a_fleet(database_url) as fleet:
            await fleet.take(early)
            await fleet.take(telemetry([segment(n, [0.0]) for n in range(4, 7)], prev_seq=0))
            await fleet.take(events([event(1, "batch.quarantined", gap=lost)]))
            fleet.clock.forward(2 * DAY_S)
            return [await replay(fleet), await gaps(fleet), await fleet.values()]

    done, left, values = run(story())

    assert done == (1, 1)
    assert left == [(1, 1, None), (3, 3, 5)]
    assert sorted(values) == [0.0, 0.0, 0.0, 2.0]


def test_rows_that_were_told_as_missing_and_come_after_all_end_their_gap(database_url: str):
    lost = Gap(Lane.TELEMETRY, 2, 5, T0_US, T0_US, 4, "shed")

    async def story() -> list[Any]:
        async with a_fleet(database_url) as fleet:
            await fleet.take(telemetry([segment(1, [1.0])]))
            await fleet.take(events([event(1, "gap.recorded", gap=lost)]))
            await fleet.take(telemetry([segment(n, [float(n)]) for n in (2, 3)]))
            return [await gaps(fleet), await fleet.values()]

    assert run(story()) == [[(4, 5, 2)], [1.0, 2.0, 3.0]]


def test_rows_that_come_after_all_leave_what_is_explained_beside_what_was_only_found(database_url: str):
    async def story() -> list[Any]:
        async with a_fleet(database_url) as fleet:
            told = [Gap(Lane.TELEMETRY, n, n, T0_US, T0_US, 7, "shed") for n in (201, 203)]
            await fleet.take(events([event(n, gap=one) for n, one in enumerate(told, 1)]))
            await fleet.take(telemetry([segment(2 * n, [1.0]) for n in range(1, 151)], prev_seq=0))
            before = await gaps(fleet)
            await fleet.db.write(lambda conn: gap.fill(conn, DEVICE, "store-1", Lane.TELEMETRY, [(199, 200)]))
            return [before[63:], (await gaps(fleet))[63:]]

    before, after = run(story())

    assert before == [(127, 299, None), (201, 201, 7), (203, 203, 7)]
    assert after == [(127, 198, None), (201, 201, 7), (202, 299, None), (203, 203, 7)]


def test_events_of_a_replayed_batch_happen_once(database_url: str):
    early = events([event(1), event(2, t_us=AHEAD_US)])

    async def story() -> list[Any]:
        async with a_fleet(database_url) as fleet:
            await fleet.take(early)
            await fleet.take(events([event(3)], prev_seq=0))
            fleet.clock.forward(2 * DAY_S)
            done = await replay(fleet)
            return [done[0], [one.data["seq"] for one in await fleet.events("port.")], await gaps(fleet)]

    assert run(story()) == [2, [3, 1, 2], []]


def test_what_cannot_be_read_yet_or_is_not_missing_stays_where_it_is(sqlite_url: str):
    async def story() -> list[Any]:
        async with a_fleet(sqlite_url) as fleet:
            await fleet.take(telemetry([segment(1, [1.0], t0_us=AHEAD_US)]))
            with pytest.raises(Refused, match="still cannot be read"):
                await replay(fleet)
            fleet.clock.forward(2 * DAY_S)
            with pytest.raises(NotFound):
                await Replay(fleet.db, fleet.clock)(999, FLEET)
            (kept,) = await fleet.db.read(quarantine.page)
            return [kept.size_bytes > 0, await fleet.values()]

    assert run(story()) == [True, []]
