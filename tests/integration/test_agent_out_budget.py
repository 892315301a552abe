"""The buffer's budget and its disk: what goes first, how it is told, and that room is found again."""

import asyncio
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agent_out import Now

from agent.adapters.buffer import Buffer
from agent.core.outbox import readings_of
from agent.core.shedding import MEAN, Budget
from agent.errors import Unavailable
from agent.ports import Reading
from agent.services.record import Boot, Recorder
from agent.services.restore import restore
from agent.wire.codec import decode
from agent.wire.messages import Clock, DeviceEvent, Gap, Lane, Segment, Value

MIB = 1024 * 1024
START_US = 1_800_000_000_000_000
SMALL = Budget(max_bytes=8 * MIB, min_free_bytes=0)


async def recorder_on(buffer: Buffer) -> Recorder:
    boot = Boot("boot", lambda: Clock.SYNCED)
    return Recorder(buffer, Now(), boot, await restore(buffer), random.Random(1).random)  # noqa: S311 - repeatable


def text(second: int, i: int) -> str:
    return f"{second} {i} " + "x" * 200  # nothing that thinning could make smaller


def number(second: int, i: int) -> float:
    return 20.0 + (second * 7 + i) % 13


async def feed(
    recorder: Recorder, first_s: int, last_s: int, series: int = 20, value: Callable[[int, int], Value] = number
) -> int:
    """Read each second, commit each minute; returns how many readings that were."""
    for start in range(first_s, last_s, 60):
        for second in range(start, min(start + 60, last_s)):
            t_us = START_US + second * 1_000_000
            recorder.readings([Reading(f"a.s{i}", "Cel", t_us, value(second, i)) for i in range(series)])
        await recorder.flush()
    return (last_s - first_s) * series


async def gaps(buffer: Buffer) -> list[Gap]:
    found, _ = await buffer.rows(Lane.EVENTS, 0, 10**9)
    return [event.gap for event in (decode(DeviceEvent, row.body) for row in found) if event.gap]


async def stored(buffer: Buffer) -> list[Segment]:
    segments: list[Segment] = []
    while True:
        found, _ = await buffer.rows(Lane.TELEMETRY, segments[-1].seq if segments else 0, 10**9)
        if not found:
            return segments
        segments += [decode(Segment, row.body) for row in found]


def count(segments: list[Segment]) -> int:
    return sum(not it.name.endswith(MEAN) for segment in segments for it in readings_of(segment))


def file_bytes(path: Path) -> int:
    return sum(it.stat().st_size for it in path.parent.glob(path.name + "*"))


def test_the_oldest_telemetry_is_thinned_and_then_dropped_and_everything_is_accounted_for(tmp_path: Path):
    async def main() -> None:
        path = tmp_path / "b.db"
        async with Buffer.open(path, budget=SMALL) as buffer:
            recorder = await recorder_on(buffer)
            fed = await feed(recorder, 0, 24_000)
            thinned = await gaps(buffer)
            fed += await feed(recorder, 24_000, 34_000, series=5, value=text)
            told = await gaps(buffer)
            depth = await buffer.depth(Lane.TELEMETRY)
            left = await stored(buffer)

            assert {gap.reason.split()[0] for gap in thinned} == {"thinned"}
            assert {gap.reason.split()[0].strip(":") for gap in told} == {"thinned", "dropped"}
            # Where a thinned row was dropped later, its means were counted as well.
            assert fed <= count(left) + sum(gap.count for gap in told) <= fed * 1.1
            assert file_bytes(path) <= SMALL.max_bytes
            assert depth.rows == len(left)
            assert depth.readings == sum(len(it.v) for segment in left for it in segment.series)
            assert left[-1].series[0].t0_us >= START_US + 33_990 * 1_000_000
            assert [it.seq for it in left] == sorted(it.seq for it in left)
        async with Buffer.open(path, budget=SMALL) as buffer:
            assert await buffer.depth(Lane.TELEMETRY) == depth

    asyncio.run(main())


def test_rows_that_the_fleet_has_go_before_any_that_it_does_not_have(tmp_path: Path):
    async def main() -> None:
        async with Buffer.open(tmp_path / "b.db", budget=SMALL, keep_acked_bytes=10**9) as buffer:
            recorder = await recorder_on(buffer)
            for start in range(0, 25_000, 1000):
                await feed(recorder, start, start + 1000)
                ends = await buffer.ends(Lane.TELEMETRY)
                await buffer.give_up(Lane.TELEMETRY, ends.top)
            assert await gaps(buffer) == []
            assert file_bytes(buffer.path) <= SMALL.max_bytes

    asyncio.run(main())


def test_what_a_batch_has_carried_is_not_thinned_even_after_a_restart(tmp_path: Path):
    async def main() -> None:
        path = tmp_path / "b.db"
        async with Buffer.open(path, budget=SMALL) as buffer:
            recorder = await recorder_on(buffer)
            await feed(recorder, 0, 100)
            sent, _ = await buffer.rows(Lane.TELEMETRY, 0, 10_000)
        async with Buffer.open(path, budget=SMALL) as buffer:
            recorder = await recorder_on(buffer)
            await feed(recorder, 100, 25_000)
            assert await gaps(buffer)
            again, _ = await buffer.rows(Lane.TELEMETRY, 0, 10_000)
            assert again == sent

    asyncio.run(main())


def test_acked_rows_are_let_go_by_age(tmp_path: Path):
    async def main() -> None:
        async with Buffer.open(tmp_path / "b.db", budget=Budget(keep_acked_s=86_400)) as buffer:
            recorder = await recorder_on(buffer)
            for day in range(4):
                await feed(recorder, day * 86_400, day * 86_400 + 50)
                await buffer.give_up(Lane.TELEMETRY, (await buffer.ends(Lane.TELEMETRY)).top)
            oldest = (await stored(buffer))[0].series[0].t0_us
            assert oldest >= START_US + 2 * 86_400 * 1_000_000

    asyncio.run(main())


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 12 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_survived_told_and_recovered_from(disk: Path):
    async def main() -> None:
        async with Buffer.open(disk / "b.db", budget=Budget(min_free_bytes=MIB)) as buffer:
            recorder = await recorder_on(buffer)
            await feed(recorder, 0, 100)
            (disk / "hog").write_bytes(b"x" * (os_free(disk)))
            with pytest.raises(Unavailable, match="full"):
                await feed(recorder, 100, 60_000)
            assert "full" in recorder.problem

            (disk / "hog").unlink()
            await recorder.flush()
            await recorder.flush()

            events, _ = await buffer.rows(Lane.EVENTS, 0, 10**9)
            kinds = [decode(DeviceEvent, row.body).kind for row in events]
            assert "buffer.recovered" in kinds
            assert recorder.problem == ""
            assert count(await stored(buffer)) + sum(gap.count for gap in await gaps(buffer)) >= 100 * 20

    asyncio.run(main())


def test_the_reserve_of_free_disk_is_left_to_others(disk: Path):
    async def main() -> None:
        async with Buffer.open(disk / "b.db", budget=Budget(min_free_bytes=4 * MIB, most_log_bytes=2 * MIB)) as buffer:
            recorder = await recorder_on(buffer)
            await feed(recorder, 0, 25_000)
            assert os_free(disk) >= 2 * MIB  # the log is the buffer's own, and not counted
            assert await gaps(buffer)
            assert recorder.problem == ""

    asyncio.run(main())


def os_free(folder: Path) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize
