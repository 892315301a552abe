"""A node that hangs in the midst of a transaction: what it has locked is free again soon, and the others go on."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from batches import segment, telemetry
from fleets import DEVICE, a_fleet
from sqlalchemy import Connection

from fleet.errors import Busy
from fleet.store import engine, intake

pytest_plugins = ("databases",)

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def test_a_device_of_a_node_that_hangs_is_served_by_another(postgresql_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine, "IDLE_S", 1)
    hangs, go = threading.Event(), threading.Event()

    def hang(conn: Connection) -> None:
        intake.lock(conn, DEVICE)
        if not hangs.is_set():
            hangs.set()
            go.wait(60)

    async def story() -> tuple[int | None, object]:
        async with a_fleet(postgresql_url) as one, a_fleet(postgresql_url, devices=()) as other:
            hanging = asyncio.create_task(one.db.write(hang))
            await asyncio.to_thread(hangs.wait, 30)
            async with asyncio.timeout(30):
                ack = await other.take(telemetry([segment(1, [1.0])]))
            go.set()
            return ack.acked_seq, await hanging

    assert run(story()) == (1, None)


def test_a_writer_waits_for_a_lock_only_so_long_and_begins_anew(postgresql_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine, "LOCK_S", 1)
    monkeypatch.setattr("fleet.store.database.RETRY_FOR_S", 1.5)
    holds, go = threading.Event(), threading.Event()

    def hold(conn: Connection) -> None:
        conn.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        intake.lock(conn, DEVICE)
        holds.set()
        go.wait(60)

    async def story() -> tuple[object, int | None]:
        async with a_fleet(postgresql_url) as one, a_fleet(postgresql_url, devices=()) as other:
            holding = asyncio.create_task(one.db.write(hold))
            await asyncio.to_thread(holds.wait, 30)
            (busy,) = await asyncio.gather(other.take(telemetry([segment(1, [1.0])])), return_exceptions=True)
            go.set()
            await holding
            return busy, (await other.take(telemetry([segment(1, [1.0])]))).acked_seq

    busy, acked_seq = run(story())

    assert isinstance(busy, Busy)
    assert acked_seq == 1
