"""All that is held of some devices, a UTC day at a time: sealed or not, each reading once.

Chunks tell by their key which day they are of; batches may hold readings of several. Of one microsecond what is sealed
comes first, then batches as they came: the order of `fleet.store.query`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import Connection, case, func, select

from fleet.core.chunk import CLOCKS, Rows, decode
from fleet.core.column import ChunkError
from fleet.core.names import Names
from fleet.core.rollup import DAY_S, DAY_US, start_of
from fleet.core.sealing import Gathering, merged
from fleet.store import body
from fleet.store.batch import bodies
from fleet.store.schema import batch, chunk

WINDOW_DAYS = 32  # of which is remembered at once where there is anything

_CLOCK_NUMBERS = {clock: number for number, clock in enumerate(CLOCKS)}

ChunkKey = tuple[str, int, int]
"""Sensor, start and part of a chunk."""


@dataclass(slots=True)
class Day:
    """Where the readings of one device and day lie."""

    chunks: list[ChunkKey] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)  # ids; some of their readings may be of other days


Days = Mapping[int, Mapping[str, Day]]
"""By the start of the day in µs, then by device; both in order."""


@dataclass(frozen=True, slots=True)
class Damaged:
    """A chunk that cannot be read."""

    key: ChunkKey
    problem: str


def first_day(conn: Connection, device_ids: Sequence[str], from_us: int, to_us: int) -> int | None:
    """Return the start of the first day in `from_us` ≤ t < `to_us` of which there may be anything; None: of none."""
    day_us = start_of(from_us, DAY_S)
    sealed = select(func.min(chunk.c.from_us)).where(
        chunk.c.device_id.in_(device_ids), chunk.c.from_us >= day_us, chunk.c.from_us < to_us
    )
    begins = case((batch.c.from_us < from_us, from_us), else_=batch.c.from_us)
    waiting = select(func.min(begins)).where(
        batch.c.device_id.in_(device_ids), batch.c.to_us >= from_us, batch.c.from_us < to_us
    )
    found = [one for one in (conn.execute(sealed).scalar(), conn.execute(waiting).scalar()) if one is not None]
    return start_of(min(found), DAY_S) if found else None


def days(conn: Connection, device_ids: Sequence[str], from_us: int, to_us: int) -> Days:
    """Return where the readings of some devices lie; the span is of whole days, `WINDOW_DAYS` at most."""
    found: dict[int, dict[str, Day]] = {}
    sealed = select(chunk.c.device_id, chunk.c.sensor, chunk.c.from_us, chunk.c.part).where(
        chunk.c.device_id.in_(device_ids), chunk.c.from_us >= from_us, chunk.c.from_us < to_us
    )
    for device_id, *key in conn.execute(sealed):
        here = found.setdefault(start_of(key[1], DAY_S), {}).setdefault(device_id, Day())
        here.chunks.append((key[0], key[1], key[2]))
    waiting = select(batch.c.device_id, batch.c.id, batch.c.from_us, batch.c.to_us).where(
        batch.c.device_id.in_(device_ids), batch.c.to_us >= from_us, batch.c.from_us < to_us
    )
    for row in conn.execute(waiting):
        first, last = max(from_us, start_of(row.from_us, DAY_S)), min(row.to_us, to_us - 1)
        for day_us in range(first, last + 1, DAY_US):
            found.setdefault(day_us, {}).setdefault(row.device_id, Day()).batches.append(row.id)
    order = {device_id: number for number, device_id in enumerate(device_ids)}
    return {day_us: dict(sorted(found[day_us].items(), key=lambda one: order[one[0]])) for day_us in sorted(found)}


def rows(  # noqa: PLR0913, PLR0917 - which, from, to
    conn: Connection, device_id: str, day: Day, names: Names, from_us: int, to_us: int
) -> tuple[list[Rows], list[Damaged]]:
    """Return the readings of one device and day with `from_us` ≤ t < `to_us`, by series, and what cannot be read."""
    parts: dict[str, list[Rows]] = {}
    damaged = []
    for key in sorted(key for key in day.chunks if names.touches(key[0])):
        try:
            for one in decode(_body(conn, device_id, key), names):
                parts.setdefault(one.name, []).append(one)
        except ChunkError as error:
            damaged.append(Damaged(key, str(error)))
    for name, one in _unsealed(conn, sorted(day.batches), names).items():
        parts.setdefault(name, []).append(one)
    whole = (_within(merged(some), from_us, to_us) for _, some in sorted(parts.items()))
    return [one for one in whole if len(one)], damaged


def _body(conn: Connection, device_id: str, key: ChunkKey) -> bytes:
    here = (chunk.c.device_id, chunk.c.sensor, chunk.c.from_us, chunk.c.part)
    wanted = select(chunk.c.body).where(
        *(column == value for column, value in zip(here, (device_id, *key), strict=True))
    )
    found: bytes = conn.execute(wanted).scalar_one()
    return found


def _unsealed(conn: Connection, ids: Sequence[int], names: Names) -> dict[str, Rows]:
    gathered: dict[str, Gathering] = {}
    for kept in bodies(conn, ids):
        for segment in body.segments(kept.body, kept.first_seq, kept.last_seq):
            clock = _CLOCK_NUMBERS[segment.clock]
            for one in segment.series:
                if one.name in names:
                    into = gathered.setdefault(one.name, Gathering(one.name))
                    into.add(one.t0_us, one.dt, one.v, clock=clock, unit=one.unit)
    return {name: one.rows() for name, one in gathered.items()}


def _within(found: Rows, from_us: int, to_us: int) -> Rows:
    start, end = (int(at) for at in np.searchsorted(found.t_us, [from_us, to_us]))
    return found.span(start, end)


def each_day(conn: Connection, device_ids: Sequence[str], from_us: int, to_us: int) -> Iterator[tuple[int, str, Day]]:
    """Yield each day and device of which there may be readings: by day, then in the order of the devices."""
    while (first_us := first_day(conn, device_ids, from_us, to_us)) is not None:
        until_us = min(first_us + WINDOW_DAYS * DAY_US, start_of(to_us + DAY_US - 1, DAY_S))
        for day_us, devices in days(conn, device_ids, first_us, until_us).items():
            for device_id, day in devices.items():
                yield day_us, device_id, day
        from_us = until_us
