"""A card that is put back to an older image of itself: nothing is lost in silence, nothing is stored twice."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest
from agent_out import Authority, Fleet, gateway, until
from test_agent_out_roads import device

from agent.adapters.buffer import Buffer
from agent.adapters.salvage import salvage
from agent.core.outbox import Row
from agent.wire.messages import Lane


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def image(path: Path, to: Path) -> None:
    """Copy the buffer as it is, log and all."""
    with contextlib.closing(sqlite3.connect(path)) as here, contextlib.closing(sqlite3.connect(to)) as there:
        here.backup(there)


def put_back(kept: Path, path: Path) -> None:
    for part in path.parent.glob(path.name + "*"):
        part.unlink()
    kept.rename(path)


def test_a_buffer_that_went_back_takes_a_new_store_id_and_sends_what_it_wrote_since(
    authority: Authority, tmp_path: Path
):
    path, kept = tmp_path / "b.db", tmp_path / "image.db"

    async def main() -> None:
        fleet = Fleet()
        async with gateway(fleet, authority) as port:
            async with device(authority.identity(port), path) as one:
                one.send(10)
                await until(lambda: len(fleet.readings) == 10)
                image(path, kept)
                one.send(20)
                await until(lambda: len(fleet.readings) == 30)
            first_store = one.buffer.store_id

            put_back(kept, path)
            async with device(authority.identity(port), path) as one:
                one.sent = [float(i) for i in range(1000)]
                one.send(5)
                await until(lambda: len(fleet.readings) == 35)
                assert one.buffer.store_id != first_store
            async with device(authority.identity(port), path) as one:
                one.sent = [float(i) for i in range(2000)]
                one.send(5)
                await until(lambda: len(fleet.readings) == 40)
            assert len(set(fleet.readings)) == 40
            kinds = [event.kind for batch in fleet.batches for event in batch.events]
            assert "buffer.renewed" in kinds

    asyncio.run(main())


def test_a_damaged_buffer_whose_last_ack_was_lost_sends_nothing_twice(authority: Authority, tmp_path: Path):
    path, new = tmp_path / "b.db", tmp_path / "new.db"

    async def main() -> None:
        fleet = Fleet()
        async with gateway(fleet, authority) as port:
            async with device(authority.identity(port), path) as one:
                one.send(30)
                await until(lambda: len(fleet.readings) == 30)
                first_store = one.buffer.store_id
            with contextlib.closing(sqlite3.connect(path)) as db:
                db.execute("DELETE FROM value WHERE key LIKE 'mark.%'")  # as a lost ack leaves it, and worse
                db.commit()
            async with Buffer.open(new) as buffer:
                assert (await salvage(path, buffer)).rows > 0

            async with device(authority.identity(port), new) as one:
                one.sent = [float(i) for i in range(1000)]
                one.send(5)
                await until(lambda: len(fleet.readings) == 35)
                assert one.buffer.store_id != first_store
        assert len(set(fleet.readings)) == 35

    asyncio.run(main())


def test_what_was_written_before_the_first_contact_counts_from_the_image_on(tmp_path: Path):
    path = tmp_path / "b.db"

    def rows(first: int, last: int) -> list[Row]:
        return [Row(Lane.TELEMETRY, seq, b"x", seq, seq, 1) for seq in range(first, last + 1)]

    async def main() -> None:
        async with Buffer.open(path) as buffer:
            await buffer.commit(rows(1, 10), {})
            await buffer.prove()
        for first in (11, 21):  # two lives without contact
            async with Buffer.open(path) as buffer:
                assert (await buffer.ends(Lane.TELEMETRY)).base == 10
                await buffer.commit(rows(first, first + 9), {})
        async with Buffer.open(path) as buffer:
            await buffer.prove()
        async with Buffer.open(path) as buffer:
            assert (await buffer.ends(Lane.TELEMETRY)).base == 30

    asyncio.run(main())
