"""Parts of tables by time, on PostgreSQL; SQLite has none, and all of this does nothing there.

Making a part: a table like its parent, what of it lies in the rest already is moved, then it is attached, which takes a
lock that neither readers nor writers of other parts wait for. Dropping one takes a lock that waits for those who read,
and those who come then wait for it: so it is given up after `LOCK_MS`, and tried again at the next turn.
"""

import re
from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, Connection, and_, false, or_, select, text
from sqlalchemy.exc import DBAPIError

from fleet.core.partition import SPLITS, Part, Split
from fleet.core.retention import Kept
from fleet.store.engine import is_sqlite, may_retry
from fleet.store.schema import chunk, rollup, seal

LOCK_MS = 1000
MOST_PARTS = 200  # made for what is there already
LAST_US = 4_102_444_800_000_000  # 2100-01-01: later is odd, and goes to the rest

_MAKING = 0x6669656C64706172  # PostgreSQL's advisory lock of making parts: "fieldpar"

_BOUNDS = re.compile(r"FOR VALUES FROM \('(-?\d+)'\) TO \('(-?\d+)'\)")
_PARTS = text(
    "SELECT child.relname, pg_get_expr(child.relpartbound, child.oid) FROM pg_inherits"
    " JOIN pg_class child ON child.oid = inhrelid WHERE inhparent = to_regclass(:parent)"
)
_MARKS = {Kept.READINGS: seal.c.raw_from_us, Kept.QUARTERS: seal.c.quarter_from_us}
_VIOLATION = "23514"  # a row came into the rest while its part was made: it is there, and moved next time


def parts(conn: Connection) -> dict[Kept, list[Part]]:
    """Return the parts that there are, by time; nothing where a table is not kept in parts."""
    if is_sqlite(conn):
        return {}
    return {kept: _parts(conn, split) for kept, split in SPLITS.items()}


def make_ahead(conn: Connection, now_us: int) -> list[Part]:
    """Make the parts that are lacking, in the transaction of `conn`; returns them. See `is_to_be_tried_again`."""
    if not _lacking(conn, now_us):
        return []
    _bound_locks(conn)
    conn.execute(text(f"SELECT pg_advisory_xact_lock({_MAKING})"))  # nodes that start at once take turns
    lacking = _lacking(conn, now_us)
    for split, part in lacking:
        _make(conn, split, part)
    return [part for _, part in lacking]


def make_at(conn: Connection, kept: Kept, starts: Iterable[int]) -> None:
    """Make the parts that begin at these times and are lacking, the newest `MOST_PARTS`, of a table that is empty."""
    split, taken = SPLITS[kept], {part.from_us for part in parts(conn).get(kept, ())}
    for start in sorted(start for start in starts if 0 <= start < LAST_US)[-MOST_PARTS:]:
        if start not in taken:
            _make(conn, split, Part(split.name_of(start), start, start + split.period_us))


def drop(conn: Connection, kept: Kept, part: Part) -> bool:
    """Drop a part, if still no device is said to hold anything of it; tells whether it was dropped."""
    _bound_locks(conn)
    conn.execute(text(f"LOCK TABLE {SPLITS[kept].table} IN ACCESS EXCLUSIVE MODE"))  # nobody seals meanwhile
    if not is_passed(conn, kept, part):
        return False
    conn.execute(text(f"DROP TABLE IF EXISTS {part.name}"))
    return True


def is_passed(conn: Connection, kept: Kept, part: Part) -> bool:
    """Tell whether the part ends before everything that any device is said to hold."""
    behind = select(seal.c.device_id).where(_MARKS[kept] < part.to_us).limit(1)
    return conn.execute(behind).first() is None


def is_to_be_tried_again(error: DBAPIError) -> bool:
    """Tell whether making or dropping failed only because somebody was in the way."""
    return may_retry(error) or getattr(error.orig, "sqlstate", None) == _VIOLATION


def within(kept: Kept, spans: Sequence[tuple[int, int]]) -> ColumnElement[bool]:
    """Return the condition that a row begins in one of the spans."""
    t_us = chunk.c.from_us if kept is Kept.READINGS else rollup.c.from_us
    return or_(false(), *(and_(t_us >= start, t_us < end) for start, end in spans))


def _lacking(conn: Connection, now_us: int) -> list[tuple[Split, Part]]:
    return [
        (SPLITS[kept], part)
        for kept, known in parts(conn).items()
        for part in SPLITS[kept].wanted(now_us)
        if not any(part.from_us < one.to_us and one.from_us < part.to_us for one in known)
    ]


def _parts(conn: Connection, split: Split) -> list[Part]:
    found = []
    for name, bounds in conn.execute(_PARTS, {"parent": split.table}):
        match = _BOUNDS.fullmatch(bounds or "")  # None: another node has dropped it meanwhile
        if match is not None:
            found.append(Part(name, int(match[1]), int(match[2])))
    return sorted(found, key=lambda part: part.from_us)


def _make(conn: Connection, split: Split, part: Part) -> None:
    conn.execute(text(f"CREATE TABLE {part.name} (LIKE {split.table} INCLUDING DEFAULTS INCLUDING STORAGE)"))
    here = f"from_us >= {part.from_us} AND from_us < {part.to_us}"
    moved = f"DELETE FROM {split.rest} WHERE {here} RETURNING *"  # noqa: S608 - names and numbers of our own
    conn.execute(text(f"WITH moved AS ({moved}) INSERT INTO {part.name} SELECT * FROM moved"))  # noqa: S608 - the same
    bounds = f"FOR VALUES FROM ({part.from_us}) TO ({part.to_us})"
    conn.execute(text(f"ALTER TABLE {split.table} ATTACH PARTITION {part.name} {bounds}"))


def _bound_locks(conn: Connection) -> None:
    conn.execute(text(f"SET LOCAL lock_timeout = {LOCK_MS}"))
