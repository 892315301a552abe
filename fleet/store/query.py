"""Reading telemetry back: one series of one device, in order of event time, whatever order it came in.

Batches are read by the time at which they begin, and merged: a reading leaves as soon as no later batch can hold an
older one, so memory holds the batches that overlap and no more. Readings with the same time stamp come in the order
of batches, then of the batch: that order never changes, so a place in it (`Cursor`) stays valid while data comes in.
"""

import heapq
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import Connection, select

from agent.wire.messages import Value
from fleet.store import body, gap, latest
from fleet.store.gap import KeptGap
from fleet.store.schema import batch

Reading = tuple[int, Value]
"""Event time in µs, and value."""

BODIES_AT_ONCE = 16  # batches fetched by one query
IDS_AT_ONCE = 1024  # batches named by one round trip
MAX_GAPS = 1000  # gaps returned with points

_CURSOR = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})")  # both fit 64 bits


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place between readings: after the first `count` readings of the time `t_us`."""

    t_us: int
    count: int

    def __str__(self) -> str:
        return f"{self.t_us}.{self.count}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Read a cursor as `str` wrote it; raises ValueError."""
        found = _CURSOR.fullmatch(text)
        if found is None:
            msg = f"{text[:40]!r} is no cursor"
            raise ValueError(msg)
        return cls(int(found[1]), int(found[2]))


@dataclass(frozen=True, slots=True)
class SeriesInfo:
    """One series of a device, and its newest reading."""

    name: str
    unit: str  # UCUM
    t_us: int
    v: Value


@dataclass(frozen=True, slots=True)
class Points:
    """A series for a chart: single readings (`v`), or per bucket the least and greatest (`low`, `high`).

    A bucket begins at its `t_us` and lasts `bucket_us`; buckets without a number are left out, so a spike never
    vanishes and a gap is never drawn over. `bucket_us` is 0 for single readings.
    """

    t_us: list[int]
    v: list[Value]
    low: list[float]
    high: list[float]
    bucket_us: int
    gaps: list[KeptGap]


def readings(  # noqa: PLR0913 - which, from, to, and where in it
    conn: Connection,
    device_id: str,
    series: str,
    from_us: int,
    to_us: int,
    *,
    after: Cursor | None = None,
    limit: int | None = None,
) -> Iterator[Reading]:
    """Yield readings with `from_us` ≤ t < `to_us` in order of event time, lazily and in bounded memory.

    The iterator reads from `conn` while it is consumed (`Database.stream`, or a list made inside the work).
    """
    if after is not None:
        from_us = max(from_us, after.t_us)
    found = _merged(conn, device_id, series, from_us, to_us)
    if after is not None:
        found = _skip(found, after)
    return found if limit is None else islice(found, limit)


def cursor_after(page: Sequence[Reading], after: Cursor | None = None) -> Cursor | None:
    """Return the cursor that goes on after a page which itself began at `after`; None if the page is empty."""
    if not page:
        return after
    t_us = page[-1][0]
    count = next((i for i, reading in enumerate(reversed(page)) if reading[0] != t_us), len(page))
    if count == len(page) and after is not None and after.t_us == t_us:
        count += after.count
    return Cursor(t_us, count)


def series_of(conn: Connection, device_id: str) -> list[SeriesInfo]:
    """Return the device's series by name, each with its unit and newest reading."""
    return [SeriesInfo(name, new.unit, new.t_us, new.v) for name, new in latest.get(conn, device_id).items()]


def gaps(conn: Connection, device_id: str, from_us: int, to_us: int) -> list[KeptGap]:
    """Return the gaps that touch `from_us` ≤ t < `to_us`."""
    return gap.page(conn, device_id, from_us=from_us, to_us=to_us, limit=MAX_GAPS)


def points(  # noqa: PLR0913, PLR0917 - which, from, to, how many: the order of `readings`
    conn: Connection, device_id: str, series: str, from_us: int, to_us: int, points: int
) -> Points:
    """Return at most `points` entries for a chart of the numbers of a series: all readings, or buckets."""
    found = readings(conn, device_id, series, from_us, to_us)
    single = list(islice(found, points + 1))
    missing = gaps(conn, device_id, from_us, to_us)
    if len(single) <= points:
        numbers = [reading for reading in single if not isinstance(reading[1], str)]
        return Points([t for t, _ in numbers], [v for _, v in numbers], [], [], 0, missing)
    bucket_us = max(1, -(-(to_us - from_us) // points))
    times: list[int] = []
    low: list[float] = []
    high: list[float] = []
    for t_us, value in _chain(single, found):
        if value is None or isinstance(value, str):
            continue
        start_us = from_us + (t_us - from_us) // bucket_us * bucket_us
        if not times or times[-1] != start_us:
            times.append(start_us)
            low.append(value)
            high.append(value)
        elif value < low[-1]:
            low[-1] = value
        elif value > high[-1]:
            high[-1] = value
    return Points(times, [], low, high, bucket_us, missing)


def _chain(first: list[Reading], rest: Iterator[Reading]) -> Iterator[Reading]:
    yield from first
    first.clear()
    yield from rest


def _skip(found: Iterator[Reading], after: Cursor) -> Iterator[Reading]:
    left = after.count
    for reading in found:
        if reading[0] == after.t_us and left:
            left -= 1
            continue
        yield reading


def _merged(conn: Connection, device_id: str, series: str, from_us: int, to_us: int) -> Iterator[Reading]:
    """Merge the batches of the span. The heap holds (t, batch, position, value): values are never compared."""
    heap: list[tuple[int, int, int, Value]] = []
    for batch_id, starts_us, rows in _batches(conn, device_id, series, from_us, to_us):
        while heap and heap[0][0] < starts_us:
            t_us, _, _, value = heapq.heappop(heap)
            yield t_us, value
        wanted = [(t, batch_id, i, v) for i, (t, v) in enumerate(rows) if from_us <= t < to_us]
        if heap:
            for entry in wanted:
                heapq.heappush(heap, entry)
        else:
            heap = wanted  # sorted, so a heap already
    while heap:
        t_us, _, _, value = heapq.heappop(heap)
        yield t_us, value


def _batches(
    conn: Connection, device_id: str, series: str, from_us: int, to_us: int
) -> Iterator[tuple[int, int, list[Reading]]]:
    """Yield (id, start, readings of the series) of the batches that touch the span, by start."""
    mine = (batch.c.device_id == device_id) & (batch.c.to_us >= from_us) & (batch.c.from_us < to_us)
    named = select(batch.c.id, batch.c.from_us).where(mine).order_by(batch.c.from_us, batch.c.id)
    lazily = {"stream_results": True, "max_row_buffer": IDS_AT_ONCE}
    with conn.execute(named, execution_options=lazily) as result:
        for some in result.partitions(BODIES_AT_ONCE):
            bodies = select(batch.c.id, batch.c.first_seq, batch.c.last_seq, batch.c.body).where(
                batch.c.id.in_([row.id for row in some])
            )
            by_id = {row.id: row for row in conn.execute(bodies)}
            for row in some:
                kept = by_id[row.id]
                yield row.id, row.from_us, body.readings(kept.body, series, kept.first_seq, kept.last_seq)
