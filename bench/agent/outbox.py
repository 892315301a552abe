"""The outbox alone: readings through recorder and buffer. Prints rates, and bytes to disk, beside their limits.

    python bench/agent/outbox.py [SECONDS]

Bytes are what the kernel says this process wrote to the disk (`/proc/self/io`), so the state directory has to be on a
real one: TMPDIR chooses it.
"""

import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from agent.adapters.buffer import Buffer
from agent.ports import Reading
from agent.rules.rule import Rule, read_rules
from agent.services.record import Boot, Recorder
from agent.services.restore import restore
from agent.wire.document import parse_document
from agent.wire.messages import Clock

LEAST_READINGS_S = 20_000  # a second, on one core, rules and all
MOST_BYTES = 110  # to disk a reading, at 200 readings/s
STEADY_READINGS_S = 200
SERIES = 10
RULES = (
    '[[rule]]\nname = "warm"\nseries = "board.s0"\nabove = 1000.0\n[[rule]]\nname = "any"\nseries = "*"\nbelow = -1e9\n'
)


class Now:
    """The machine's clock."""

    def now_us(self) -> int:
        """Return UTC in microseconds."""
        return time.time_ns() // 1000

    def mono_s(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()


def written_bytes() -> int:
    """Return the bytes that this process has caused to be written to a disk."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("write_bytes")))


def readings(rng: random.Random, count: int) -> list[Reading]:
    """Return one reading of each series, so many times, dated now."""
    now_us = time.time_ns() // 1000
    return [Reading(f"board.s{i % SERIES}", "Cel", now_us, round(rng.gauss(20, 5), 2)) for i in range(count)]


async def highest_rate(recorder: Recorder, rng: random.Random) -> float:
    """Return readings a second of CPU time, from the recorder's intake to the commit."""
    lot = [readings(rng, SERIES) for _ in range(2000)]
    start = time.process_time()
    for i in range(0, len(lot), 200):
        for some in lot[i : i + 200]:
            recorder.readings(some)
        await recorder.flush()
    return len(lot) * SERIES / (time.process_time() - start)


async def steady_bytes(recorder: Recorder, rng: random.Random, seconds: float) -> tuple[float, float]:
    """Return bytes to disk a reading, and CPU seconds a second, at the steady rate with a commit each second."""
    before, start, count = written_bytes(), time.monotonic(), 0
    cpu = time.process_time()
    task = asyncio.create_task(recorder.run())
    while (passed := time.monotonic() - start) < seconds:
        due = int(passed * STEADY_READINGS_S) - count
        if due > 0:
            recorder.readings(readings(rng, due))
            count += due
        await asyncio.sleep(0.05)
    task.cancel()
    await recorder.flush()
    return (written_bytes() - before) / count, (time.process_time() - cpu) / seconds


async def main(seconds: float) -> None:
    """Run both and print."""
    rules: tuple[Rule, ...] = read_rules(parse_document(RULES))
    rng = random.Random(1)  # noqa: S311 - the same readings in each run
    with tempfile.TemporaryDirectory() as folder:
        async with Buffer.open(Path(folder) / "buffer.db") as buffer:
            recorder = Recorder(buffer, Now(), Boot("boot", lambda: Clock.SYNCED), await restore(buffer), rng.random)
            await recorder.apply(rules, 1.0)
            rate = await highest_rate(recorder, rng)
            size, cpu = await steady_bytes(recorder, rng, seconds)
    print(
        f"readings/s of one core   {rate:12,.0f}   {rate / LEAST_READINGS_S:6.1f} times the {LEAST_READINGS_S:,} wanted"
    )
    print(f"bytes to disk a reading  {size:12.1f}   {size / MOST_BYTES:6.2f} times the {MOST_BYTES} allowed")
    print(f"CPU at {STEADY_READINGS_S} readings/s     {cpu * 100:11.2f} % of a core")


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0))
