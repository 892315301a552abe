"""Jobs run under leases: one node at a time, again after a failure, and elsewhere when a node goes."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from fleet.errors import Busy
from fleet.jobs.runner import Job, run_jobs
from fleet.store import lease
from fleet.store.database import Database

pytest_plugins = ("databases",)

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 60))


def test_a_lease_is_held_by_one_until_it_ends_or_is_given_back(database_url: str):
    async def story() -> list[bool]:
        async with Database.open(database_url) as db:

            async def take(holder: str, now_us: int) -> bool:
                return await db.write(lambda conn: lease.take(conn, "x", holder, now_us=now_us, until_us=now_us + 10))

            taken = [
                await take("a", 0),
                await take("b", 5),
                await take("a", 6),
                await take("b", 15),
                await take("b", 16),
            ]
            await db.write(lambda conn: lease.release(conn, "x", "a"))
            taken.append(await take("a", 17))
            await db.write(lambda conn: lease.release(conn, "x", "b"))
            return [*taken, await take("a", 18)]

    assert run(story()) == [True, False, True, False, True, False, True]


def test_of_many_nodes_one_gets_the_lease(database_url: str):
    async def story() -> list[bool]:
        async with Database.open(database_url) as db:
            works = [lambda conn, n=n: lease.take(conn, "x", f"node-{n}", now_us=0, until_us=10) for n in range(10)]
            return await asyncio.gather(*map(db.write, works))

    assert sum(run(story())) == 1


def test_a_job_runs_on_one_node_and_on_the_other_when_the_first_has_stopped(database_url: str):
    turns: list[str] = []
    ran = {"first": asyncio.Event(), "second": asyncio.Event()}

    async def story() -> list[str]:
        async with Database.open(database_url) as db:

            def node(name: str) -> asyncio.Task[None]:
                async def turn(_db: Database, _now_us: int) -> None:
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

    async def bad(_db: Database, _now_us: int) -> None:
        turns.append("bad")
        if turns.count("bad") >= 3 and turns.count("good") >= 3:
            done.set()
        raise failure

    async def good(_db: Database, _now_us: int) -> None:
        turns.append("good")

    async def story() -> None:
        async with Database.open(sqlite_url) as db:
            jobs = asyncio.create_task(run_jobs(db, [Job("bad", 0.01, bad), Job("good", 0.01, good)], holder="node"))
            await done.wait()
            jobs.cancel()
            await asyncio.gather(jobs, return_exceptions=True)

    run(story())

    assert "job failed" in capsys.readouterr().out
