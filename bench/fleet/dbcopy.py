"""How fast `fleet db copy` is: rows a second, SQLite to PostgreSQL 18 and back, compared and all.

    python bench/fleet/dbcopy.py [DEVICES]

Beside it the limit: reading all rows of the source and reckoning them up, which copying does twice and more.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from _store import database
from batches import STEP_US, T0_US, segment, telemetry
from fleets import a_fleet
from seals import seal_some

from fleet.dbcopy import copy_database, ends_of
from fleet.store import copy
from fleet.store.engine import parse_url, reader_engine

DAYS = 3
BATCHES = 40  # of each device, beside what is sealed
HOUR_US = 3600 * STEP_US


def fill(url: str, devices: int) -> None:
    """Put devices with days of sealed readings, and batches that wait, into a database."""
    names = tuple(f"freezer-{number:06d}" for number in range(devices))

    async def story() -> None:
        async with a_fleet(url, devices=names) as fleet:
            for name in names:
                for hour in range(24 * DAYS):
                    start_us = T0_US - hour * HOUR_US
                    rows = [segment(hour + 1, [1.5] * 60, t0_us=start_us)]
                    await fleet.take(telemetry(rows), device_id=name)
                while await seal_some(fleet.db, name, T0_US):
                    pass
                for seq in range(24 * DAYS + 1, 24 * DAYS + BATCHES):
                    await fleet.take(telemetry([segment(seq, [1.5] * 60)]), device_id=name)

    asyncio.run(story())


def main() -> None:
    """Fill, copy both ways, print."""
    devices = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print("fleet db copy: rows/s, compared")
    with database("postgresql") as server, tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        here, back = (f"sqlite:///{folder}/{name}/fieldline.db" for name in ("here", "back"))
        for name in ("here", "back"):
            (Path(folder) / name).mkdir()
        fill(here, devices)
        limit = _limit(here)
        for way, source, target in (("SQLite → PostgreSQL", here, server), ("PostgreSQL → SQLite", server, back)):
            began = time.monotonic()
            compared = copy_database(ends_of(Path(folder), source, target), lambda *_: None)
            took = time.monotonic() - began
            rows = sum(one.source.rows for one in compared)
            size = sum(path.stat().st_size for path in Path(folder, "here").iterdir())
            equal = all(one.is_equal for one in compared)
            print(
                f"  {way:<20} {rows / took:>9,.0f} rows/s of {rows:,} ({size / took / 1e6:.1f} MB/s) · equal: {equal}"
                f" · {rows / took / limit:.2f} of reading alone ({limit:,.0f})"
            )


def _limit(url: str) -> float:
    engine = reader_engine(parse_url(url), size=1, overflow=0)
    began = time.monotonic()
    with engine.connect() as conn:
        rows = sum(copy.reckon(conn, table).rows for table in copy.TABLES)
    engine.dispose()
    return rows / (time.monotonic() - began)


if __name__ == "__main__":
    main()
