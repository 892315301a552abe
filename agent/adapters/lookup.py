"""Look things up in the buffer file, beside a running agent or without one; nothing in it is changed.

Each question opens the file anew and reads it in pages of `PAGE_ROWS` rows, each in a read of its own: memory stays
bounded however much waits, and the writer's log is never held open for long.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.adapters.peek import TABLES, opened
from agent.core.answers import RULE_PREFIX, LaneDepth, ReadingAnswer, Readings, ReadingsQuestion, age_s
from agent.core.answers import VERSION as SHAPE
from agent.core.status import iso
from agent.errors import Damaged, Misconfigured, Unavailable
from agent.wire.codec import decode
from agent.wire.errors import WireError
from agent.wire.messages import DeviceEvent, Segment

PAGE_ROWS = 64  # rows in memory at a time; at most MAX_ROW_BYTES each


def segments(path: Path, from_us: int, to_us: int, *, waiting: bool = False) -> Iterator[Segment]:
    """Read the segments that touch a span of event time, oldest first; with `waiting` only those not yet acked."""
    for body in _bodies(path, "telemetry", (from_us, to_us), waiting=waiting):
        yield decode(Segment, body)


def events(path: Path, from_us: int, to_us: int, *, waiting: bool = False) -> Iterator[DeviceEvent]:
    """Read the events of a span of time, oldest first."""
    for body in _bodies(path, "events", (from_us, to_us), waiting=waiting):
        yield decode(DeviceEvent, body)


def readings(path: Path, question: ReadingsQuestion, *, running: bool) -> Readings:
    """Answer a question for readings. Raises Misconfigured, Unavailable or Damaged."""
    found: list[ReadingAnswer] = []
    more = False
    for body in _bodies(path, "telemetry", (question.from_us, question.to_us), newest_first=True):
        if len(found) >= question.limit:
            more = True
            break
        found += readings_of(decode(Segment, body), question)
    found.sort(key=lambda it: it.t_us)
    more = more or len(found) > question.limit
    return Readings(SHAPE, running, tuple(found[-question.limit :]), more)


def readings_of(segment: Segment, question: ReadingsQuestion) -> Iterator[ReadingAnswer]:
    """Return the readings of one segment that are asked for, series by series."""
    for series in segment.series:
        if question.series and series.name != question.series:
            continue
        t_us = series.t0_us
        for dt, v in zip(series.dt, series.v, strict=True):
            t_us += dt
            if question.from_us <= t_us <= question.to_us:
                yield ReadingAnswer(series.name, series.unit, t_us, iso(t_us), v)


def lanes(path: Path, now_us: int) -> tuple[LaneDepth, ...]:
    """Return what each lane holds, by the marks that are on the disk; a running agent may know of newer acks."""
    if not path.exists():
        return ()
    with _reading(path) as db:
        return tuple(_lane(db, lane, table, now_us) for lane, table in TABLES.items())


def kept_rows(path: Path) -> dict[str, int]:
    """Return how many rows of each lane are in the file, acked or not: a lane's rows are one run of seqs."""
    found = {}
    with _reading(path) as db:
        for lane, table in TABLES.items():
            least, most = db.execute(
                f"SELECT (SELECT min(seq) FROM {table}), (SELECT max(seq) FROM {table})"  # noqa: S608 - constants
            ).fetchone()
            found[lane] = most - least + 1 if most is not None else 0
    return found


def rule_values(path: Path) -> dict[str, str]:
    """Return the states of the rules as they are stored."""
    if not path.exists():
        return {}
    with _reading(path) as db:
        rows = db.execute(
            "SELECT key, value FROM value WHERE substr(key, 1, ?) = ?", (len(RULE_PREFIX), RULE_PREFIX)
        ).fetchall()
    return dict(rows)


def file_bytes(path: Path) -> int:
    """Return what the buffer takes of the disk."""
    size = 0
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(OSError):
            size += path.with_name(path.name + suffix).stat().st_size
    return size


def _bodies(
    path: Path, lane: str, span: tuple[int, int], *, newest_first: bool = False, waiting: bool = False
) -> Iterator[bytes]:
    if not path.exists():
        return
    after, order = ("<", "DESC") if newest_first else (">", "ASC")
    seq = 2**63 - 1 if newest_first else _mark(path, lane) if waiting else 0
    query = (
        f"SELECT seq, body FROM {TABLES[lane]} WHERE seq {after} ? AND to_us >= ? AND from_us <= ?"  # noqa: S608 - constants
        f" ORDER BY seq {order} LIMIT {PAGE_ROWS}"
    )
    while True:
        with _reading(path) as db:
            page = db.execute(query, (seq, *span)).fetchall()
        yield from (body for _, body in page)
        if len(page) < PAGE_ROWS:
            return
        seq = page[-1][0]


def _lane(db: sqlite3.Connection, lane: str, table: str, now_us: int) -> LaneDepth:
    mark = _stored_mark(db, lane)
    waits = (
        "SELECT count(*), coalesce(sum(length(body)), 0), coalesce(min(from_us), 0), coalesce(max(through_readings), 0)"
    )
    rows, size, oldest_us, through = db.execute(
        f"{waits} FROM {table} WHERE seq > ? AND quarantined = 0",
        (mark,),
    ).fetchone()
    kept, before = db.execute(
        f"SELECT count(*), coalesce(max(through_readings), 0) FROM {table} WHERE seq <= ?",  # noqa: S608 - a constant
        (mark,),
    ).fetchone()
    return LaneDepth(
        lane, rows, size, max(0, through - before), oldest_us, iso(oldest_us), age_s(oldest_us, now_us), kept
    )


def _mark(path: Path, lane: str) -> int:
    with _reading(path) as db:
        return _stored_mark(db, lane)


def _stored_mark(db: sqlite3.Connection, lane: str) -> int:
    row = db.execute("SELECT value FROM value WHERE key = ?", (f"mark.{lane}",)).fetchone()
    return int(row[0]) if row else 0


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    if not os.access(path, os.R_OK):
        raise Misconfigured(f"{path} may not be read by this user.", hint="Run it with sudo.")
    try:
        with opened(path) as db:
            yield db
    except sqlite3.OperationalError as error:
        raise Unavailable(f"The buffer {path} cannot be read now: {error}.", hint="Try again, with sudo.") from error
    except (sqlite3.Error, WireError) as error:
        raise Damaged(f"The buffer {path} cannot be read: {error}.", hint="sudo fleet-agent doctor") from error
