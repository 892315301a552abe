"""The process that plans sealings: it is there while there is work, and nobody waits for one that died."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from batches import segment, telemetry
from fleets import DEVICE, a_fleet

from fleet.errors import Busy
from fleet.jobs import planner as module
from fleet.jobs.planner import NAME, Planner
from fleet.store import seal

pytest_plugins = ("databases",)

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 100))


def planners(parent: int) -> list[int]:
    """The planners that a process has started, and that run."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = status.read_text().rpartition(")")
        except OSError:
            continue
        state, parent_id = rest.split()[:2]
        if name.partition("(")[2] == NAME and int(parent_id) == parent and state != "Z":
            found.append(int(status.parent.name))
    return found


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - of another process, which has no event
        await asyncio.sleep(0.02)


def test_a_plan_is_the_one_that_the_store_makes(database_url: str):
    async def story() -> tuple[object, object, object]:
        async with a_fleet(database_url) as fleet, Planner.of(fleet.db.url) as planner:
            nothing = await planner.plan(DEVICE)
            await fleet.take(telemetry([segment(1, [1.5, None, "x", 7]), segment(2, [2.0])]))
            here = await fleet.db.read(lambda conn: seal.plan(conn, DEVICE))
            return nothing, here, await planner.plan(DEVICE)

    nothing, here, there = run(story())
    assert nothing is None
    assert here is not None
    assert there == here


def test_it_ends_when_nothing_was_asked_for_a_while_and_comes_back(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "IDLE_S", 0.1)

    async def story() -> bool:
        async with a_fleet(sqlite_url) as fleet, Planner.of(fleet.db.url) as planner:
            await planner.plan(DEVICE)
            await until(lambda: not planners(os.getpid()))
            await fleet.take(telemetry([segment(1, [1.0])]))
            return await planner.plan(DEVICE) is not None

    assert run(story())
    assert planners(os.getpid()) == []


def test_one_that_is_killed_is_said_to_be_busy_and_the_next_plan_is_made(sqlite_url: str):
    async def story() -> bool:
        async with a_fleet(sqlite_url) as fleet, Planner.of(fleet.db.url) as planner:
            await fleet.take(telemetry([segment(1, [1.0])]))
            await planner.plan(DEVICE)
            (running,) = planners(os.getpid())
            os.kill(running, signal.SIGSTOP)  # so that it cannot answer before it dies
            asked = asyncio.create_task(planner.plan(DEVICE))
            await asyncio.sleep(0)
            os.kill(running, signal.SIGKILL)
            with pytest.raises(Busy, match=DEVICE):
                await asked
            return await planner.plan(DEVICE) is not None

    assert run(story())


def test_a_plan_that_nobody_waits_for_any_more_is_not_taken_for_the_next_one(sqlite_url: str):
    async def story() -> object:
        async with a_fleet(sqlite_url, devices=(DEVICE, "other")) as fleet, Planner.of(fleet.db.url) as planner:
            await fleet.take(telemetry([segment(1, [1.0])]))
            await planner.plan("other")
            (running,) = planners(os.getpid())
            os.kill(running, signal.SIGSTOP)
            asked = asyncio.create_task(planner.plan(DEVICE))
            await asyncio.sleep(0)
            asked.cancel()
            os.kill(running, signal.SIGCONT)
            await asyncio.wait([asked])
            return await planner.plan("other")

    assert run(story()) is None


def test_it_ends_with_its_server_however_that_ends(sqlite_url: str):
    script = f"""
import asyncio
from fleet.jobs.planner import Planner
from fleet.store.engine import parse_url

async def main():
    async with Planner.of(parse_url({sqlite_url!r})) as planner:
        await planner.plan("nobody")
        print("ready", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""

    async def migrated() -> None:
        async with a_fleet(sqlite_url):
            pass

    run(migrated())
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        (running,) = planners(server.pid)
        server.kill()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{running}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{running}").exists()
