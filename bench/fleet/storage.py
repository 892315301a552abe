"""What telemetry takes at rest, and how long it takes to look at: a store as the server keeps it, filled the same way.

    python bench/fleet/storage.py [--days 2] [--devices 20] [--year 365] [--database sqlite|postgresql|all]

At rest: devices of the swarm (ten series of two decimals, a frame every 10 s) and simulated boards at their own rate,
sealed by the job's own functions, in bytes of pages as the database counts them. Then queries: a year of one series at
10 s, drawn with 1,000 points, its last hours not sealed yet; and the last value of one series over 10,000 devices.
Beside them what the incumbents take: 105 to 159 bytes, and half a minute (docs/reference/performance.md).
"""

import argparse
import itertools
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fixtures"), str(Path(__file__).parent)]

from chunk import PEERS_BYTES, SWARM, Frame, board, swarm  # noqa: E402 - found through the line above

from _store import KINDS, database  # noqa: E402 - found through the line above
from fleets import add_device  # noqa: E402
from seals import a_store  # noqa: E402
from sqlalchemy import Connection, Engine, insert, text  # noqa: E402

from agent.wire.codec import encode, encode_batch  # noqa: E402
from agent.wire.messages import Batch, Clock, ConfigOutcome, Lane, Reported, Segment, Series  # noqa: E402
from firmware_sim import catalogue  # noqa: E402
from fleet.core.intake import Span  # noqa: E402
from fleet.store import batch, chart, latest, schema, seal  # noqa: E402

T0_US = 1_780_000_000_000_000 // 86_400_000_000 * 86_400_000_000
DAY_S = 86_400
BATCH_ROWS = 360
JITTER_US = 500
MOST_ROWS = 100_000  # frames of one device
ASKED = 50  # times that a query is asked
FLEET = 10_000  # devices whose last values are asked for


def fill(engine: Engine, device_id: str, made: Frame, rows: int, *, seal_every: int) -> int:
    """Store so many frames of one device, in batches, and seal them as it goes; returns the readings."""
    names, units, frames, period_s = made
    reported = Reported(0, ConfigOutcome.SEEDED, 0, "", "")
    jitter = random.Random(3)  # noqa: S311 - a signal, no secret
    for seq, first in enumerate(range(0, rows, BATCH_ROWS), 1):
        some = list(itertools.islice(frames, min(BATCH_ROWS, rows - first)))
        times = [T0_US + int((first + n) * period_s * 1e6) + jitter.randrange(JITTER_US) for n in range(len(some))]
        dt = (0, *(after - before for before, after in itertools.pairwise(times)))
        columns = zip(*some, strict=True)
        series = tuple(Series(n, u, times[0], dt, tuple(v)) for n, u, v in zip(names, units, columns, strict=True))
        head = Batch(1, "store", Lane.TELEMETRY, seq - 1, times[0], "boot", "0.1.0", Clock.SYNCED, reported)
        body = encode_batch(head, [encode(Segment(seq, "boot", 0, Clock.SYNCED, series))])
        span = Span(seq, seq, times[0], times[-1], len(some) * len(names))
        with engine.begin() as conn:
            batch.add(conn, device_id, "store", span, body, received_us=times[-1])
        if seq % seal_every == 0:
            seal_all(engine, device_id)
    return rows * len(names)


def seal_all(engine: Engine, device_id: str) -> None:
    """Seal all that waits."""
    more = True
    while more:
        with engine.begin() as conn:
            made = seal.plan(conn, device_id)
            more = made is not None and seal.apply(conn, made, now_us=T0_US) and made.more


_SIZE = text(
    """SELECT pg_total_relation_size(root) + coalesce(
        (SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree(root) WHERE relid <> root), 0
    ) FROM (SELECT cast(:name AS regclass) AS root) AS it"""
)


def sizes(engine: Engine) -> dict[str, int]:
    """Return bytes of pages in use, by table and index."""
    if engine.dialect.name == "sqlite":
        with engine.connect() as conn:
            found = conn.execute(text("SELECT name, sum(pgsize) FROM dbstat GROUP BY name"))
            return {name: int(size) for name, size in found}
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.exec_driver_sql("VACUUM")
        return {name: int(conn.execute(_SIZE, {"name": name}).scalar_one()) for name in ("chunk", "rollup")}


def at_rest(kind: str, days: float, devices: int) -> None:
    """Print bytes a reading of the swarm and of each board."""
    for name in (SWARM, *catalogue.KINDS):
        with database(kind) as url, a_store(url) as engine:
            empty = sizes(engine)
            readings = 0
            started = time.perf_counter()
            for n in range(devices if name == SWARM else 1):
                made = swarm() if name == SWARM else board(catalogue.find(name))
                device_id = f"{name}-{n:06d}"
                with engine.begin() as conn:
                    add_device(conn, device_id)
                rows = min(MOST_ROWS, int(days * DAY_S / made[3]))
                readings += fill(engine, device_id, made, rows, seal_every=8)
                seal_all(engine, device_id)
            took_s = time.perf_counter() - started
            grown = {table: size - empty.get(table, 0) for table, size in sizes(engine).items()}
            chunks = sum(size for table, size in grown.items() if "chunk" in table) / readings
            rollups = sum(size for table, size in grown.items() if "rollup" in table) / readings
            ratios = " / ".join(f"{peer / (chunks + rollups):.0f} x" for peer in PEERS_BYTES)
            print(
                f"{kind:10} {name:8} {readings:10,} readings  chunks {chunks:5.2f} B  with rollups and indexes"
                f" {chunks + rollups:5.2f} B a reading, {ratios} less ({readings / took_s:,.0f}/s)"
            )


def queries(kind: str, days: int) -> None:
    """Print how long charts and last values take."""
    with database(kind) as url, a_store(url) as engine:
        names, units, frames, period_s = swarm()
        one = (names[:1], units[:1], (frame[:1] for frame in frames), period_s)
        device_id = "swarm-000000"
        with engine.begin() as conn:
            add_device(conn, device_id)
        rows = int(days * DAY_S / period_s)
        fill(engine, device_id, one, rows, seal_every=24)
        span = (T0_US + 12_345_678_901, T0_US + days * DAY_S * 10**6)
        ask(
            engine,
            kind,
            f"{days} days at 10 s, 1,000 points",
            lambda conn: draw(conn, device_id, names[0], span),
            "> 30 s",
        )
        day = (span[1] - DAY_S * 10**6, span[1])
        ask(engine, kind, "a day of it, 1,000 points", lambda conn: draw(conn, device_id, names[0], day), "")
        values = {f"board.s{n}": [T0_US, 20.5 + n, "Cel"] for n in range(10)}
        body = json.dumps(values, separators=(",", ":"))
        devices = [f"fleet-{n:06d}" for n in range(FLEET)]
        with engine.begin() as conn:
            for one_id in devices:
                add_device(conn, one_id)
            conn.execute(insert(schema.latest), [{"device_id": one_id, "body": body} for one_id in devices])
        ask(engine, kind, f"last value over {FLEET:,} devices", lambda conn: list(latest.across(conn, "board.s7")), "")


def draw(conn: Connection, device_id: str, series: str, span: tuple[int, int]) -> str:
    """Draw a chart; returns what it was made of."""
    found = chart.points(conn, device_id, series, *span, 1000)
    return f"{len(found.t_us)} points of windows of {found.step_s} s"


def ask(engine: Engine, kind: str, what: str, query: Callable[[Connection], object], peers: str) -> None:
    """Ask again and again; prints median and 95th percentile, by the clock and of processor time."""
    took, worked = [], []
    answer: object = ""
    for _ in range(ASKED):
        with engine.connect() as conn:
            started, working = time.perf_counter(), time.process_time()
            answer = query(conn)
            took.append((time.perf_counter() - started) * 1000)
            worked.append((time.process_time() - working) * 1000)
    p50, p95 = statistics.median(took), statistics.quantiles(took, n=20)[-1]
    cpu = statistics.quantiles(worked, n=20)[-1]
    notes = [f"peers {peers}"] if peers else []
    notes += [answer] if isinstance(answer, str) else []
    print(f"{kind:10} {what:34} p50 {p50:6.1f} ms  p95 {p95:6.1f} ms  p95 of CPU {cpu:6.1f} ms  {', '.join(notes)}")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=2, help="that are stored for the bytes at rest")
    parser.add_argument("--devices", type=int, default=20, help="of the swarm")
    parser.add_argument("--year", type=int, default=365, help="days of one series that are drawn; 0: none")
    parser.add_argument("--database", choices=[*KINDS, "all"], default="all")
    arguments = parser.parse_args()
    kinds = KINDS if arguments.database == "all" else [arguments.database]
    for kind in kinds:
        if arguments.days:
            at_rest(kind, arguments.days, arguments.devices)
        if arguments.year:
            queries(kind, arguments.year)


if __name__ == "__main__":
    main()
