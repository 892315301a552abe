"""Jobs run under leases: one node at a time, again after a failure, and elsewhere when a node goes."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, text, update

from fleet.core.actor import FLEET
from fleet.errors import Busy
from fleet.jobs.runner import Job, run_jobs
from fleet.store import config, device, event, lease
from fleet.store.config import Target
from fleet.store.database import Database, Works
from fleet.store.schema import lease as table

pytest_plugins = ("databases",)

T = TypeVar("T")

HOUR_US = 3600 * 1_000_000


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 60))


def ended(conn: Connection) -> None:
    """Have all leases run out."""
    conn.execute(update(table).values(until_us=1))


def test_a_lease_is_held_by_one_until_it_ends_or_is_given_back(database_url: str):
    async def story() -> list[bool]:
        async with Database.open(database_url) as db:

            async def take(holder: str) -> bool:
                return await db.write(lambda conn: lease.take(conn, "x", holder, for_us=HOUR_US))

            taken = [await take("a"), await take("b"), await take("a")]
            await db.write(ended)
            taken += [await take("b"), await take("a")]
            await db.write(lambda conn: lease.release(conn, "x", "a"))
            taken.append(await take("a"))
            await db.write(lambda conn: lease.release(conn, "x", "b"))
            return [*taken, await take("a")]

    assert run(story()) == [True, False, True, True, False, False, True]


def test_of_many_nodes_one_gets_the_lease(database_url: str):
    async def story() -> list[bool]:
        async with Database.open(database_url) as db:
            works = [lambda conn, n=n: lease.take(conn, "x", f"node-{n}", for_us=HOUR_US) for n in range(10)]
            return await asyncio.gather(*map(db.write, works))

    assert sum(run(story())) == 1


def test_a_node_whose_clock_is_wrong_neither_takes_a_lease_too_early_nor_keeps_it_too_long(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lease, "now_us", lambda: 2**62)

    async def story() -> bool:
        async with Database.open(postgresql_url) as db:
            await db.write(lambda conn: lease.take(conn, "x", "right", for_us=HOUR_US))
            return await db.write(lambda conn: lease.take(conn, "x", "fast", for_us=HOUR_US))

    assert not run(story())


def test_what_a_turn_writes_after_its_lease_has_run_out_is_not_written(
    database_url: str, capsys: pytest.CaptureFixture[str]
):
    turns: list[str] = []
    second = asyncio.Event()

    async def turn(db: Works, _now_us: int) -> None:
        turns.append("turn")
        if len(turns) == 1:
            await overtaken()
        await db.write(lambda conn: config.set_document(conn, Target.PRODUCT, "p", "", now_us=len(turns), by=FLEET))
        second.set()

    async def story() -> int:
        async with Database.open(database_url) as db:

            async def overtake() -> None:
                await db.write(lambda conn: device.add_product(conn, "p", now_us=1))
                await db.write(ended)
                await db.write(lambda conn: lease.take(conn, "x", "other", for_us=1))

            nonlocal overtaken
            overtaken = overtake
            jobs = asyncio.create_task(run_jobs(db, [Job("x", 0.01, turn)], holder="node"))
            await second.wait()
            jobs.cancel()
            await asyncio.gather(jobs, return_exceptions=True)
            return len(await db.read(lambda conn: event.page(conn, kinds=["config.set"])))

    overtaken: Any = None

    assert run(story()) == 1
    assert "the lease of x has run out" in capsys.readouterr().out


def test_no_other_node_takes_a_lease_while_its_holder_writes_under_it(postgresql_url: str):
    async def story() -> list[str]:
        happened: list[str] = []
        async with Database.open(postgresql_url) as one, Database.open(postgresql_url) as other:
            await one.write(lambda conn: lease.take(conn, "x", "one", for_us=HOUR_US))
            holding, go = threading.Event(), threading.Event()

            def write(conn: Connection) -> None:
                lease.keep(conn, "x", "one")
                holding.set()
                go.wait(30)
                happened.append("one has written")

            async def end_and_take() -> None:
                await other.write(ended)
                await other.write(lambda conn: lease.take(conn, "x", "other", for_us=HOUR_US))
                happened.append("other has it")

            writing = asyncio.create_task(one.write(write))
            await asyncio.to_thread(holding.wait, 30)
            taking = asyncio.create_task(end_and_take())
            while not await one.read(waiting_for_a_lock):  # noqa: ASYNC110 - the database has no event for it
                await asyncio.sleep(0.01)
            go.set()
            await asyncio.gather(writing, taking)
        return happened

    assert run(story()) == ["one has written", "other has it"]


def waiting_for_a_lock(conn: Connection) -> bool:
    return bool(conn.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one())


def test_a_job_runs_on_one_node_and_on_the_other_when_the_first_has_stopped(database_url: str):
    turns: list[str] = []
    ran = {"first": asyncio.Event(), "second": asyncio.Event()}

    async def story() -> list[str]:
        async with Database.open(database_url) as db:

            def node(name: str) -> asyncio.Task[None]:
                async def turn(_db: Works, _now_us: int) -> None:
                    turns.append(name)
                    ran[name].set()

                return asyncio.create_task(run_jobs(db, [Job("x", 0.01, turn)], holder=name))

            first = node("first")
            await ran["first"].wait()
            second = node("second")
            for _ in range(20):
                await asyncio.sleep(0.01)
            before = set(turns)
            first.cancel()
            await ran["second"].wait()
            second.cancel()
            await asyncio.gather(first, second, return_exceptions=True)
            return sorted(before)

    assert run(story()) == ["first"]


@pytest.mark.parametrize("failure", [Busy("full", retry_after_s=1), ValueError("a mistake")])
def test_a_job_that_fails_runs_again_and_takes_no_other_down(
    sqlite_url: str, failure: Exception, capsys: pytest.CaptureFixture[str]
):
    turns: list[str] = []
    done = asyncio.Event()

    async def bad(_db: Works, _now_us: int) -> None:
        turns.append("bad")
        if turns.count("bad") >= 3 and turns.count("good") >= 3:
            done.set()
        raise failure

    async def good(_db: Works, _now_us: int) -> None:
        turns.append("good")

    async def story() -> None:
        async with Database.open(sqlite_url) as db:
            jobs = asyncio.create_task(run_jobs(db, [Job("bad", 0.01, bad), Job("good", 0.01, good)], holder="node"))
            await done.wait()
            jobs.cancel()
            await asyncio.gather(jobs, return_exceptions=True)

    run(story())

    assert "job failed" in capsys.readouterr().out
