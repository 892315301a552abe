"""What the benchmarks of the store share: an empty database, and ingest driven in this process."""

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fixtures")]

from databases import postgres  # noqa: E402 - found through the line above
from fleets import Fleet  # noqa: E402

KINDS = ("sqlite", "postgresql")
THINGSBOARD = 18_000  # readings/s on two cores (its own published figure)


@contextmanager
def database(kind: str) -> Iterator[str]:
    """Run an empty database that waits for the disk; yields its URL."""
    if kind == "postgresql":
        with postgres(18, durable=True) as url:
            yield url
    else:
        with tempfile.TemporaryDirectory(prefix="fieldline-bench-", dir=Path.cwd()) as folder:
            yield f"sqlite:///{folder}/fleet.db"


async def drive(fleet: Fleet, made: Mapping[str, Sequence[bytes]], readings: int, seconds: float) -> float:
    """Return the readings/s that are stored while each device has its batches taken, one after the other."""
    stored = 0
    began = time.monotonic()

    async def send(device: str, bodies: Sequence[bytes]) -> None:
        nonlocal stored
        for body in bodies:
            if time.monotonic() > began + seconds:
                return
            await fleet.take(body, device_id=device)
            stored += readings

    await asyncio.gather(*(send(*one) for one in made.items()))
    return stored / (time.monotonic() - began)
