"""How long the last value of one series over all devices takes, and how its spread; the mark is 150 ms for 10,000.

    python bench/fleet/latest.py [--devices 10000] [--series 10] [--database URL]

Asked of the API's own app, JSON made and read, without a socket between. The limit beside it: the same rows fetched
from the database and thrown away.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import insert, select

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from fleet.api.app import create_app  # noqa: E402 - found through the line above
from fleet.core.actor import FLEET, Scope  # noqa: E402
from fleet.services import Services  # noqa: E402
from fleet.store import latest, migrate, token  # noqa: E402
from fleet.store.database import Database  # noqa: E402
from fleet.store.engine import parse_url, writer_engine  # noqa: E402
from fleet.store.schema import device, product  # noqa: E402
from fleet.store.schema import latest as table  # noqa: E402

T0_US = 1_780_000_000_000_000
MARK_MS = 150
ROUNDS = 15


def fill(url: str, devices: int, series: int) -> str:
    """Make the devices, each with a newest reading of every series; returns a token."""
    parsed = parse_url(url)
    migrate.upgrade(parsed)
    engine = writer_engine(parsed)
    with engine.begin() as conn:
        conn.execute(insert(product), {"id": "freezer", "created_us": T0_US})
        names = [f"freezer-{number:06d}" for number in range(devices)]
        rows = [
            {"id": name, "product_id": "freezer", "created_us": T0_US, "site": f"Site {i % 97}"}
            for i, name in enumerate(names)
        ]
        conn.execute(insert(device), rows)
        bodies = [
            latest.dump({f"board.s{n}": [T0_US + i, (i * 37 + n) % 9973 / 100, "Cel"] for n in range(series)})
            for i in range(devices)
        ]
        conn.execute(
            insert(table), [{"device_id": name, "body": body} for name, body in zip(names, bodies, strict=True)]
        )
        secret, _ = token.create(conn, "bench", Scope.READ, now_us=T0_US, by=FLEET)
    engine.dispose()
    return secret


async def measure(url: str, secret: str, devices: int) -> None:
    """Print the figures."""
    async with Database.open(url) as db:
        nothing: Any = None
        app = create_app(Services(db, link=nothing, issue_claims=nothing, replay=nothing, now_us=lambda: T0_US))
        transport = httpx.ASGITransport(app)
        headers = {"Authorization": f"Bearer {secret}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://bench/api/v1", headers=headers) as http:

            async def ask(path: str) -> None:
                answer = await http.get(path, params={"series": "board.s4", "selector": "product:freezer"})
                answer.raise_for_status()
                answer.json()

            async def fetch() -> None:
                wanted = select(device.c.id, device.c.product_id, device.c.site, table.c.body)
                joined = wanted.join(table, table.c.device_id == device.c.id)
                await db.read(lambda conn: conn.execute(joined).all())

            limit = await timed("rows fetched and thrown away (the limit)", fetch)
            for name, path in (
                ("last value of one series, every device", "/fleet/latest"),
                ("the 10 highest", "/fleet/latest?order=highest&limit=10"),
                ("percentiles and histogram", "/fleet/spread"),
            ):
                found = await timed(name, partial(ask, path))
                print(f"    {found / limit:.1f}x the limit; mark {MARK_MS} ms for 10,000, here {devices:,} devices")


async def timed(name: str, work: Callable[[], Awaitable[None]]) -> float:
    """Print median, least and greatest of some rounds, ms, and the median of processor time; returns the median."""
    found, worked = [], []
    for _ in range(ROUNDS):
        begun, cpu = time.perf_counter(), time.process_time()
        await work()
        found.append((time.perf_counter() - begun) * 1000)
        worked.append((time.process_time() - cpu) * 1000)
    median = statistics.median(found)
    print(
        f"{name}: {median:.0f} ms (from {min(found):.0f} to {max(found):.0f}, {ROUNDS} rounds; "
        f"{statistics.median(worked):.0f} ms of a processor)"
    )
    return median


def main() -> None:
    """Fill a database and ask it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--series", type=int, default=10)
    parser.add_argument("--database", help="an empty database; a SQLite file that goes again otherwise")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = said.database or f"sqlite:///{folder}/fleet.db"
        secret = fill(url, said.devices, said.series)
        asyncio.run(measure(url, secret, said.devices))


if __name__ == "__main__":
    main()
