"""What was acked is there: after SIGKILL of the server in mid-write, and after an older backup was put back."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from batches import segment, telemetry
from fleets import DEVICE, a_fleet
from sqlalchemy import create_engine, text

from fleet.store import gap, migrate
from fleet.store.engine import parse_url

pytest_plugins = ("databases",)

T = TypeVar("T")

FIXTURES = Path(__file__).parents[1] / "fixtures"
WRITER = """
import asyncio, os, sys
sys.path.insert(0, sys.argv[2])
from batches import segment, telemetry
from fleets import a_fleet

async def main():
    async with a_fleet(sys.argv[1]) as fleet:
        async def store(name):
            seq = 0
            while True:
                ack = await fleet.take(telemetry([segment(seq + 1, [float(seq + 1)])], store_id=name, prev_seq=seq))
                seq = ack.acked_seq
                os.write(1, f"{name} {seq}\\n".encode())
        await asyncio.gather(*(store(f"store-{n}") for n in range(8)))

asyncio.run(main())
"""


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def acked_until_killed(url: str, acks: int) -> dict[str, int]:
    """Run a writer until it has told so many acks, kill it, and return the last seq that it told of each store."""
    command = [sys.executable, "-c", WRITER, url, str(FIXTURES)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ, cwd=Path(__file__).parents[2])
    assert writer.stdout is not None
    with writer:
        lines = [writer.stdout.readline() for _ in range(acks)]
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
    told: dict[str, int] = {}
    for line in lines:
        name, _, seq = line.decode().partition(" ")
        with suppress(ValueError):  # the last line may have been cut off
            told[name] = max(told.get(name, 0), int(seq))
    return told


def test_all_that_was_acked_is_there_after_the_server_was_killed_again_and_again(database_url: str):
    for acks in (40, 300):
        told = acked_until_killed(database_url, acks)

        async def story() -> list[object]:
            async with a_fleet(database_url, devices=()) as fleet:
                return await fleet.values()

        engine = create_engine(parse_url(database_url))
        with engine.connect() as conn:
            marks = {row.store_id: row.seq for row in conn.execute(text("SELECT store_id, seq FROM mark"))}
            intact = conn.dialect.name != "sqlite" or conn.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
        engine.dispose()

        assert len(told) == 8
        assert all(marks[name] >= seq for name, seq in told.items())
        assert sorted(run(story())) == sorted(float(n) for seq in marks.values() for n in range(1, seq + 1))
        assert intact


def test_after_an_older_backup_the_device_sends_again_what_it_keeps_and_the_rest_is_a_gap(
    sqlite_url: str, tmp_path: Path
):
    rows = [segment(n, [float(n)]) for n in range(1, 101)]

    async def before() -> Path:
        async with a_fleet(sqlite_url) as fleet:
            await fleet.take(telemetry(rows[:40]))
            copy = await asyncio.to_thread(migrate.back_up, tmp_path / "fleet.db", "test")
            await fleet.take(telemetry(rows[40:80]))
            return copy

    async def after() -> tuple[Any, Any, list[object], list[gap.KeptGap]]:
        async with a_fleet(sqlite_url, devices=()) as fleet:
            ahead = await fleet.take(telemetry(rows[80:90]))
            # The device goes on from the mark; of rows 41…80 it still keeps 61 and later.
            again = await fleet.take(telemetry(rows[60:90], prev_seq=ahead.acked_seq))
            await fleet.take(telemetry(rows[90:]))
            return ahead, again, await fleet.values(), await fleet.db.read(lambda conn: gap.page(conn, DEVICE))

    copy = run(before())
    for left in tmp_path.glob("fleet.db*"):
        left.unlink()
    shutil.copy(copy, tmp_path / "fleet.db")
    ahead, again, values, (missing,) = run(after())

    assert (ahead.acked_seq, ahead.refused) == (40, None)
    assert again.acked_seq == 90
    assert values == [float(n) for n in [*range(1, 41), *range(61, 101)]]
    assert (missing.from_seq, missing.to_seq) == (41, 60)
