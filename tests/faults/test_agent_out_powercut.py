"""The power goes at any moment: what the buffer said was committed is there, whatever the disk kept of the rest."""

import asyncio
import contextlib
import random
import shutil
import sqlite3
import sys
from pathlib import Path

import power
import pytest

from agent.adapters.buffer import Buffer
from agent.wire.messages import Lane

COMMITTER = """
import asyncio, os, sys
from pathlib import Path
from agent.adapters.buffer import Buffer
from agent.core.outbox import Row
from agent.core.shedding import Budget
from agent.wire.messages import Lane

async def main():
    # A log of few pages, so that checkpoints fall into the record.
    async with Buffer.open(Path(sys.argv[1]), budget=Budget(most_log_bytes=128 * 1024)) as buffer:
        if len(sys.argv) > 3:
            await buffer._call(lambda: buffer._db.execute(f"PRAGMA synchronous = {sys.argv[3]}"))
        for seq in range(1, int(sys.argv[2]) + 1):
            rows = [Row(lane, seq, b"%d:" % seq + b"x" * (700 * seq % 5000), seq, seq, 1) for lane in Lane]
            await buffer.commit(rows, {"last": str(seq)})
            os.write(1, b"%d\\n" % seq)
            if seq % 5 == 0:
                await buffer.give_up(Lane.TELEMETRY, seq - 2)

asyncio.run(main())
"""


async def look(path: Path, said: int) -> None:
    """Hold that the file has rows 1 … n of both lanes, whole, with n at least what was said."""
    async with Buffer.open(path) as buffer:
        tops = set()
        for lane in Lane:
            found, _ = await buffer.rows(lane, 0, 10**9)
            assert [row.seq for row in found] == list(range(1, len(found) + 1))
            assert all(row.body.startswith(b"%d:" % row.seq) for row in found)
            tops.add(len(found))
        assert len(tops) == 1, "a transaction in part"
        assert tops.pop() >= said
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def replay(folder: Path, commits: int, *, every: int, torn: int, synchronous: str = "FULL") -> tuple[int, int]:
    """Record so many commits and cut the power at every so manieth call; returns how many cuts and calls there were."""
    home, cut = folder / "home", folder / "cut"
    home.mkdir()
    path = home / "buffer.db"
    async with Buffer.open(path):
        pass
    disk = power.Disk({str(path): bytearray(path.read_bytes())})
    ops = power.record([sys.executable, "-c", COMMITTER, path, str(commits), synchronous], home, folder / "strace.log")
    assert {op.kind for op in ops} >= {"write", "sync", "said"}
    rng = random.Random(1)  # noqa: S311 - the same cuts in each run
    cuts = 0
    for number, op in enumerate(ops):
        disk.take(op)
        if number % every:
            continue
        images = list(disk.images(rng, torn))
        for image in images if every == 1 else images[:1] + images[len(images) // 2 :: 3]:
            cuts += 1
            power.lay_out(image, cut)
            await look(cut / path.name, disk.said)
    assert disk.said == commits
    return cuts, len(ops)


pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def test_what_was_said_to_be_committed_survives_a_power_cut(tmp_path: Path):
    cuts, _ = asyncio.run(replay(tmp_path, 30, every=7, torn=2))

    assert cuts > 20


def test_the_replay_notices_a_buffer_that_does_not_sync(tmp_path: Path):
    with pytest.raises(AssertionError):
        asyncio.run(replay(tmp_path, 10, every=1, torn=0, synchronous="NORMAL"))
