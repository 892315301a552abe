"""Chunks and rollups: in order, readable, and the one what the other says."""

from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime

from sqlalchemy import Connection, func, or_, select

from fleet.core import rollup as core
from fleet.core.chunk import Rows, sensor_of
from fleet.core.column import MAX_ROWS, ChunkError
from fleet.core.finding import Finding, fail
from fleet.core.rollup import DAY_S, DAY_US, QUARTER_S, Windows, start_of
from fleet.core.sealing import merged
from fleet.store import chunk as store
from fleet.store import rollup as windows
from fleet.store import seal
from fleet.store.chunk import Entry
from fleet.store.examine.check import Ask, Check, Part, devices, following
from fleet.store.schema import chunk, rollup

MAX_TOLD = 20  # bad chunks of one part
SAMPLED_CHUNKS = 20  # the newest of a device that is looked into
SAMPLED_DAYS = 2  # the newest of which windows are made anew
DEVICES_INTO = 10  # looked into on one snapshot

RESTORE = "Keep a copy of the database, restore a backup from before the damage: the device sends what it still has."
REPORT = "Keep a copy of the database, and report it: this must not be. Readings are right where they can be read."


def order(conn: Connection, _ask: Ask, after: str) -> Part:
    """Look where the chunks of the next devices lie: one after the other, each within its day."""
    ids = devices(conn, after)
    if not ids:
        return Part(0)
    here = (chunk.c.device_id > after) & (chunk.c.device_id <= ids[-1])
    mine = {"partition_by": [chunk.c.device_id, chunk.c.sensor], "order_by": [chunk.c.from_us, chunk.c.part]}
    columns = [column for column in chunk.c if column.name != "body"]
    before = func.lag(chunk.c.to_us).over(**mine).label("before_us")  # type: ignore[arg-type] # by name
    all_of = select(*columns, before).where(here).subquery()
    is_bad = or_(
        all_of.c.before_us > all_of.c.from_us,
        all_of.c.to_us < all_of.c.from_us,
        all_of.c.to_us - all_of.c.to_us % DAY_US != all_of.c.from_us - all_of.c.from_us % DAY_US,
        all_of.c.rows < 1,
        all_of.c.rows > MAX_ROWS,
        all_of.c.readings < all_of.c.rows,
    )
    found = [_misplaced(row) for row in conn.execute(select(all_of).where(is_bad).limit(MAX_TOLD))]
    count = conn.execute(select(func.count()).select_from(chunk).where(here)).scalar_one()
    return Part(count, found, following(ids))


def _misplaced(row: object) -> Finding:
    entry = Entry(row.sensor, row.from_us, row.part, row.to_us, row.rows, row.readings)  # type: ignore[attr-defined]
    before_us, device_id = row.before_us, row.device_id  # type: ignore[attr-defined] # of the query above
    if before_us is not None and before_us > entry.from_us:
        return _bad(device_id, entry, "overlaps the one before it: its readings may count twice")
    if not 1 <= entry.rows <= MAX_ROWS or entry.readings < entry.rows:
        return _bad(device_id, entry, f"says that it has {entry.rows} rows and {entry.readings} readings")
    return _bad(device_id, entry, f"ends at {entry.to_us}, not within the day in which it begins")


def contents(conn: Connection, ask: Ask, after: str) -> Part:
    """Look into chunks: those of all devices, or the newest of a sample."""
    ids = devices(conn, after, stride=1 if ask.deep else ask.stride, limit=DEVICES_INTO)
    looked, found = 0, []
    for device_id in ids:
        for entry in _entries(conn, device_id, None if ask.deep else SAMPLED_CHUNKS):
            looked += 1
            problem = _of_chunk(conn, device_id, entry)
            if problem:
                found.append(_bad(device_id, entry, problem))
    return Part(looked, found, following(ids, DEVICES_INTO))


def _entries(conn: Connection, device_id: str, limit: int | None) -> list[Entry]:
    columns = (chunk.c.sensor, chunk.c.from_us, chunk.c.part, chunk.c.to_us, chunk.c.rows, chunk.c.readings)
    mine = select(*columns).where(chunk.c.device_id == device_id)
    return [Entry(*row) for row in conn.execute(mine.order_by(chunk.c.from_us.desc()).limit(limit))]


def _of_chunk(conn: Connection, device_id: str, entry: Entry) -> str:
    try:
        rows = store.rows(conn, device_id, entry)
    except ChunkError as error:
        return f"cannot be read: {error}"
    if any(sensor_of(one.name) != entry.sensor for one in rows):
        return "holds series of another sensor"
    counted = store.make(entry.sensor, rows, part=entry.part).entry
    return "" if counted == entry else f"holds {counted.rows} rows, {counted.readings} readings and other times"


def rollups(conn: Connection, ask: Ask, after: str) -> Part:
    """Make windows anew of the readings that are kept and compare: of all days, or the newest of a sample."""
    ids = devices(conn, after, stride=1 if ask.deep else ask.stride, limit=DEVICES_INTO)
    looked, found = 0, []
    for device_id in ids:
        days = _days(conn, device_id)
        for day_us in days if ask.deep else days[-SAMPLED_DAYS:]:
            looked += 1
            try:
                found += [_wrong(device_id, day_us, one) for one in _of_day(conn, device_id, day_us)]
            except ChunkError as error:
                found.append(_wrong(device_id, day_us, f"windows cannot be compared: {error}"))
    return Part(looked, found, following(ids, DEVICES_INTO))


def _days(conn: Connection, device_id: str) -> list[int]:
    """Return the UTC days of which a device has both readings and windows of 15 minutes."""
    since_us = max(seal.standing(conn, device_id).raw_from_us, seal.standing(conn, device_id).quarter_from_us)
    sealed = select(chunk.c.from_us).where(chunk.c.device_id == device_id, chunk.c.from_us >= since_us)
    rolled = select(rollup.c.from_us).where(rollup.c.device_id == device_id, rollup.c.from_us >= since_us)
    rolled = rolled.where(rollup.c.step_s == QUARTER_S)
    return sorted({start_of(t_us, DAY_S) for t_us in conn.execute(sealed.union(rolled)).scalars()})


def _of_day(conn: Connection, device_id: str, day_us: int) -> Iterator[str]:
    parts: dict[str, list[Rows]] = {}
    for entry in reversed(store.of_device(conn, device_id, day_us, day_us + DAY_US)):
        for rows in store.rows(conn, device_id, entry):
            parts.setdefault(rows.name, []).append(rows)
    kept_of = select(rollup.c.series, rollup.c.body).where(rollup.c.device_id == device_id)
    kept_of = kept_of.where(rollup.c.step_s == QUARTER_S, rollup.c.from_us == day_us)
    kept = {name: core.decode(body, QUARTER_S) for name, body in conn.execute(kept_of)}
    for name in sorted({*parts, *kept}):
        quarters = kept.get(name)
        wanted = core.of_rows(merged(parts[name]), QUARTER_S) if name in parts else None
        if quarters is None or wanted is None or not _same(quarters, wanted):
            yield f"{name}: the windows of 15 minutes are not what its readings say"
            continue
        days = list(windows.windows(conn, device_id, name, DAY_S, day_us, day_us + DAY_US))
        if len(days) != 1 or not _same(days[0], core.combined(quarters, DAY_S)):
            yield f"{name}: the day is not what its windows of 15 minutes say"


def _same(one: Windows, other: Windows) -> bool:
    return all(list(getattr(one, field.name)) == list(getattr(other, field.name)) for field in fields(Windows))


def _bad(device_id: str, entry: Entry, problem: str) -> Finding:
    said = f"{device_id}: the chunk of {entry.sensor} that begins at {entry.from_us} {problem}."
    return fail("chunks", said, RESTORE, device_id)


def _wrong(device_id: str, day_us: int, problem: str) -> Finding:
    return fail("rollups", f"{device_id}, {_date(day_us)}: {problem}.", REPORT, device_id)


def _date(day_us: int) -> str:
    return datetime.fromtimestamp(day_us / 1e6, UTC).date().isoformat()


ORDER = Check("chunks", "{} chunks lie one after the other, each within its day.", order)
CONTENTS = Check("chunks", "{} chunks were read and hold what their rows say.", contents)
ROLLUPS = Check("rollups", "{} days were reckoned anew: windows are what the readings say.", rollups)
