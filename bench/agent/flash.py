"""What the outbox costs a flash card: bytes to disk a reading, by page size, checkpoint, commit cadence and rate.

    python bench/agent/flash.py

Readings go through recorder and buffer as on a device, acked each 5 s, on a clock that is pushed: what is written
depends on the order of commits, not on how long they are apart. Each figure is taken over `CYCLES` times the log's
size, so that checkpoints have their share. Bytes are what the kernel says this process wrote (`/proc/self/io`), whole
pages of 4 KiB, so the state directory has to be on a real disk: TMPDIR chooses it.

The table tells each choice as a multiple of what the agent does (`agent.adapters.buffer`).
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from outbox import written_bytes

from agent.adapters import buffer, migrate
from agent.adapters.buffer import Buffer
from agent.core.config import DEFAULT_FLUSH_S
from agent.core.shedding import MIB, Budget
from agent.ports import Reading
from agent.services.record import Boot, Recorder
from agent.services.restore import restore
from agent.wire.limits import BACKLOG_BATCH_BYTES
from agent.wire.messages import Clock, Lane

PAGES = (512, 1024, 2048, 4096, 8192)  # bytes
LOGS = (1, 4, 16)  # MiB in the write-ahead log before a checkpoint
FLUSHES_S = (0.2, 1.0, 5.0, 30.0)
RATES = (1, 10, 200)  # readings a second
CYCLES = 5  # of the log
ACK_EVERY_S = 5.0
SERIES = 10
START_US = 1_800_000_000_000_000


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to keep the outbox."""

    page_bytes: int
    log_mib: int
    flush_s: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What it costs."""

    reading_bytes: float
    commit_cpu_ms: float
    read_mb_s: float  # of CPU, how fast a backlog is read back


NOW = Choice(buffer.PAGE_BYTES, buffer.CHECKPOINT_BYTES // MIB, DEFAULT_FLUSH_S)


@dataclass(slots=True)
class Hand:
    """A clock that is pushed."""

    s: float = 0.0

    def now_us(self) -> int:
        """Return UTC in microseconds."""
        return START_US + round(self.s * 1_000_000)

    def mono_s(self) -> float:
        """Return monotonic seconds."""
        return self.s


async def measure(choice: Choice, rate: int, path: Path) -> Cost:
    """Return what a reading costs."""
    log_bytes = choice.log_mib * MIB
    migrate.PAGE_BYTES = buffer.PAGE_BYTES = choice.page_bytes  # type: ignore[attr-defined] # fixed, but not here
    buffer.CHECKPOINT_BYTES = log_bytes
    migrate.migrate(str(path))
    clock, feed = Hand(), _feed(rate)
    async with Buffer.open(path, budget=Budget(most_log_bytes=3 * log_bytes)) as store:
        boot = Boot("boot", lambda: Clock.SYNCED)
        recorder = Recorder(store, clock, boot, await restore(store), random.Random(1).random)  # noqa: S311 - no secret
        count = commits = 0
        acked_s, began_s, before = 0.0, time.process_time(), written_bytes()
        while written_bytes() - before < CYCLES * log_bytes:
            clock.s += max(choice.flush_s, 1 / rate)
            due = int(clock.s * rate) - count
            recorder.readings([next(feed) for _ in range(due)])
            count += due
            await recorder.flush()
            commits += 1
            if clock.s - acked_s >= ACK_EVERY_S:
                acked_s = clock.s
                rows, _ = await store.rows(Lane.TELEMETRY, (await store.ends(Lane.TELEMETRY)).mark, 64 * 1024)
                await store.give_up(Lane.TELEMETRY, rows[-1].seq)
        commit_s, size = (time.process_time() - began_s) / commits, written_bytes() - before
        return Cost(size / count, commit_s * 1000, await _read_back(store))


async def _read_back(store: Buffer) -> float:
    """Return how many megabytes of rows a second of CPU reads, from the first row on as a drain does."""
    began_s, seq, size, more = time.process_time(), 0, 0, True
    while more:
        rows, more = await store.rows(Lane.TELEMETRY, seq, BACKLOG_BATCH_BYTES)
        size += sum(len(row.body) for row in rows)
        seq = rows[-1].seq
    return size / (time.process_time() - began_s) / 1e6


def _feed(rate: int) -> Iterator[Reading]:
    rng = random.Random(1)  # noqa: S311 - the same readings in each run
    for i in range(10**9):
        at_us = START_US + i * 1_000_000 // rate
        yield Reading(f"board.s{i % min(rate, SERIES)}", "Cel", at_us, round(rng.gauss(20, 5), 2))


def main() -> None:
    """Measure all and print."""
    choices = [replace(NOW, page_bytes=page) for page in PAGES]
    choices += [replace(NOW, log_mib=log) for log in LOGS]
    choices += [replace(NOW, flush_s=flush_s) for flush_s in FLUSHES_S]
    with tempfile.TemporaryDirectory() as folder:
        costs = {
            (choice, rate): asyncio.run(measure(choice, rate, Path(folder) / f"{i}-{rate}.db"))
            for i, choice in enumerate(dict.fromkeys(choices))
            for rate in RATES
        }
    head = "".join(f"{f'{rate}/s':>19}" for rate in RATES)
    print(f"{'bytes to disk a reading; x the agent':52}{head}{'CPU a commit':>16}{'read back':>14}")
    for choice in dict.fromkeys(choices):
        told = f"page {choice.page_bytes:5} B, log {choice.log_mib:2} MiB, commit each {choice.flush_s:4g} s"
        cells = "".join(_cell(costs[choice, rate], costs[NOW, rate]) for rate in RATES)
        last = costs[choice, RATES[-1]]
        mark = "  <- the agent" if choice == NOW else ""
        print(f"{told:52}{cells}{last.commit_cpu_ms:13.2f} ms{last.read_mb_s:9.0f} MB/s{mark}")


def _cell(cost: Cost, now: Cost) -> str:
    return f"{cost.reading_bytes:10,.0f} {cost.reading_bytes / now.reading_bytes:6.2f} x"


if __name__ == "__main__":
    main()
