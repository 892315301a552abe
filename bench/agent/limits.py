"""What the agent can do at most: readings a second on one core, a week's backlog drained, and how soon it is there.

    SECONDS=10 DAYS=7 python bench/agent/limits.py

SECONDS is how long each rate is kept up, DAYS how old the backlog is; of fewer days, its limit is as much smaller.

The highest rate: the agent is bound to one core and fed lines of ten columns, and lines of one, at rates that rise
until it no longer keeps up (a line waits for longer than a second) or something is missing in the fleet; the server
beside it runs as it does anywhere. The backlog: DAYS at 10 readings/s, a row a second, put into the buffer by the
agent's own code; the time is from the start of the agent until nothing waits for an ack.
"""

import os
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

from _feed import Feed
from _meter import HEAD, peak_mb, row, use
from _ours import Ours

from firmware_sim.scenarios.stage import Stage
from firmware_sim.scenarios.world import SERVER, World

STEP_S = float(os.environ.get("SECONDS", "10"))
RATES = (5_000, 10_000, 20_000, 30_000, 40_000, 60_000, 80_000, 100_000, 150_000)  # readings a second
MOST_LATE_S = 1.0
SETTLE_S = 60.0
DAYS, BACKLOG_READINGS_S = float(os.environ.get("DAYS", "7")), 10
STARTS = 5


def main() -> None:
    """Measure and print."""
    print(HEAD)
    for columns in (10, 1):
        highest = _highest(columns)
        print(row(f"highest rate, lines of {columns}, one core", "readings/s", highest, 20_000))
    drained, peak, count = _drained()
    print(row(f"backlog of {count / 1e6:.2f} M readings drained", "s", drained, 60 * DAYS / 7))
    print(row("RSS at most while draining", "MB", peak, 40))
    took, cpu = zip(*_starts(), strict=True)
    print(row(f"start to first reading stored, median of {STARTS}", "s", statistics.median(took), 1.0))
    print(row("  of that, CPU", "s", statistics.median(cpu), 1.0))


def _highest(columns: int) -> float:
    kept, first = 0.0, 1
    with Stage() as stage, World(stage) as world:
        ours = Ours(stage, world, columns)
        ours.start()
        stage.wait_for("the agent has its port", lambda: ours.wire.held_by(ours.pid), most_s=30)
        for thread in Path(f"/proc/{ours.pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {max(os.sched_getaffinity(0))})
        for rate in RATES:
            before = use(ours.pid)
            with Feed([ours.wire], rate / columns, columns, first) as feed:
                time.sleep(STEP_S)
            cpu_s = (use(ours.pid) - before).cpu_s
            came = _settled(ours, feed)
            missing, doubled = feed.sent - len(came), sum(came.values()) - len(came)
            sys.stdout.write(
                f"  {rate:,} readings/s in lines of {columns}: {cpu_s / STEP_S * 100:.0f} % of a core, a line waited"
                f" {feed.late_s:.2f} s at most, {missing} of {feed.sent} lines missing, {doubled} doubled\n"
            )
            sys.stdout.flush()
            first = feed.next
            if feed.late_s > MOST_LATE_S or missing or doubled:
                break
            kept = float(rate)
    return kept


def _settled(ours: Ours, feed: Feed) -> Counter[int]:
    until = time.monotonic() + SETTLE_S
    while True:
        came = Counter(ours.arrived(feed.first, feed.next))
        if len(came) == feed.sent or time.monotonic() > until:
            return came
        time.sleep(2)


def _drained() -> tuple[float, float, int]:
    with Stage() as stage, World(stage) as world:

        def server_s() -> float:
            return sum(use(pid).cpu_s for pid in stage.family(SERVER))

        ours = Ours(stage, world)
        ours.start()
        stage.wait_for("the agent runs", lambda: ours.wire.held_by(ours.pid), most_s=30)
        ours.stop()
        wrote = ours.prefill(round(DAYS * 86_400), BACKLOG_READINGS_S)
        before, began = server_s(), time.monotonic()
        ours.start()
        stage.wait_for("the agent has its port", lambda: ours.wire.held_by(ours.pid), most_s=30)
        while (left := ours.waiting()) and time.monotonic() - began < 600:  # noqa: PLR2004 - s
            sys.stdout.write(f"  {time.monotonic() - began:5.1f} s: {left:,} readings wait\n")
            sys.stdout.flush()
            time.sleep(1)
        took = time.monotonic() - began
        sys.stdout.write(
            f"  the agent used {use(ours.pid).cpu_s:.1f} s of CPU, the server {server_s() - before:.1f} s\n"
        )
        return took, peak_mb(ours.pid), wrote["readings"]


def _starts() -> list[tuple[float, float]]:
    took = []
    with Stage() as stage, World(stage) as world:
        ours = Ours(stage, world)
        first = 1
        for _ in range(STARTS):
            before = ours.newest_seq()
            with Feed([ours.wire], 200, first=first) as feed:
                began = time.monotonic()
                ours.start()
                while ours.newest_seq() <= before:
                    time.sleep(0.01)
                took.append((time.monotonic() - began, use(ours.pid).cpu_s))
            first = feed.next
            ours.stop()
    return took


if __name__ == "__main__":
    main()
