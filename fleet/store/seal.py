"""Sealing: a device's batches become chunks and rollups, some at a time, each time in one transaction.

    plan   read the oldest batches, and the chunks and windows that their readings fall into; make the new ones
    apply  in one transaction: batches out, old chunks out, new chunks and rollups in, the device's turn grows

Planning only reads, so it runs beside the writer, takes as long as it takes, and may be killed: nothing has happened.
What was planned is applied only if the device's turn is still the one that was read; otherwise somebody else has sealed
meanwhile, and it is planned anew. New batches do not matter: they are sealed next time. Marks are not touched, so
a device never sends again what was sealed.

Late data reopens the chunks that it falls into: their readings and its own are sorted and cut anew. Rollups are
made anew from all readings of the windows that were touched. Data older than what is kept (retention) goes into the
windows that are kept, and into nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, delete, func, or_, select, update

from agent.wire.units import US_PER_S
from fleet.core import chunk as chunk_core
from fleet.core import rollup as rollup_core
from fleet.core.chunk import CLOCKS, Rows, sensor_of
from fleet.core.column import MAX_ROWS
from fleet.core.rollup import DAY_S, DAY_US, QUARTER_S, Windows, part_of, start_of
from fleet.core.sealing import Gathering, by_day, cut, merged
from fleet.store import body, chunk, rollup
from fleet.store.batch import bodies
from fleet.store.chunk import Entry
from fleet.store.schema import batch
from fleet.store.schema import seal as table
from fleet.store.upsert import insert_new

MAX_BATCHES = 512  # sealed in one go; when so many wait, a device is due
MAX_READINGS = 200_000  # sealed in one go (and one batch, however large)
OPEN_US = 3600 * US_PER_S  # event time: older data waits no longer to be sealed …
REST_US = 900 * US_PER_S  # … but that long since the device was sealed last: what trickles in late is taken together

_CLOCK_NUMBERS = {clock: number for number, clock in enumerate(CLOCKS)}


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a device is sealed, and from when on what is kept, µs."""

    turn: int = 0
    sealed_us: int = 0
    raw_from_us: int = 0
    quarter_from_us: int = 0
    day_from_us: int = 0


@dataclass(slots=True)
class Plan:
    """What is to be done to seal some of a device's batches."""

    device_id: str
    turn: int
    batches: list[int]
    more: bool  # batches are left
    old: list[Entry] = field(default_factory=list)
    new: list[chunk.Made] = field(default_factory=list)
    rollups: list[rollup.Made] = field(default_factory=list)


def due(conn: Connection, *, after: str, limit: int, now_us: int) -> tuple[list[str], str | None]:
    """Look at the next `limit` devices with batches; returns those to be sealed, and where to go on, None at the end.

    A device is due when `MAX_BATCHES` wait, or one of an hour ago by event time.
    """
    waiting = (
        select(batch.c.device_id, func.count().label("batches"), func.min(batch.c.to_us).label("to_us"))
        .where(batch.c.device_id > after)
        .group_by(batch.c.device_id)
        .order_by(batch.c.device_id)
        .limit(limit)
        .subquery()
    )
    sealed = func.coalesce(table.c.sealed_us, 0)
    late = (waiting.c.to_us < now_us - OPEN_US) & (sealed <= now_us - REST_US)
    wanted = (
        select(waiting.c.device_id, or_(waiting.c.batches >= MAX_BATCHES, late).label("due"))
        .select_from(waiting.outerjoin(table, table.c.device_id == waiting.c.device_id))
        .order_by(waiting.c.device_id)
    )
    rows = conn.execute(wanted).all()
    return [row.device_id for row in rows if row.due], rows[-1].device_id if len(rows) == limit else None


def standing(conn: Connection, device_id: str) -> Standing:
    """Return how far the device is sealed."""
    row = conn.execute(select(table).where(table.c.device_id == device_id)).one_or_none()
    return Standing() if row is None else Standing(*row[1:])


def plan(conn: Connection, device_id: str) -> Plan | None:
    """Plan to seal the device's oldest batches; None if it has none. Raises ChunkError if a chunk is damaged."""
    known = standing(conn, device_id)
    waiting, more = _oldest(conn, device_id)
    if not waiting:
        return None
    gathered: dict[str, Gathering] = {}
    for kept in bodies(conn, waiting):
        _gather(gathered, kept.body, kept.first_seq, kept.last_seq)
    series = [one.rows() for one in gathered.values()]
    made = Plan(device_id, known.turn, waiting, more)
    _plan(conn, made, known, series)
    return made


def plan_rows(conn: Connection, device_id: str, series: Sequence[Rows]) -> Plan:
    """Plan to keep readings that no batch holds, as an import brings them. Raises ChunkError if a chunk is damaged."""
    known = standing(conn, device_id)
    made = Plan(device_id, known.turn, [], more=False)
    _plan(conn, made, known, series)
    return made


def apply(conn: Connection, made: Plan, *, now_us: int) -> bool:
    """Do what was planned; tells whether it was done, or somebody else was faster and it has to be planned anew."""
    sealed = {"sealed_us": now_us} if made.batches else {}
    if not take_turn(conn, made.device_id, made.turn, **sealed):
        return False
    if made.batches:
        conn.execute(delete(batch).where(batch.c.id.in_(made.batches)))
    chunk.remove(conn, made.device_id, made.old)
    chunk.add(conn, made.device_id, made.new)
    rollup.put(conn, made.device_id, made.rollups)
    return True


def take_turn(conn: Connection, device_id: str, turn: int, **values: int) -> bool:
    """Begin to change a device's chunks and rollups, if nobody has since `turn`; sets values of its row."""
    if turn:
        here = (table.c.device_id == device_id) & (table.c.turn == turn)
        return bool(conn.execute(update(table).where(here).values(turn=turn + 1, **values)).rowcount)
    empty = {"sealed_us": 0, "raw_from_us": 0, "quarter_from_us": 0, "day_from_us": 0}
    return insert_new(conn, table, {"device_id": device_id, "turn": 1, **empty, **values})


class _Windows:
    """Windows of a device that change, each row of them read once and written once."""

    def __init__(self, conn: Connection, device_id: str, known: Standing) -> None:
        self._conn = conn
        self._device_id = device_id
        self._known = known
        self._rows: dict[tuple[str, int, int], Windows] = {}

    def replace(self, day_us: int, series: str, quarters: Windows) -> None:
        """Put windows of 15 minutes of one day in the place of those that were there; the day follows from them."""
        all_of_day = rollup_core.replaced(self._get(series, QUARTER_S, day_us), quarters)
        self._put(series, QUARTER_S, day_us, all_of_day)
        days = rollup_core.combined(all_of_day, DAY_S)
        part_us = part_of(day_us, DAY_S)
        self._put(series, DAY_S, part_us, rollup_core.replaced(self._get(series, DAY_S, part_us), days))

    def add_late(self, day_us: int, fresh: Sequence[Rows]) -> None:
        """Add readings whose like are no longer kept to the windows that are."""
        for rows in fresh:
            if day_us >= self._known.quarter_from_us:
                quarters = rollup_core.of_rows(rows, QUARTER_S)
                kept = self._get(rows.name, QUARTER_S, day_us)
                self.replace(day_us, rows.name, rollup_core.added(kept, quarters, QUARTER_S))
            elif day_us >= self._known.day_from_us:
                part_us = part_of(day_us, DAY_S)
                days, kept = rollup_core.of_rows(rows, DAY_S), self._get(rows.name, DAY_S, part_us)
                self._put(rows.name, DAY_S, part_us, rollup_core.added(kept, days, DAY_S))

    def made(self) -> list[rollup.Made]:
        """Return all rows that changed."""
        return [
            rollup.Made(series, step_s, from_us, rollup_core.encode(windows, step_s))
            for (series, step_s, from_us), windows in self._rows.items()
        ]

    def _get(self, series: str, step_s: int, from_us: int) -> Windows | None:
        known = self._rows.get((series, step_s, from_us))
        return known or rollup.part(self._conn, self._device_id, series, step_s, from_us)

    def _put(self, series: str, step_s: int, from_us: int, windows: Windows) -> None:
        self._rows[series, step_s, from_us] = windows


def _plan(conn: Connection, made: Plan, known: Standing, series: Sequence[Rows]) -> None:
    """Plan chunks and windows of new readings."""
    windows = _Windows(conn, made.device_id, known)
    days: dict[tuple[str, int], list[Rows]] = {}
    for rows in series:
        for day_us, some in by_day(rows):
            days.setdefault((sensor_of(rows.name), day_us), []).append(some)
    for (sensor, day_us), fresh in sorted(days.items(), key=lambda item: item[0]):
        if day_us < known.raw_from_us:
            windows.add_late(day_us, fresh)
        else:
            _seal_day(conn, made, windows, sensor, day_us, fresh)
    made.rollups = windows.made()


def _oldest(conn: Connection, device_id: str) -> tuple[list[int], bool]:
    """Return the ids of the batches to be sealed in one go, in the order in which they came; and if there are more."""
    mine = select(batch.c.id, batch.c.readings).where(batch.c.device_id == device_id)
    # "+ 0": found by device and then sorted, not by walking through the batches of all devices.
    rows = conn.execute(mine.order_by(batch.c.id + 0).limit(MAX_BATCHES + 1)).all()
    found: list[int] = []
    left = MAX_READINGS
    for row in rows[:MAX_BATCHES]:
        left -= row.readings
        if left < 0 and found:
            break
        found.append(row.id)
    return found, len(found) < len(rows)


def _gather(gathered: dict[str, Gathering], data: bytes, first_seq: int, last_seq: int) -> None:
    for segment in body.segments(data, first_seq, last_seq):
        clock = _CLOCK_NUMBERS[segment.clock]
        for one in segment.series:
            if one.name not in gathered:
                gathered[one.name] = Gathering(one.name)
            gathered[one.name].add(one.t0_us, one.dt, one.v, clock=clock, unit=one.unit)


def _seal_day(  # noqa: PLR0913, PLR0917 - what becomes of which readings
    conn: Connection, made: Plan, windows: _Windows, sensor: str, day_us: int, fresh: Sequence[Rows]
) -> None:
    """Plan one sensor's chunks and windows of one day."""
    from_us = start_of(min(int(rows.t_us[0]) for rows in fresh), QUARTER_S)
    to_us = start_of(max(int(rows.t_us[-1]) for rows in fresh), QUARTER_S) + QUARTER_S * US_PER_S
    known = list(chunk.walk(conn, made.device_id, sensor, day_us, day_us + DAY_US))
    first, last = _reopened(known, from_us, to_us)
    old = [(entry, chunk.body(conn, made.device_id, entry)) for entry in known[first:last]]
    parts: dict[str, list[Rows]] = {}
    for _, data in old:
        for rows in chunk_core.decode(data):
            parts.setdefault(rows.name, []).append(rows)
    for rows in fresh:
        parts.setdefault(rows.name, []).append(rows)
    series = {name: merged(some) for name, some in parts.items()}
    new: list[chunk.Made] = []
    for some in cut(list(series.values()), evenly=last < len(known)):
        one = chunk.make(sensor, some, part=0)
        if new and new[-1].entry.from_us == one.entry.from_us:
            one = chunk.make(sensor, some, part=new[-1].entry.part + 1)
        new.append(one)
    same = {(entry, data) for entry, data in old} & {(one.entry, one.body) for one in new}
    made.old += [entry for entry, data in old if (entry, data) not in same]
    made.new += [one for one in new if (one.entry, one.body) not in same]
    for rows in fresh:
        whole = series[rows.name]
        start_us, last_us = (start_of(int(t_us), QUARTER_S) for t_us in (rows.t_us[0], rows.t_us[-1]))
        start, end = whole.t_us.searchsorted([start_us, last_us + QUARTER_S * US_PER_S])
        windows.replace(day_us, rows.name, rollup_core.of_rows(whole.span(int(start), int(end)), QUARTER_S))


def _reopened(known: Sequence[Entry], from_us: int, to_us: int) -> tuple[int, int]:
    """Return which of a day's chunks are opened again, first ≤ number < last.

    All that touch the span, and a neighbour on either side that is not full, so that no crumbs stay.
    """
    first = sum(entry.to_us < from_us for entry in known)
    last = len(known) - sum(entry.from_us >= to_us for entry in known)
    if first and known[first - 1].rows < MAX_ROWS:
        first -= 1
    if last < len(known) and known[last].rows < MAX_ROWS:
        last += 1
    while 0 < first < len(known) and known[first - 1].to_us == known[first].from_us:
        first -= 1  # parts of one microsecond stay together
    while 0 < last < len(known) and known[last - 1].to_us == known[last].from_us:
        last += 1
    return first, last
