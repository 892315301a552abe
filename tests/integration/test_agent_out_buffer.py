"""The buffer on real SQLite: what was committed is there, whatever happened to the process."""

import asyncio
import contextlib
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from agent.adapters.buffer import Buffer
from agent.core.outbox import Row
from agent.errors import Damaged, Unavailable
from agent.wire.messages import Lane

COMMITTER = """
import asyncio, sys
from pathlib import Path
from agent.adapters.buffer import Buffer
from agent.core.outbox import Row
from agent.wire.messages import Lane

async def main():
    async with Buffer.open(Path(sys.argv[1])) as buffer:
        seq = (await buffer.ends(Lane.TELEMETRY)).next_seq
        while True:
            rows = [Row(lane, seq, b"x" * 3000, seq, seq, 1) for lane in Lane]
            await buffer.commit(rows, {"last": str(seq)})
            print(seq, flush=True)
            seq += 1

asyncio.run(main())
"""


def rows(first: int, last: int, lane: Lane = Lane.TELEMETRY, size: int = 10) -> list[Row]:
    return [Row(lane, seq, b"%0*d" % (size, seq), seq * 100, seq * 100 + 50, 3) for seq in range(first, last + 1)]


async def limit(buffer: Buffer, pages: int) -> None:
    """Make the disk full at so many pages, as far as SQLite can tell."""
    await buffer._call(lambda: buffer._db.execute(f"PRAGMA max_page_count = {pages}"))  # noqa: SLF001 - its connection's


def test_rows_come_back_in_order_and_within_the_bytes_asked_for(tmp_path: Path):
    async def main() -> None:
        async with Buffer.open(tmp_path / "b.db") as buffer:
            await buffer.commit([*rows(1, 9), *rows(1, 2, Lane.EVENTS)], {"a": "1"})

            found, more = await buffer.rows(Lane.TELEMETRY, 2, 35)
            rest, no_more = await buffer.rows(Lane.TELEMETRY, 5, 1000)

            assert ([row.seq for row in found], more) == ([3, 4, 5], True)
            assert ([row.seq for row in rest], no_more) == ([6, 7, 8, 9], False)
            assert await buffer.value("a") == "1"

    asyncio.run(main())


def test_one_row_comes_even_if_it_is_larger_than_asked_for(tmp_path: Path):
    async def main() -> None:
        async with Buffer.open(tmp_path / "b.db") as buffer:
            await buffer.commit(rows(1, 2, size=500), {})

            found, more = await buffer.rows(Lane.TELEMETRY, 0, 10)

            assert ([row.seq for row in found], more) == ([1], True)

    asyncio.run(main())


def test_depth_counts_what_was_not_acked_and_survives_a_restart(tmp_path: Path):
    async def main() -> None:
        async with Buffer.open(tmp_path / "b.db") as buffer:
            await buffer.commit(rows(1, 9), {})
            await buffer.give_up(Lane.TELEMETRY, 4)
            before = await buffer.depth(Lane.TELEMETRY)
        async with Buffer.open(tmp_path / "b.db") as buffer:
            assert await buffer.depth(Lane.TELEMETRY) == before
            ends = await buffer.ends(Lane.TELEMETRY)
        assert (before.rows, before.bytes, before.readings, before.oldest_us) == (5, 50, 15, 500)
        assert (ends.mark, ends.top, ends.next_seq) == (4, 9, 10)

    asyncio.run(main())


def test_acked_rows_are_kept_for_a_server_that_went_back_until_their_room_is_wanted(tmp_path: Path):
    async def main() -> None:
        async with Buffer.open(tmp_path / "b.db", keep_acked_bytes=2_000_000) as buffer:
            await buffer.commit(rows(1, 100, size=50_000), {})
            await buffer.give_up(Lane.TELEMETRY, 20)
            await buffer.rewind(Lane.TELEMETRY, 5)
            again, _ = await buffer.rows(Lane.TELEMETRY, 5, 1)
            await buffer.give_up(Lane.TELEMETRY, 100)
            kept, _ = await buffer.rows(Lane.TELEMETRY, 0, 10**9)

            assert again[0].seq == 6
            assert 0 < len(kept) <= 40
            assert kept[-1].seq == 100

    asyncio.run(main())


def test_a_seq_never_repeats_even_after_all_rows_were_given_up(tmp_path: Path):
    async def main() -> None:
        async with Buffer.open(tmp_path / "b.db", keep_acked_bytes=0) as buffer:
            await buffer.commit(rows(1, 50, size=100_000), {})
            await buffer.give_up(Lane.TELEMETRY, 50)
        async with Buffer.open(tmp_path / "b.db") as buffer:
            assert (await buffer.ends(Lane.TELEMETRY)).next_seq == 51

    asyncio.run(main())


def test_quarantined_rows_are_not_sent_again(tmp_path: Path):
    async def main() -> None:
        async with Buffer.open(tmp_path / "b.db") as buffer:
            await buffer.commit(rows(1, 9), {})
            what = await buffer.quarantine(Lane.TELEMETRY, 3, 5)
        async with Buffer.open(tmp_path / "b.db") as buffer:
            found, _ = await buffer.rows(Lane.TELEMETRY, 0, 1000)
            assert [row.seq for row in found] == [1, 2, 6, 7, 8, 9]
            assert (what.rows, what.readings, what.oldest_us, what.newest_us) == (3, 9, 300, 550)

    asyncio.run(main())


def test_a_commit_is_whole_or_not_at_all_and_may_be_tried_again(tmp_path: Path):
    async def main() -> None:
        path = tmp_path / "b.db"
        async with Buffer.open(path) as buffer:
            await buffer.commit(rows(1, 1), {})
            await limit(buffer, 20)
            with pytest.raises(Unavailable, match="full"):
                await buffer.commit(rows(2, 40, size=5000), {"state": "new"})
            assert await buffer.value("state") is None
            assert (await buffer.ends(Lane.TELEMETRY)).next_seq == 2
            await limit(buffer, 100_000)
            await buffer.commit(rows(2, 40, size=5000), {"state": "new"})
            await buffer.commit(rows(2, 40, size=5000), {"state": "new"})
            assert (await buffer.depth(Lane.TELEMETRY)).rows == 40

    asyncio.run(main())


def test_a_file_that_is_locked_by_another_is_unavailable_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("agent.adapters.buffer.BUSY_MS", 50)

    async def main() -> None:
        path = tmp_path / "b.db"
        async with Buffer.open(path) as buffer:
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(Unavailable):
                    await buffer.commit(rows(1, 1), {})
            await buffer.commit(rows(1, 1), {})

    asyncio.run(main())


def test_a_file_that_is_no_database_is_damaged(tmp_path: Path):
    (tmp_path / "b.db").write_bytes(b"no database" * 1000)

    async def main() -> None:
        async with Buffer.open(tmp_path / "b.db"):
            pass

    with pytest.raises(Damaged):
        asyncio.run(main())


def test_what_was_said_to_be_committed_is_there_after_sigkill(tmp_path: Path):
    path = tmp_path / "b.db"
    said: list[int] = []

    for kill_after in (30, 60, 45):
        child = subprocess.Popen([sys.executable, "-c", COMMITTER, str(path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        said += [int(child.stdout.readline()) for _ in range(kill_after)]
        child.send_signal(signal.SIGKILL)
        said += [int(line) for line in child.stdout.read().splitlines()]
        child.stdout.close()
        child.wait()

    async def look() -> None:
        async with Buffer.open(path) as buffer:
            for lane in Lane:
                found, _ = await buffer.rows(lane, 0, 10**9)
                seqs = [row.seq for row in found]
                assert set(said) <= set(seqs)
                assert seqs == list(range(1, len(seqs) + 1))
            assert int(await buffer.value("last") or 0) == seqs[-1]

    asyncio.run(look())
