"""The database when the world fails it: a full disk, a lost connection, a deadlock between nodes."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from batches import segment, telemetry
from fleets import DEVICE, Fleet, a_fleet, add_device
from sqlalchemy import Connection, text

from fleet.core.event import Event, Origin
from fleet.errors import Busy
from fleet.gateway import ingest
from fleet.store import event

pytest_plugins = ("databases",)

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def noted(conn: Connection, name: str) -> None:
    event.append(conn, Event(1, 2, f"test.{name}", "test", name, "fleet", Origin.AUTOMATION, "x"))


async def limit_pages(fleet: Fleet, extra: int) -> None:
    def limit(conn: Connection) -> None:
        pages = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
        conn.exec_driver_sql(f"PRAGMA max_page_count = {pages + extra}")

    await fleet.db.write(limit)


def test_a_full_disk_is_busy_with_a_hint_nothing_acked_is_lost_and_it_goes_on_with_room(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ingest, "MAX_TAKING_OF_ONE", 60)
    payloads = [
        telemetry([segment(1, [i * 7919 % 100_003 / 7 for i in range(2000)])], store_id=f"store-{n}") for n in range(60)
    ]

    async def story() -> tuple[list[Any], list[Any], int]:
        async with a_fleet(sqlite_url) as fleet:
            await limit_pages(fleet, 8)
            full = await asyncio.gather(*map(fleet.take, payloads), return_exceptions=True)
            await limit_pages(fleet, 10_000)
            room = await asyncio.gather(*map(fleet.take, payloads), return_exceptions=True)
            return full, room, len(await fleet.readings())

    full, room, stored = run(story())

    refused = [answer for answer in full if isinstance(answer, Exception)]
    assert refused
    assert all(isinstance(answer, Busy) and answer.hint for answer in refused)
    assert [ack.acked_seq for ack in room] == [1] * 60
    assert stored == 60 * 2000


def test_a_connection_that_is_lost_in_a_transaction_is_made_anew_and_the_works_run_again(postgresql_url: str):
    lost: list[int] = []

    def loses_it_once(conn: Connection) -> None:
        if not lost:
            lost.append(1)
            conn.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        noted(conn, "once")

    async def story() -> list[Event]:
        async with a_fleet(postgresql_url) as fleet:
            works = [loses_it_once, lambda conn: noted(conn, "other")]
            await asyncio.gather(*map(fleet.db.write, works))
            return await fleet.events("test.")

    kept = run(story())

    assert sorted(one.kind for one in kept) == ["test.once", "test.other"]


def test_a_connection_that_is_lost_between_transactions_costs_no_caller_anything(postgresql_url: str):
    def backend(conn: Connection) -> int:
        pid: int = conn.execute(text("SELECT pg_backend_pid()")).scalar_one()
        return pid

    async def story() -> tuple[int, int, list[Event]]:
        async with a_fleet(postgresql_url) as fleet:
            before = await fleet.db.write(backend)
            await fleet.db.read(
                lambda conn: conn.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": before})
            )
            await fleet.db.write(lambda conn: noted(conn, "next"))
            return before, await fleet.db.write(backend), await fleet.events("test.")

    before, after, kept = run(story())

    assert before != after
    assert [one.kind for one in kept] == ["test.next"]


def test_nodes_that_lock_devices_in_another_order_both_get_through(postgresql_url: str):
    names = [f"freezer-00000{n}" for n in range(2, 8)]

    async def story() -> list[Any]:
        async with a_fleet(postgresql_url) as one, a_fleet(postgresql_url, devices=()) as other:
            for name in names:
                await one.db.write(lambda conn, name=name: add_device(conn, name))
            answers = []
            for seq in range(1, 6):
                payload = telemetry([segment(seq, [1.0])])
                there = [one.take(payload, device_id=name) for name in names]
                back = [other.take(payload, device_id=name) for name in reversed(names)]
                answers += await asyncio.gather(*there, *back)
            counts = [len(await one.readings(device_id=name)) for name in names]
            return [{answer.acked_seq for answer in answers}, counts]

    assert run(story()) == [{1, 2, 3, 4, 5}, [5] * 6]


def test_a_caller_that_gave_up_does_not_disturb_the_others(database_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ingest, "MAX_TAKING_OF_ONE", 20)

    async def story() -> list[object]:
        async with a_fleet(database_url) as fleet:
            tasks = [
                asyncio.create_task(fleet.take(telemetry([segment(1, [1.0])], store_id=f"s{n}"))) for n in range(20)
            ]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return [task.result().acked_seq for task in tasks[1::2]] + [DEVICE]

    assert run(story()) == [1] * 10 + [DEVICE]
