"""How many readings a second this machine stores durably: ingest in one process, no network, acked after COMMIT.

    python bench/fleet/ingest.py [--seconds 3] [--database sqlite|postgresql|all] [--profile]

ThingsBoard tops out at 18,000 readings/s on two cores; the ratio beside each figure is against that.
"""

import argparse
import asyncio
import cProfile
import itertools
import pstats
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fixtures")]

from databases import postgres  # noqa: E402 - found through the line above
from fleets import a_fleet  # noqa: E402

from agent.wire.codec import encode, encode_batch  # noqa: E402
from agent.wire.messages import (  # noqa: E402
    Batch,
    Clock,
    ConfigOutcome,
    Lane,
    Reported,
    Segment,
    Series,
)

THINGSBOARD = 18_000  # readings/s on two cores (its own published figure)
DEVICES = 200
SERIES = 10
T0_US = 1_780_000_000_000_000


def payloads(device: int, readings: int) -> Iterator[tuple[int, bytes]]:
    """Batches of one device without end: ten series, a reading of each a second, two decimals."""
    steps = readings // SERIES
    reported = Reported(0, ConfigOutcome.SEEDED, 0, "", "")
    for seq in itertools.count(1):
        t0_us = T0_US + seq * steps * 1_000_000
        dt = (0, *([1_000_000] * (steps - 1)))
        series = tuple(
            Series(
                f"board.s{n}",
                "Cel",
                t0_us,
                dt,
                tuple(round(-18 + (i * 7 + n + device) % 50 / 13, 2) for i in range(steps)),
            )
            for n in range(SERIES)
        )
        head = Batch(1, "store", Lane.TELEMETRY, seq - 1, t0_us, "boot", "0.1.0", Clock.SYNCED, reported)
        yield seq, encode_batch(head, [encode(Segment(seq, "boot", 0, Clock.SYNCED, series))])


async def measure(url: str, readings: int, seconds: float, profile: cProfile.Profile | None) -> tuple[float, float]:
    """Return readings/s stored, and bytes a batch."""
    devices = tuple(f"bench-{n:06d}" for n in range(DEVICES))
    rounds = 60
    made = {
        device: [body for _, body in itertools.islice(payloads(n, readings), rounds)]
        for n, device in enumerate(devices)
    }
    size = sum(map(len, made[devices[0]])) / rounds
    async with a_fleet(url, devices=devices) as fleet:
        fleet.clock.forward(400 * 86_400)
        await asyncio.gather(
            *(fleet.take(made[device][0], device_id=device) for device in devices)
        )  # all are known then
        stored = 0
        deadline = time.monotonic() + seconds

        async def drive(device: str) -> None:
            nonlocal stored
            for body in made[device][1:]:
                if time.monotonic() > deadline:
                    return
                await fleet.take(body, device_id=device)
                stored += readings

        started = time.monotonic()
        if profile is not None:
            threading.setprofile(None)
            profile.enable()
        await asyncio.gather(*map(drive, devices))
        if profile is not None:
            profile.disable()
        return stored / (time.monotonic() - started), size


@contextmanager
def database(kind: str) -> Iterator[str]:
    """Run an empty database that waits for the disk; yields its URL."""
    if kind == "postgresql":
        with postgres(18, durable=True) as url:
            yield url
    else:
        with tempfile.TemporaryDirectory(prefix="fieldline-bench-", dir=Path.cwd()) as folder:
            yield f"sqlite:///{folder}/fleet.db"


def main() -> None:
    """Print one line a database and batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--database", choices=["sqlite", "postgresql", "all"], default="all")
    parser.add_argument("--profile", action="store_true", help="of the event loop's thread; see also py-spy")
    arguments = parser.parse_args()
    kinds = ["sqlite", "postgresql"] if arguments.database == "all" else [arguments.database]
    for kind, readings in itertools.product(kinds, (200, 1000)):
        profile = cProfile.Profile() if arguments.profile else None
        with database(kind) as url:
            rate, size = asyncio.run(measure(url, readings, arguments.seconds, profile))
        print(
            f"{kind:10} {readings:5} readings a batch ({size:.0f} B)  {rate:10,.0f} readings/s durable"
            f"  = {rate / THINGSBOARD:5.1f} x ThingsBoard's {THINGSBOARD:,}"
        )
        if profile is not None:
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
