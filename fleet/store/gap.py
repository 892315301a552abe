"""Gaps: readings or events that existed and will not come, shown wherever the data is shown.

A gap with a count was explained (by the device, or by the quarantine); one without (`count` NULL) is a hole that the
server found on its own. What is explained takes the place of what was only found, whichever comes first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, delete, func, insert, select

from agent.wire.messages import Gap, Lane
from fleet.core.hole import Hole, subtract
from fleet.store.schema import gap as table
from fleet.store.upsert import upsert

FOUND = "the rows never arrived and the device gave no reason"
MAX_PAGE = 10_000  # gaps


@dataclass(frozen=True, slots=True)
class KeptGap:
    """One gap as it is kept."""

    store_id: str
    lane: Lane
    from_seq: int
    to_seq: int
    from_us: int
    to_us: int
    count: int | None  # None: nobody knows
    reason: str
    received_us: int


def explain(conn: Connection, device_id: str, store_id: str, gap: Gap, *, received_us: int) -> None:
    """Keep a gap that somebody explained; found holes that it covers are cut back to what it leaves unexplained."""
    here = _of(device_id, store_id, gap.lane)
    overlaps = (table.c.from_seq <= gap.to_seq) & (table.c.to_seq >= gap.from_seq)
    found = conn.execute(select(table).where(here, overlaps, table.c.count.is_(None))).all()
    for row in found:
        conn.execute(delete(table).where(here, table.c.from_seq == row.from_seq))
        for left in subtract(_hole(row), [(gap.from_seq, gap.to_seq)]):
            _insert_found(conn, device_id, store_id, gap.lane, left, received_us=row.received_us)
    key = {"device_id": device_id, "store_id": store_id, "lane": gap.lane.value, "from_seq": gap.from_seq}
    values = {
        "to_seq": gap.to_seq,
        "from_us": min(gap.from_us, gap.to_us),
        "to_us": max(gap.from_us, gap.to_us),
        "count": gap.count,
        "reason": gap.reason,
        "received_us": received_us,
    }
    upsert(conn, table, list(key), {**key, **values})


def find(  # noqa: PLR0913 - one row
    conn: Connection, device_id: str, store_id: str, lane: Lane, hole: Hole, *, received_us: int
) -> list[Hole]:
    """Keep what of a hole nobody explained, and return it."""
    here = _of(device_id, store_id, lane)
    overlaps = (table.c.from_seq <= hole.to_seq) & (table.c.to_seq >= hole.from_seq)
    known = conn.execute(select(table.c.from_seq, table.c.to_seq).where(here, overlaps)).all()
    left = subtract(hole, [(row.from_seq, row.to_seq) for row in known])
    for part in left:
        _insert_found(conn, device_id, store_id, lane, part, received_us=received_us)
    return left


def missing(conn: Connection, device_id: str, store_id: str, lane: Lane, seqs: Sequence[int]) -> set[int]:
    """Return which of the seqs, which grow, lie in a gap."""
    if not seqs:
        return set()
    here = _of(device_id, store_id, lane) & (table.c.from_seq <= seqs[-1]) & (table.c.to_seq >= seqs[0])
    gaps = conn.execute(select(table.c.from_seq, table.c.to_seq).where(here)).all()
    return {seq for seq in seqs if any(low <= seq <= high for low, high in gaps)}


def fill(conn: Connection, device_id: str, store_id: str, lane: Lane, seqs: tuple[int, int]) -> None:
    """Cut gaps back to what is still missing once the rows of these seqs, both inclusive, have come after all.

    What is left of a gap keeps its reason, and of its count the share that its seqs are.
    """
    here = _of(device_id, store_id, lane)
    overlaps = (table.c.from_seq <= seqs[1]) & (table.c.to_seq >= seqs[0])
    for row in conn.execute(select(table).where(here, overlaps)).all():
        conn.execute(delete(table).where(here, table.c.from_seq == row.from_seq))
        values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
        for left in subtract(_hole(row), [seqs]):
            share = (left.to_seq - left.from_seq + 1) / (row.to_seq - row.from_seq + 1)
            count = None if values["count"] is None else round(values["count"] * share)
            part = {"from_seq": left.from_seq, "to_seq": left.to_seq, "count": count}
            conn.execute(insert(table).values({**values, **part}))


def page(
    conn: Connection, device_id: str, *, from_us: int | None = None, to_us: int | None = None, limit: int = 1000
) -> list[KeptGap]:
    """Return the gaps that touch `from_us` ≤ t < `to_us`, by time."""
    query = select(table).where(table.c.device_id == device_id)
    if from_us is not None:
        query = query.where(table.c.to_us >= from_us)
    if to_us is not None:
        query = query.where(table.c.from_us < to_us)
    query = query.order_by(table.c.from_us, table.c.store_id, table.c.lane, table.c.from_seq)
    rows: Sequence[Row[tuple[object, ...]]] = conn.execute(query.limit(min(limit, MAX_PAGE))).all()
    return [
        KeptGap(
            store_id=row.store_id,
            lane=Lane(row.lane),
            from_seq=row.from_seq,
            to_seq=row.to_seq,
            from_us=row.from_us,
            to_us=row.to_us,
            count=row._mapping["count"],  # noqa: SLF001 - `row.count` is the tuple's own method
            reason=row.reason,
            received_us=row.received_us,
        )
        for row in rows
    ]


def count(conn: Connection, device_id: str) -> int:
    """Return how many gaps the device has."""
    return conn.execute(select(func.count()).select_from(table).where(table.c.device_id == device_id)).scalar_one()


def _of(device_id: str, store_id: str, lane: Lane):  # type: ignore[no-untyped-def] # noqa: ANN202 - SQLAlchemy's expression
    return (table.c.device_id == device_id) & (table.c.store_id == store_id) & (table.c.lane == lane.value)


def _hole(row: Row[tuple[object, ...]]) -> Hole:
    return Hole(row.from_seq, row.to_seq, row.from_us, row.to_us)


def _insert_found(  # noqa: PLR0913 - one row
    conn: Connection, device_id: str, store_id: str, lane: Lane, hole: Hole, *, received_us: int
) -> None:
    conn.execute(
        insert(table).values(
            device_id=device_id,
            store_id=store_id,
            lane=lane.value,
            from_seq=hole.from_seq,
            to_seq=hole.to_seq,
            from_us=hole.from_us,
            to_us=hole.to_us,
            count=None,
            reason=FOUND,
            received_us=received_us,
        )
    )
