"""Chunks in the database: which there are, and what is in them; their bytes are `fleet.core.chunk`.

Chunks of one sensor do not overlap in time and never cross a UTC day, so those of a span are found by where they begin.
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, insert, select, tuple_

from fleet.core import chunk as core
from fleet.core.chunk import Rows
from fleet.core.rollup import DAY_S, start_of
from fleet.store.schema import chunk as table

ENTRIES_AT_ONCE = 256  # chunks named by one round trip

_HERE = (
    (table.c.device_id == bindparam("device_id"))
    & (table.c.sensor == bindparam("sensor"))
    & (table.c.from_us == bindparam("from_us"))
    & (table.c.part == bindparam("part"))
)
_BODY = select(table.c.body).where(_HERE)
_ENTRY = (table.c.sensor, table.c.from_us, table.c.part, table.c.to_us, table.c.rows, table.c.readings)
_OF_DEVICE = (
    select(*_ENTRY)
    .where(
        table.c.device_id == bindparam("device_id"),
        table.c.from_us >= bindparam("first_us"),
        table.c.from_us < bindparam("until_us"),
        table.c.to_us >= bindparam("from_us"),
    )
    .order_by(table.c.to_us.desc(), table.c.sensor)
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One chunk, without its body."""

    sensor: str
    from_us: int
    part: int
    to_us: int  # inclusive
    rows: int  # of its longest series
    readings: int


@dataclass(frozen=True, slots=True)
class Made:
    """One chunk to be kept."""

    entry: Entry
    body: bytes


def make(sensor: str, series: Sequence[Rows], *, part: int) -> Made:
    """Make a chunk of a sensor's rows."""
    entry = Entry(
        sensor=sensor,
        from_us=min(int(rows.t_us[0]) for rows in series),
        part=part,
        to_us=max(int(rows.t_us[-1]) for rows in series),
        rows=max(map(len, series)),
        readings=sum(map(len, series)),
    )
    return Made(entry, core.encode(series))


def of_device(conn: Connection, device_id: str, from_us: int, to_us: int) -> list[Entry]:
    """Return the chunks of all sensors that touch `from_us` ≤ t < `to_us`, the newest first."""
    first_us = start_of(max(0, from_us), DAY_S)
    span = {"device_id": device_id, "first_us": first_us, "from_us": from_us, "until_us": to_us}
    return [Entry(*row) for row in conn.execute(_OF_DEVICE, span)]


def walk(conn: Connection, device_id: str, sensor: str, from_us: int, to_us: int) -> Iterator[Entry]:
    """Yield the chunks of one sensor that touch `from_us` ≤ t < `to_us`, by time, however many there are."""
    first_us, part = start_of(max(0, from_us), DAY_S), -1
    while True:
        # The first condition follows from the second: it is what PostgreSQL chooses the parts of the table by.
        later = (table.c.from_us >= first_us) & (tuple_(table.c.from_us, table.c.part) > (first_us, part))
        here = (table.c.device_id == device_id) & (table.c.sensor == sensor) & (table.c.from_us < to_us)
        wanted = select(*_ENTRY).where(here, later).order_by(table.c.from_us, table.c.part).limit(ENTRIES_AT_ONCE)
        some = [Entry(*row) for row in conn.execute(wanted)]
        yield from (entry for entry in some if entry.to_us >= from_us)
        if len(some) < ENTRIES_AT_ONCE:
            return
        first_us, part = some[-1].from_us, some[-1].part


def body(conn: Connection, device_id: str, entry: Entry) -> bytes:
    """Return a chunk's bytes."""
    found: bytes = conn.execute(_BODY, _key(device_id, entry)).scalar_one()
    return found


def rows(conn: Connection, device_id: str, entry: Entry, names: Container[str] | None = None) -> list[Rows]:
    """Return the rows of a chunk, of all its series or those of `names`; raises ChunkError."""
    return core.decode(body(conn, device_id, entry), names)


def add(conn: Connection, device_id: str, made: Sequence[Made]) -> None:
    """Keep chunks; none of the same sensor may overlap them."""
    if made:
        conn.execute(
            insert(table),
            [
                _key(device_id, one.entry)
                | {"to_us": one.entry.to_us, "rows": one.entry.rows, "readings": one.entry.readings, "body": one.body}
                for one in made
            ],
        )


def remove(conn: Connection, device_id: str, some: Iterable[Entry]) -> None:
    """Remove chunks."""
    for entry in some:
        conn.execute(delete(table).where(_HERE), _key(device_id, entry))


def _key(device_id: str, entry: Entry) -> dict[str, object]:
    return {"device_id": device_id, "sensor": entry.sensor, "from_us": entry.from_us, "part": entry.part}
