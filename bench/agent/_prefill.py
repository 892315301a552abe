"""Fill an agent's buffer, while no agent runs on it, with what a week without a fleet would have left there.

    python bench/agent/_prefill.py BUFFER SECONDS READINGS_S [MOST_BYTES]

Each second of the past is one row of READINGS_S readings of two series, as an agent with flush_s = 1 writes them;
through the agent's own buffer and encoding. Ends after SECONDS rows or about MOST_BYTES. Prints what it wrote as JSON.
"""

import asyncio
import json
import random
import sys
import time
from pathlib import Path

from agent.adapters.buffer import Buffer
from agent.core.outbox import Columns, Moment, Row
from agent.ports import Reading
from agent.wire.messages import Clock, Lane

US_PER_S = 1_000_000
SERIES = 2
LOT_ROWS = 2000  # in one transaction


async def fill(path: Path, seconds: int, readings_s: int, most_bytes: float) -> dict[str, int]:
    """Write the rows; returns how many rows, readings and bytes they are."""
    rng = random.Random(1)  # noqa: S311 - the same readings in each run
    columns, rows, size, count = Columns(), list[Row](), 0, 0
    start_us = time.time_ns() // 1000 - (seconds + 60) * US_PER_S
    async with Buffer.open(path) as buffer:
        seq = (await buffer.ends(Lane.TELEMETRY)).next_seq
        while count < seconds and size < most_bytes:
            t_us = start_us + count * US_PER_S
            columns.add(
                Reading(f"old.s{i % SERIES}", "Cel", t_us + i * US_PER_S // readings_s, round(rng.gauss(20, 5), 2))
                for i in range(readings_s)
            )
            rows += columns.cut(seq + len(rows), Moment(t_us + US_PER_S, count * US_PER_S, "old", Clock.SYNCED))
            count += 1
            if len(rows) >= LOT_ROWS or count == seconds:
                size += sum(len(row.body) for row in rows)
                await buffer.commit(rows, {})
                seq, rows = seq + len(rows), []
        await buffer.commit(rows, {})
    return {"rows": count, "readings": count * readings_s, "bytes": size}


if __name__ == "__main__":
    most = float(sys.argv[4]) if len(sys.argv) > 4 else float("inf")  # noqa: PLR2004 - the fourth word
    print(json.dumps(asyncio.run(fill(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), most))))
