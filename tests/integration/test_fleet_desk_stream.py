"""The live stream: resumed without a hole, whatever happens between replay and live."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from batches import T0_US
from desks import DEVICE, Desk, a_desk, announce
from httpx import AsyncClient

from agent.wire.messages import Live, Newest
from fleet.core.actor import FLEET
from fleet.core.event import Event
from fleet.store import event

pytest_plugins = ("databases",)

WAIT_S = 20


@asynccontextmanager
async def listening(client: AsyncClient, query: str = "", last_id: str = "") -> AsyncIterator[AsyncIterator[Any]]:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    async with client.stream("GET", f"/stream?{query}", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        async with aclosing(_messages(answer.aiter_lines())) as messages:
            yield messages


async def _messages(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, Any]]:
    message: dict[str, Any] = {}
    async for line in lines:
        if line:
            name, _, said = line.partition(": ")
            message[name] = json.loads(said) if name == "data" else said
        elif "data" in message:
            yield message
            message = {}


async def write(desk: Desk, count: int, kind: str = "test.written", device_id: str | None = None) -> None:
    for i in range(count):
        about = ("test", str(i), FLEET.id, FLEET.origin, f"number {i}", device_id)
        await desk.fleet.db.write(lambda conn, about=about: event.append(conn, Event(T0_US, T0_US, kind, *about)))


def test_a_reader_gets_what_was_and_what_comes_each_once_and_in_order(database_url: str) -> None:
    async def run() -> None:
        async with a_desk(database_url) as desk, asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
            await write(desk, 700)  # more than one page of the past
            group.create_task(write(desk, 300))
            ids = []
            async with listening(desk.read, "after=0") as messages:
                async for message in messages:
                    ids.append(message["data"]["id"])
                    assert message["id"] == str(ids[-1])
                    if len(ids) == 1000 + 3:  # the tokens of the desk were events too
                        break
            assert ids == sorted(set(ids))

    asyncio.run(run())


def test_a_reader_who_resumes_misses_nothing_and_gets_nothing_twice(sqlite_url: str) -> None:
    async def run() -> None:
        async with a_desk(sqlite_url) as desk, asyncio.timeout(WAIT_S):
            await write(desk, 10)
            async with listening(desk.read, "after=0") as messages:
                first = [(await anext(messages))["id"] for _ in range(5)]
            await write(desk, 1)
            async with listening(desk.read, last_id=first[-1]) as messages:
                rest = [(await anext(messages))["id"] for _ in range(9)]
            assert first + rest == [str(i) for i in range(1, 15)]

    asyncio.run(run())


def test_without_a_place_only_what_comes_is_told_and_filters_hold(sqlite_url: str) -> None:
    async def run() -> None:
        async with a_desk(sqlite_url) as desk, asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
            await write(desk, 3, device_id=DEVICE)
            async with listening(desk.read, f"device={DEVICE}&kind=alarm.,ticket.") as messages:
                nudging = group.create_task(_nudge(desk))
                told = [(await anext(messages))["data"]["kind"] for _ in range(2)]
                nudging.cancel()
            assert told == ["alarm.raised", "ticket.opened"]

    asyncio.run(run())


async def _nudge(desk: Desk) -> None:
    """Raise an alarm on one series after another until the reader, who may not listen yet, has heard of one."""
    for i in range(1000):
        await announce(desk.fleet, at_us=T0_US, series=f"board.s{i}")
        await write(desk, 1)
        await asyncio.sleep(0.05)


def test_live_readings_come_between_and_the_device_is_asked_for_them(sqlite_url: str) -> None:
    async def run() -> None:
        async with a_desk(sqlite_url) as desk, asyncio.timeout(WAIT_S):
            desk.link.heard.put_nowait(Live((Newest("board.temp", "Cel", T0_US, -17.5),)))
            async with listening(desk.read, f"device={DEVICE}&live=1") as messages:
                message = await anext(messages)
            assert (message["event"], "id" in message) == ("live", False)
            (reading,) = message["data"]["readings"]
            assert (reading["name"], reading["v"], reading["t_us"]) == ("board.temp", -17.5, T0_US)
            assert ("watch 60", DEVICE) in desk.link.asked
            assert (await desk.read.get("/stream?live=1")).status_code == 422

    asyncio.run(run())
