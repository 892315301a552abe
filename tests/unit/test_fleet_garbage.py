"""What the garbage collector is told on the server."""

import asyncio
import gc
import subprocess
import sys
import weakref

import pytest

from fleet import garbage

PROGRAM = """
import gc
from fleet.garbage import spare_collections
{before}
before = sum(generation["collections"] for generation in gc.get_stats())
kept = [[] for _ in range(40_000)]
print(sum(generation["collections"] for generation in gc.get_stats()) - before)
"""


def collections(before: str) -> int:
    command = [sys.executable, "-c", PROGRAM.format(before=before)]
    return int(subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout)


def test_what_many_batches_leave_alive_for_a_moment_is_not_looked_through():
    assert collections("") > 40
    assert collections("spare_collections()") == 0


def test_cycles_are_collected_though_nothing_new_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    class Connection:
        def __init__(self) -> None:
            self.itself = self

    async def lose() -> None:
        lost = Connection()
        gc.collect()  # it is among the old now, which only a full collection looks at
        seen = weakref.ref(lost)
        collecting = asyncio.create_task(garbage.collect_garbage())
        del lost
        async with asyncio.timeout(10):
            while seen() is not None:  # noqa: ASYNC110 - the collector tells nobody
                await asyncio.sleep(0.01)
        collecting.cancel()

    monkeypatch.setattr(garbage, "COLLECT_S", 0.01)
    asyncio.run(lose())
