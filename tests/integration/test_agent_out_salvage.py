"""A damaged buffer: what can be read goes on in a new file, what cannot is told."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from agent.adapters.buffer import PAGE_BYTES, Buffer
from agent.adapters.salvage import Salvaged, salvage
from agent.core.outbox import Columns, Moment, Row
from agent.core.store import FORMER
from agent.errors import Damaged
from agent.ports import Reading
from agent.wire.messages import Clock, Lane

START_US = 1_800_000_000_000_000


def segments(first: int, last: int) -> list[Row]:
    rows = []
    for seq in range(first, last + 1):
        columns = Columns()
        columns.add([Reading("a.x", "Cel", START_US + seq * 1000 + i, i + 0.5) for i in range(100)])
        rows += columns.cut(seq, Moment(START_US + seq * 1000, seq, "boot", Clock.SYNCED))
    return rows


async def fill(path: Path) -> None:
    async with Buffer.open(path) as buffer:
        await buffer.commit(segments(1, 500), {"rule/x": "{}"})
        await buffer.give_up(Lane.TELEMETRY, 100)


def leaves(path: Path) -> list[int]:
    """Return the pages that hold segments."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        pages = db.execute("SELECT pageno FROM dbstat WHERE name = 'segment' AND pagetype = 'leaf' ORDER BY path")
        return [page for (page,) in pages]


def spoil(path: Path, pages: list[int]) -> None:
    data = bytearray(path.read_bytes())
    for page in pages:
        data[(page - 1) * PAGE_BYTES : page * PAGE_BYTES] = b"\xa5" * PAGE_BYTES
    path.write_bytes(data)


async def carry_over(path: Path, to: Path) -> tuple[Salvaged, list[int]]:
    async with Buffer.open(to) as buffer:
        salvaged = await salvage(path, buffer)
        assert await buffer.value("rule/x") in {"{}", None}
        found, _ = await buffer.rows(Lane.TELEMETRY, 0, 10**9)
        return salvaged, [row.seq for row in found]


def test_damage_is_found_at_the_start_and_the_rest_is_carried_over(tmp_path: Path):
    async def main() -> None:
        path = tmp_path / "b.db"
        await fill(path)
        pages = leaves(path)
        spoil(path, pages[len(pages) // 2 : len(pages) // 2 + 3])
        with pytest.raises(Damaged):
            async with Buffer.open(path):
                pass

        salvaged, seqs = await carry_over(path, tmp_path / "new.db")

        missing = set(range(101, 501)) - set(seqs)
        told = {seq for gap in salvaged.gaps if gap.count for seq in range(gap.from_seq, gap.to_seq + 1)}
        assert 0 < len(missing) < 100
        assert seqs[0] == 101
        assert seqs[-1] == 500
        assert told == missing
        assert sum(gap.count for gap in salvaged.gaps) == 100 * len(missing)
        assert salvaged.rows == len(seqs)

    asyncio.run(main())


def test_a_file_of_which_nothing_can_be_read_is_survived(tmp_path: Path):
    async def main() -> None:
        (tmp_path / "b.db").write_bytes(b"no database" * 1000)
        salvaged, seqs = await carry_over(tmp_path / "b.db", tmp_path / "new.db")
        assert (salvaged.rows, seqs) == (0, [])

    asyncio.run(main())


def test_the_new_file_goes_by_the_old_name_until_the_fleet_has_said_what_it_has(tmp_path: Path):
    async def main() -> None:
        await fill(tmp_path / "b.db")
        async with Buffer.open(tmp_path / "b.db") as old:
            before = old.store_id
        await carry_over(tmp_path / "b.db", tmp_path / "new.db")
        async with Buffer.open(tmp_path / "new.db") as new:
            ends = await new.ends(Lane.TELEMETRY)
            assert (new.store_id, await new.value(FORMER)) == (before, "1")
            assert (ends.base, ends.next_seq) == (500, 501)
            await new.renew([], {Lane.EVENTS: 0, Lane.TELEMETRY: 200})
        await carry_over(tmp_path / "b.db", tmp_path / "new.db")  # a salvage that was cut before it was told
        async with Buffer.open(tmp_path / "new.db") as new:
            assert new.store_id != before
            assert not await new.value(FORMER)

    asyncio.run(main())
