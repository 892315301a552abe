"""Look into the buffer file of an agent that does not run, without leaving a trace in it."""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from agent.errors import Damaged
from agent.wire.codec import decode
from agent.wire.errors import WireError
from agent.wire.messages import Newest, Segment

TABLES = {"events": "event", "telemetry": "segment"}
NEWEST_ROWS = 20  # rows from the end in which the newest values are looked for


@dataclass(frozen=True, slots=True)
class Peeked:
    """What waits for an ack, and the newest values that were committed."""

    rows: int
    bytes: int
    readings: int
    oldest_us: int
    newest: tuple[Newest, ...]


def peek(path: Path) -> Peeked:
    """Read the buffer file; an absent one reads as empty. Raises Damaged."""
    if not path.exists():
        return Peeked(0, 0, 0, 0, ())
    try:
        with opened(path) as db:
            depths = [_depth(db, lane, table) for lane, table in TABLES.items()]
            newest = _newest(db)
    except (sqlite3.Error, WireError) as error:
        raise Damaged(f"The buffer {path} cannot be read: {error}.") from error
    rows, size, readings, _ = (sum(column) for column in zip(*depths, strict=True))
    return Peeked(rows, size, readings, min((it[3] for it in depths if it[3]), default=0), newest)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the buffer file for reading, whether or not an agent runs on it; raises sqlite3.Error."""
    # A file that was closed well is read as it lies; only one that was cut off needs its log replayed.
    how = "mode=ro" if path.with_name(path.name + "-wal").exists() else "immutable=1"
    with contextlib.closing(sqlite3.connect(f"file:{quote(str(path.resolve()))}?{how}", uri=True)) as db:
        yield db


def value(path: Path, key: str) -> str | None:
    """Return a persisted value; None if there is none. Raises sqlite3.Error."""
    if not path.exists():
        return None
    with opened(path) as db:
        row = db.execute("SELECT value FROM value WHERE key = ?", (key,)).fetchone()
    return row[0] if row else None


def _depth(db: sqlite3.Connection, lane: str, table: str) -> tuple[int, int, int, int]:
    stored = db.execute("SELECT value FROM value WHERE key = ?", (f"mark.{lane}",)).fetchone()
    mark = int(stored[0]) if stored else 0
    row = db.execute(
        "SELECT count(*), coalesce(sum(length(body)), 0), coalesce(max(through_readings), 0), coalesce(min(from_us), 0)"  # noqa: S608 - a constant
        f" FROM {table} WHERE seq > ? AND quarantined = 0",
        (mark,),
    ).fetchone()
    before = db.execute(
        f"SELECT coalesce(max(through_readings), 0) FROM {table} WHERE seq <= ?",  # noqa: S608 - a constant
        (mark,),
    ).fetchone()
    readings = max(0, row[2] - before[0]) if lane == "telemetry" else 0
    return row[0], row[1], readings, row[3]


def _newest(db: sqlite3.Connection) -> tuple[Newest, ...]:
    found: dict[str, Newest] = {}
    for (body,) in db.execute("SELECT body FROM segment ORDER BY seq DESC LIMIT ?", (NEWEST_ROWS,)):
        for series in decode(Segment, body).series:
            if series.name not in found:
                found[series.name] = Newest(series.name, series.unit, series.t0_us + sum(series.dt), series.v[-1])
    return tuple(found.values())
