"""How many readings a second this machine stores durably: ingest in one process, no network, acked after COMMIT.

    python bench/fleet/ingest.py [--seconds 3] [--database sqlite|postgresql|all] [--profile]

ThingsBoard tops out at 18,000 readings/s on two cores; the ratio beside each figure is against that.
"""

import argparse
import asyncio
import cProfile
import itertools
import pstats
import threading
from collections.abc import Iterator

from _store import KINDS, THINGSBOARD, database, drive
from fleets import a_fleet

from agent.wire.codec import encode, encode_batch
from agent.wire.messages import (
    Batch,
    Clock,
    ConfigOutcome,
    Lane,
    Reported,
    Segment,
    Series,
)

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
        if profile is not None:
            threading.setprofile(None)
            profile.enable()
        rate = await drive(fleet, {device: bodies[1:] for device, bodies in made.items()}, readings, seconds)
        if profile is not None:
            profile.disable()
        return rate, size


def main() -> None:
    """Print one line a database and batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--database", choices=[*KINDS, "all"], default="all")
    parser.add_argument("--profile", action="store_true", help="of the event loop's thread; see also py-spy")
    arguments = parser.parse_args()
    kinds = KINDS if arguments.database == "all" else [arguments.database]
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
