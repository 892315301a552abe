"""Gaps: readings or events that existed and will not come, shown wherever the data is shown.

A gap with a count was explained (by the device, or by the quarantine); one without (`count` NULL) is a hole that the
server found on its own. What is explained takes the place of what was only found, whichever comes first.

A gap may span rows that are here: of thinned rows one is left, and of many holes in a batch the last record spans the
rest. Gaps may overlap then; their first seqs differ.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice, takewhile
from operator import itemgetter

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select

from agent.wire.limits import MAX_SEQ
from agent.wire.messages import Gap, Lane
from fleet.core.hole import Found, Hole, bounded, uncovered
from fleet.store.bulk import upsert_all
from fleet.store.schema import gap as table

FOUND = "the rows never arrived and the device gave no reason"
MAX_PAGE = 10_000  # gaps
READ_AT_ONCE = 1000  # gaps
_KEY = ("device_id", "store_id", "lane", "from_seq")
_COLUMNS = (*_KEY, "to_seq", "from_us", "to_us", "count", "reason", "received_us")


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


def explain(  # noqa: PLR0913 - the gaps of one batch
    conn: Connection, device_id: str, store_id: str, lane: Lane, gaps: Sequence[Gap], *, received_us: int
) -> None:
    """Keep gaps of a lane that somebody explained, of which there must be some.

    Found holes that they cover are cut back to what they leave unexplained.
    """
    here = _of(device_id, store_id, lane)
    ranges = sorted((one.from_seq, one.to_seq) for one in gaps)
    overlaps = (table.c.from_seq <= max(high for _, high in ranges)) & (table.c.to_seq >= ranges[0][0])
    found = conn.execute(select(table).where(here, overlaps, table.c.count.is_(None))).all()
    for row in found:
        parts = bounded(uncovered([_hole(row)], ranges))
        if [one.hole for one in parts] == [_hole(row)]:
            continue
        conn.execute(delete(table).where(here, table.c.from_seq == row.from_seq))
        for left in (one.hole for one in parts):
            _insert_behind_known(conn, here, left, _values(row))
    last = {one.from_seq: one for one in gaps}  # of two that begin at one seq the later stands
    rows = [
        (
            *(device_id, store_id, lane.value, one.from_seq, one.to_seq),
            *(min(one.from_us, one.to_us), max(one.from_us, one.to_us), one.count, one.reason, received_us),
        )
        for one in last.values()
    ]
    upsert_all(conn, table, _KEY, _COLUMNS, rows)


def find(  # noqa: PLR0913 - the holes of one batch
    conn: Connection, device_id: str, store_id: str, lane: Lane, holes: Sequence[Hole], *, received_us: int
) -> list[Found]:
    """Keep what of holes, which come in order, nobody explained, and return it: `MAX_HOLES` records at most."""
    here = _of(device_id, store_id, lane)
    overlaps = (table.c.from_seq <= holes[-1].to_seq) & (table.c.to_seq >= holes[0].from_seq)
    known = select(table.c.from_seq, table.c.to_seq).where(here, overlaps).order_by(table.c.from_seq)
    with conn.execute(known.execution_options(yield_per=READ_AT_ONCE)) as rows:
        found = bounded(uncovered(holes, ((row.from_seq, row.to_seq) for row in rows)))
    same = {"device_id": device_id, "store_id": store_id, "lane": lane.value, "received_us": received_us, "count": None}
    if found:
        conn.execute(insert(table), [{**same, **asdict(one.hole), "reason": reason(one)} for one in found])
    return found


def reason(found: Found) -> str:
    """Return why rows that were found to be missing are."""
    if found.holes == 1:
        return FOUND
    return f"up to {found.rows} of these rows, in {found.holes} holes, never arrived and the device gave no reason"


def missing(conn: Connection, device_id: str, store_id: str, lane: Lane, seqs: Sequence[int]) -> set[int]:
    """Return which of the seqs, which grow, lie in a gap."""
    if not seqs:
        return set()
    here = _of(device_id, store_id, lane) & (table.c.from_seq <= seqs[-1]) & (table.c.to_seq >= seqs[0])
    gaps = conn.execute(select(table.c.from_seq, table.c.to_seq).where(here).order_by(table.c.from_seq)).all()
    here_already = uncovered([Hole(seq, seq, 0, 0) for seq in seqs], [(low, high) for low, high in gaps])
    return set(seqs) - {one.from_seq for one in here_already}


def fill(conn: Connection, device_id: str, store_id: str, lane: Lane, runs: Sequence[tuple[int, int]]) -> None:
    """Cut gaps back to what is still missing once the rows of these runs of seqs, in order, have come after all.

    What is left of a gap keeps its reason, and of its count the share that its seqs are. It is `MAX_HOLES` parts at
    most, of which the last may span rows that came. Of two explained that begin at one seq the longer stands for both.
    """
    here = _of(device_id, store_id, lane)
    behind = min(runs[-1][1] + 1, MAX_SEQ)  # where a part may begin
    near = (table.c.from_seq <= behind) & (table.c.to_seq >= runs[0][0])
    before = conn.execute(select(table).where(here, near).order_by(table.c.from_seq)).all()
    explained: dict[int, tuple[int, dict[str, object]]] = {}
    found: list[tuple[Hole, dict[str, object]]] = []
    for row in before:
        values = _values(row)
        for left in bounded(uncovered([_hole(row)], _within(runs, row.from_seq, row.to_seq))):
            from_seq, to_seq = left.hole.from_seq, left.hole.to_seq
            if values["count"] is None:
                found.append((left.hole, values))
            elif to_seq > explained.get(from_seq, (0,))[0]:
                count = _share(row, left.rows)
                explained[from_seq] = to_seq, {**values, "from_seq": from_seq, "to_seq": to_seq, "count": count}
    for row in before:
        if explained.get(row.from_seq, (0, None))[1] == _values(row):
            del explained[row.from_seq]
        else:
            conn.execute(delete(table).where(here, table.c.from_seq == row.from_seq))
    if explained:
        conn.execute(insert(table), [values for _, values in explained.values()])
    for part, values in found:
        _insert_behind_known(conn, here, part, values)


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


def _of(device_id: str, store_id: str, lane: Lane) -> ColumnElement[bool]:
    return (table.c.device_id == device_id) & (table.c.store_id == store_id) & (table.c.lane == lane.value)


def _hole(row: Row[tuple[object, ...]]) -> Hole:
    return Hole(row.from_seq, row.to_seq, row.from_us, row.to_us)


def _values(row: Row[tuple[object, ...]]) -> dict[str, object]:
    return dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it


def _within(runs: Sequence[tuple[int, int]], from_seq: int, to_seq: int) -> Iterator[tuple[int, int]]:
    """Yield the runs that touch a gap, of many that do not."""
    first = bisect_left(runs, from_seq, key=itemgetter(1))
    return takewhile(lambda run: run[0] <= to_seq, islice(runs, first, None))


def _share(row: Row[tuple[object, ...]], rows: int) -> int:
    """Return what a part of so many seqs has of a gap's count, rounded."""
    count: int = row._mapping["count"]  # noqa: SLF001 - `row.count` is the tuple's own method
    whole: int = row.to_seq - row.from_seq + 1
    return (2 * count * rows + whole) // (2 * whole)


def _insert_behind_known(conn: Connection, here: ColumnElement[bool], part: Hole, values: Mapping[str, object]) -> None:
    """Keep a part of a found gap, from where no gap begins: a record that spans holes spans known gaps, too."""
    from_seq = part.from_seq
    while from_seq <= part.to_seq:
        known = conn.execute(select(table.c.to_seq).where(here, table.c.from_seq == from_seq)).scalar()
        if known is None:
            conn.execute(insert(table).values({**values, "from_seq": from_seq, "to_seq": part.to_seq}))
            return
        from_seq = known + 1
