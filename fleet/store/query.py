"""Reading telemetry back: one series of one device, in order of event time, whatever order it came in.

What is sealed stands in chunks, which do not overlap; what is not, in batches, which may. Batches are read by the time
at which they begin, and merged: a reading leaves as soon as no later batch can hold an older one, so memory holds the
batches that overlap and no more. Readings with the same time stamp come in the order in which they were sealed, then of
batches, then of the batch. Sealing keeps that order, so a place in it (`Cursor`) stays valid while data comes in and is
sealed.
"""

import heapq
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from sqlalchemy import Connection, bindparam, select

from agent.wire.messages import Value
from fleet.core.chunk import CLOCKS, sensor_of
from fleet.core.column import Ints, Values, pick, values_of
from fleet.store import body, chunk, gap, latest
from fleet.store.batch import BODIES_AT_ONCE, bodies
from fleet.store.gap import KeptGap
from fleet.store.schema import batch

Reading = tuple[int, Value]
"""Event time in µs, and value."""

IDS_AT_ONCE = 1024  # batches named by one round trip
MAX_GAPS = 1000  # gaps returned with points

_TOUCHING = select(batch.c.id).where(
    batch.c.device_id == bindparam("device_id"),
    batch.c.to_us >= bindparam("from_us"),
    batch.c.from_us < bindparam("until_us"),
)
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


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Readings of one series in columns, by time; `clock` holds numbers of `fleet.core.chunk.CLOCKS`."""

    t_us: Ints
    v: Values
    clock: Ints

    def __len__(self) -> int:
        return len(self.t_us)

    def values(self) -> list[Value]:
        """Return the values as a list."""
        return self.v if isinstance(self.v, list) else self.v.tolist()


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
    span = (conn, device_id, series, from_us, to_us)
    found: Iterator[Reading] = heapq.merge(_sealed_readings(*span), _merged(*span), key=_time)
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


def blocks(conn: Connection, device_id: str, series: str, from_us: int, to_us: int) -> Iterator[Block]:
    """Yield the readings of a series with `from_us` ≤ t < `to_us` in columns: those sealed, then batch by batch.

    Each block is in order of time; blocks of batches may overlap with others. Taken together and sorted by time
    (stable) they are what `readings` yields.
    """
    yield from sealed(conn, device_id, series, from_us, to_us)
    yield from unsealed(conn, device_id, series, from_us, to_us)


def sealed(conn: Connection, device_id: str, series: str, from_us: int, to_us: int) -> Iterator[Block]:
    """Yield what of `blocks` is sealed, in order of time."""
    for entry in chunk.walk(conn, device_id, sensor_of(series), from_us, to_us):
        for rows in chunk.rows(conn, device_id, entry, {series}):
            yield from _within(Block(rows.t_us, rows.v, rows.clock), from_us, to_us)


def unsealed(conn: Connection, device_id: str, series: str, from_us: int, to_us: int) -> Iterator[Block]:
    """Yield what of `blocks` is not sealed yet, batch by batch as they came."""
    numbers = {clock: number for number, clock in enumerate(CLOCKS)}
    for kept in bodies(conn, touching(conn, device_id, from_us, to_us)):
        times, values, clocks = body.columns(kept.body, series, kept.first_seq, kept.last_seq)
        if times:
            clock = np.array([numbers[one] for one in clocks], np.int64)
            yield from _within(Block(np.array(times, np.int64), values_of(values), clock), from_us, to_us)


def recent(
    conn: Connection, device_id: str, from_us: int, to_us: int
) -> Iterator[tuple[int, Iterator[tuple[str, Iterable[Reading]]]]]:
    """Yield the readings of all series of a device, the newest first, chunk by chunk and batch by batch.

    Each with the number of its readings, and they by series; all of those that touch `from_us` ≤ t < `to_us`.
    """
    mine = (batch.c.device_id == device_id) & (batch.c.to_us >= from_us) & (batch.c.from_us < to_us)
    named = conn.execute(select(batch.c.id, batch.c.to_us, batch.c.readings).where(mine)).all()
    found: list[tuple[int, int, int, chunk.Entry | None]] = [(row.to_us, row.id, row.readings, None) for row in named]
    found += [(one.to_us, 0, one.readings, one) for one in chunk.of_device(conn, device_id, from_us, to_us)]
    for _, batch_id, count, entry in sorted(found, key=lambda one: one[:2], reverse=True):
        if entry is not None:
            rows = chunk.rows(conn, device_id, entry)
            yield count, ((one.name, zip(one.t_us.tolist(), one.values(), strict=True)) for one in rows)
        else:
            kept = next(bodies(conn, [batch_id]))
            yield count, body.each_series(kept.body, kept.first_seq, kept.last_seq)


def _time(reading: Reading) -> int:
    return reading[0]


def _sealed_readings(conn: Connection, device_id: str, series: str, from_us: int, to_us: int) -> Iterator[Reading]:
    for block in sealed(conn, device_id, series, from_us, to_us):
        yield from zip(block.t_us.tolist(), block.values(), strict=True)


def _within(block: Block, from_us: int, to_us: int) -> Iterator[Block]:
    """Yield what of a block lies in the span, sorted by time, if there is anything."""
    if (block.t_us[1:] < block.t_us[:-1]).any():
        order = np.argsort(block.t_us, kind="stable")
        block = Block(block.t_us[order], pick(block.v, order), block.clock[order])
    start, end = (int(at) for at in block.t_us.searchsorted([from_us, to_us]))
    if start < end:
        yield Block(block.t_us[start:end], block.v[start:end], block.clock[start:end])


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
            ids = [row.id for row in some]
            for row, kept in zip(some, bodies(conn, ids), strict=True):
                yield row.id, row.from_us, body.readings(kept.body, series, kept.first_seq, kept.last_seq)


def touching(conn: Connection, device_id: str, from_us: int, to_us: int) -> list[int]:
    """Return the ids of the batches that touch the span, in the order in which they came."""
    span = {"device_id": device_id, "from_us": from_us, "until_us": to_us}
    return sorted(conn.execute(_TOUCHING, span).scalars())
