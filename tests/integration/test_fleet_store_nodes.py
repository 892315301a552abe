"""Several nodes on one database: events in the order of commits, and heard by all."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection

from fleet.core.event import Event, Origin
from fleet.store import event, follow
from fleet.store.database import Database

pytest_plugins = ("databases",)

T = TypeVar("T")

NODES = 3
WRITES = 120  # of each node


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def noted(conn: Connection, name: str) -> None:
    event.append(conn, Event(1, 2, "test.noted", "test", name, "fleet", Origin.AUTOMATION, "x"))


@asynccontextmanager
async def nodes(url: str, count: int) -> AsyncIterator[list[Database]]:
    if not count:
        yield []
        return
    async with Database.open(url) as first, nodes(url, count - 1) as rest:
        yield [first, *rest]


async def follow_ids(db: Database, wanted: int) -> list[int]:
    """Read as the live stream does: from the last id on, again and again."""
    seen: list[int] = []
    async with asyncio.timeout(60):
        while len(seen) < wanted:
            found = await db.read(partial(event.page, after=seen[-1] if seen else 0, limit=7))
            seen += [one.id for one in found]
            await asyncio.sleep(0)
    return seen


async def write_some(db: Database, node: int) -> None:
    for n in range(WRITES // 4):
        await asyncio.gather(*(db.write(lambda conn, name=f"{node}-{n}-{m}": noted(conn, name)) for m in range(4)))


def test_a_reader_that_goes_by_ids_misses_no_event_of_nodes_that_write_side_by_side(postgresql_url: str):
    async def story() -> tuple[list[int], list[int]]:
        async with nodes(postgresql_url, NODES + 1) as (reading, *writing):
            seen = asyncio.create_task(follow_ids(reading, NODES * WRITES))
            await asyncio.gather(*(write_some(db, node) for node, db in enumerate(writing)))
            stored = await reading.read(lambda conn: [one.id for one in event.page(conn, after=0, limit=1000)])
            return await seen, stored

    seen, stored = run(story())

    assert seen == stored
    assert len(stored) == NODES * WRITES


def test_a_subscriber_hears_what_every_node_commits_in_one_order(postgresql_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(follow, "LOOK_S", 0.05)

    async def story() -> tuple[list[int], list[int]]:
        async with nodes(postgresql_url, 2) as (one, other), one.subscribe() as at_one, other.subscribe() as at_other:
            await asyncio.gather(write_some(one, 1), write_some(other, 2))
            heard = [[(await at.get()).id for _ in range(2 * WRITES)] for at in (at_one, at_other)]
            return heard[0], heard[1]

    at_one, at_other = run(story())

    assert at_one == at_other == sorted(at_one)
    assert len(set(at_one)) == 2 * WRITES


def test_a_node_that_is_told_looks_at_once(postgresql_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(follow, "LOOK_S", 60.0)

    async def story() -> Event:
        async with nodes(postgresql_url, 2) as (one, other), other.subscribe() as heard:
            one.on_events(other.hint)
            await one.write(lambda conn: noted(conn, "told"))
            async with asyncio.timeout(20):
                return await heard.get()

    assert run(story()).noun_id == "told"


def test_a_transaction_sees_the_events_that_it_has_appended_itself(database_url: str):
    def work(conn: Connection) -> list[str]:
        noted(conn, "mine")
        return [one.noun_id for one in event.page(conn)]

    async def story() -> list[str]:
        async with Database.open(database_url) as db:
            return await db.write(work)

    assert run(story()) == ["mine"]


def test_an_event_that_cannot_be_written_fails_its_own_work_alone(postgresql_url: str):
    async def story() -> tuple[list[object], list[str]]:
        async with Database.open(postgresql_url) as db:
            names = ["good", "x" * 1000, "fine"]
            works = [db.write(lambda conn, name=name: noted(conn, name)) for name in names]
            results = await asyncio.gather(*works, return_exceptions=True)
            return list(results), [one.noun_id for one in await db.read(lambda conn: event.page(conn, after=0))]

    results, kept = run(story())

    assert [isinstance(result, Exception) for result in results] == [False, True, False]
    assert kept == ["good", "fine"]
