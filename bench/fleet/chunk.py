"""How few bytes a reading takes in a chunk, and how fast chunks are written and read.

    python bench/fleet/chunk.py [--rows 4096] [--chunks 4]

The boards are those of the simulators, sampled at their own rate; `swarm` is ten series of two decimals every 10 s.
Times stand as a device dates them, to the microsecond with half a millisecond of jitter, or as whole milliseconds.
Beside each figure stands what a reading costs the incumbents: 105 to 159 bytes (docs/reference/performance.md).
"""

import argparse
import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from firmware_sim import catalogue  # noqa: E402
from fleet.core import chunk  # noqa: E402 - found through the line above
from fleet.core.chunk import Rows  # noqa: E402
from fleet.core.column import values_of  # noqa: E402

PEERS_BYTES = (105, 159)  # a reading: PostgreSQL row with its key; ThingsBoard, a user's table
T0_US = 1_780_000_000_000_000
JITTER_US = 500
SWARM = "swarm"

Frame = tuple[list[str], list[str], Iterator[tuple[float | int, ...]], float]
"""Names, units, frames without end, and seconds between them."""


def board(kind: catalogue.Kind) -> Frame:
    """Frames of a simulated board, with the number of the frame that its lines carry."""
    rng = random.Random(1)  # noqa: S311 - a signal, no secret
    model = kind.model()
    period_s = 1 / kind.rate_hz

    def frames() -> Iterator[tuple[float | int, ...]]:
        number = 0
        while True:
            number += 1
            values = model.step(period_s, rng)
            yield (
                number,
                *(
                    round(value, one.decimals) if one.decimals else round(value)
                    for value, one in zip(values, kind.quantities, strict=True)
                ),
            )

    names = [f"board.{name}" for name in ("n", *(one.name for one in kind.quantities))]
    return names, ["1", *(one.unit for one in kind.quantities)], frames(), period_s


def swarm() -> Frame:
    """Ten series that wander, two decimals, every 10 s."""
    rng = random.Random(2)  # noqa: S311 - a signal, no secret

    def frames() -> Iterator[tuple[float, ...]]:
        now = [20.0 + n for n in range(10)]
        while True:
            now = [value + rng.gauss(0, 0.05) for value in now]
            yield tuple(round(value, 2) for value in now)

    return [f"board.s{n}" for n in range(10)], ["Cel"] * 10, frames(), 10.0


def rows_of(made: Frame, count: int, step_us: int) -> list[Rows]:
    """One chunk's rows; times are whole multiples of `step_us`."""
    names, units, frames, period_s = made
    rng = np.random.default_rng(3)
    ideal = T0_US + np.arange(count) * period_s * 1e6 + rng.normal(0, JITTER_US, count)
    t_us = np.sort(ideal.astype(np.int64) // step_us * step_us)
    columns = zip(*(next(frames) for _ in range(count)), strict=True)
    synced, first = np.full(count, 2, np.int64), np.zeros(count, np.int64)
    return [
        Rows(name, t_us, values_of(values), synced, first, (unit,))
        for name, unit, values in zip(names, units, columns, strict=True)
    ]


def median_s(work: Callable[[], object]) -> float:
    """Median seconds of five runs."""
    took = []
    for _ in range(5):
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return statistics.median(took)


def measure(made: Frame, step_us: int, *, rows: int, count: int) -> str:
    """Write and read chunks of one board; returns the figures of a line."""
    chunks = [rows_of(made, rows, step_us) for _ in range(count)]
    encoded = list(map(chunk.encode, chunks))
    one = {chunks[0][-1].name}
    readings = sum(len(series) for some in chunks for series in some)
    size = sum(map(len, encoded)) / readings
    write_s = median_s(lambda: list(map(chunk.encode, chunks)))
    read_s = median_s(lambda: list(map(chunk.decode, encoded)))
    read_one_s = median_s(lambda: [chunk.decode(data, one) for data in encoded])
    ratios = " / ".join(f"{math.floor(peer / size)} x" for peer in PEERS_BYTES)
    return (
        f"{size:10.2f} {ratios:>14} {readings / write_s / 1e6:11.1f} {readings / read_s / 1e6:11.1f}"
        f" {rows * count / read_one_s / 1e6:15.1f}"
    )


def main() -> None:
    """Print a line for each board and kind of time stamp."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--chunks", type=int, default=4)
    arguments = parser.parse_args()
    print("                   B/reading          peers  encode M/s  decode M/s  one series M/s")
    for name in (*catalogue.KINDS, SWARM):
        for stamps, step_us in (("µs", 1), ("ms", 1000)):
            made = swarm() if name == SWARM else board(catalogue.find(name))
            print(f"{name:12} {stamps:>4} {measure(made, step_us, rows=arguments.rows, count=arguments.chunks)}")


if __name__ == "__main__":
    main()
