"""Retention in the database: what was said of how long telemetry is kept, and letting go of what is older.

Letting go is done device by device, a few hundred chunks in one transaction, oldest first. The device's row in `seal`
says from when on there is anything, so that readings which come later than that are added to what is kept, and a chart
knows what to read. It may be killed at any point: a step has happened whole, or not at all.

On PostgreSQL, parts of tables by time (`fleet.core.partition`) go whole: of a part that no product is to keep, no row
is deleted. First each device's marks pass it, in turns of the job; then, a turn later, when nobody reads by the marks
of before, it is dropped. What some products keep longer than others is deleted row by row where it is too old.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Table, delete, distinct, func, or_, select, true

from fleet.core import partition as core
from fleet.core.actor import Actor
from fleet.core.event import Event
from fleet.core.partition import Part
from fleet.core.retention import DEFAULT_DAYS, Kept, Policy
from fleet.core.rollup import DAY_S, DAY_US, QUARTER_S, start_of
from fleet.errors import Invalid, NotFound
from fleet.store import event, partition, seal
from fleet.store.database import Works
from fleet.store.schema import chunk, device, product, rollup
from fleet.store.schema import retention as table
from fleet.store.schema import seal as sealed
from fleet.store.upsert import upsert

FLEET_WIDE = ""  # in the place of a product: for all that have none of their own
DEVICES_AT_ONCE = 200
CHUNKS_AT_ONCE = 256  # about, in one transaction: of the last day all

_STEPS = {Kept.QUARTERS: QUARTER_S, Kept.DAYS: DAY_S}
_MARKS = {
    Kept.READINGS: sealed.c.raw_from_us,
    Kept.QUARTERS: sealed.c.quarter_from_us,
    Kept.DAYS: sealed.c.day_from_us,
}


@dataclass(frozen=True, slots=True)
class Setting:
    """How long one is kept, as somebody has said it."""

    product_id: str  # FLEET_WIDE: for all that have none of their own
    kept: Kept
    days: int
    author: str
    set_us: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """What goes, or has gone."""

    devices: int = 0
    readings: int = 0
    rows: int = 0  # chunks, or rows of windows
    size_bytes: int = 0

    def __add__(self, other: "Dropped") -> "Dropped":
        return Dropped(
            self.devices + other.devices,
            self.readings + other.readings,
            self.rows + other.rows,
            self.size_bytes + other.size_bytes,
        )


def settings(conn: Connection) -> list[Setting]:
    """Return all that was said, that for the whole fleet first."""
    rows = conn.execute(select(table).order_by(table.c.product_id, table.c.kept))
    return [Setting(row.product_id, Kept(row.kept), row.days, row.author, row.set_us) for row in rows]


def policies(conn: Connection) -> dict[str, Policy]:
    """Return what holds for each product, and for `FLEET_WIDE`."""
    said = {(one.product_id, one.kept): one.days for one in settings(conn)}
    names = [FLEET_WIDE, *conn.execute(select(product.c.id).order_by(product.c.id)).scalars()]
    return {name: _policy(said, name) for name in names}


def put(conn: Connection, product_id: str, days: dict[Kept, int | None], *, now_us: int, by: Actor) -> Policy:
    """Say how many days what is kept of a product, or fleet-wide; None: no longer said. Appends `retention.set`.

    Raises NotFound for a product that there is not, Invalid for what cannot be followed, by any product.
    """
    known = policies(conn)
    if product_id not in known:
        raise NotFound(f"there is no product {product_id!r}", hint="`fleet device list` shows the products there are.")
    for kept, wanted in days.items():
        if wanted is None:
            conn.execute(delete(table).where(table.c.product_id == product_id, table.c.kept == kept.value))
        else:
            row = {"product_id": product_id, "kept": kept.value, "days": wanted, "author": by.id, "set_us": now_us}
            upsert(conn, table, ["product_id", "kept"], row)
    after = policies(conn)
    for name, policy in after.items():
        problem = policy.problem()
        if problem is not None:
            whose = f"of {name}" if name else "of products that have none of their own"
            raise Invalid(f"{whose}, {problem}", hint="Nothing was set. Say how long the others shall be kept too.")
    held = after[product_id]
    if held == known[product_id] and all(wanted is None for wanted in days.values()):
        return held
    words = ", ".join(f"{kept} {held.of(kept)} days" for kept in Kept)
    text = f"Telemetry of {product_id or 'the fleet'} is kept so long: {words}."
    data: dict[str, object] = {kept.value: held.of(kept) for kept in Kept}
    about = ("retention", product_id or "fleet", by.id, by.origin, text, None, data)
    event.append(conn, Event(now_us, now_us, "retention.set", *about))
    return held


def overdue(conn: Connection, *, now_us: int, limit: int) -> list[tuple[str, Policy]]:
    """Return devices that hold more than they should, with what holds for them."""
    found: list[tuple[str, Policy]] = []
    parts = partition.parts(conn)
    for name, policy in policies(conn).items():
        if name == FLEET_WIDE or len(found) >= limit:
            continue
        behind = or_(*(_MARKS[kept] < _begins(parts, policy, kept, now_us) for kept in Kept))
        wanted = select(sealed.c.device_id).join(device, device.c.id == sealed.c.device_id)
        wanted = wanted.where(device.c.product_id == name, behind).order_by(sealed.c.device_id)
        found += [(one, policy) for one in conn.execute(wanted.limit(limit - len(found))).scalars()]
    return found


def drop(conn: Connection, device_id: str, policy: Policy, *, now_us: int) -> dict[Kept, Dropped]:
    """Let go of the oldest of what a device should no longer hold; returns what went, nothing where all is done.

    What lies in a part that no product is to keep counts as gone, and goes with the part.
    """
    known = seal.standing(conn, device_id)
    parts = partition.parts(conn)
    leaving = _leaving(conn, parts, now_us)
    held = {Kept.READINGS: known.raw_from_us, Kept.QUARTERS: known.quarter_from_us, Kept.DAYS: known.day_from_us}
    marks = {kept: max(held[kept], _begins(parts, policy, kept, now_us)) for kept in Kept}
    rows = core.outside(leaving[Kept.READINGS], 0, marks[Kept.READINGS])
    marks[Kept.READINGS] = max(held[Kept.READINGS], _until(conn, device_id, rows, marks[Kept.READINGS]))
    values = {_MARKS[kept].name: before_us for kept, before_us in marks.items()}
    if not seal.take_turn(conn, device_id, known.turn, **values):
        return {}  # somebody else is at it
    gone = {}
    for kept, before_us in marks.items():
        here = _of(kept) & (_table(kept).c.device_id == device_id)
        gone[kept] = _count(conn, kept, here & partition.within(kept, [(held[kept], before_us)]))
        rows = core.outside(leaving[kept], 0, before_us)
        conn.execute(delete(_table(kept)).where(here, partition.within(kept, rows)))
    return gone


def would_go(conn: Connection, *, now_us: int) -> Iterator[tuple[str, Kept, int, Dropped]]:
    """Yield product, what is kept, from when on, and what of it is older: what `drop` would let go."""
    parts = partition.parts(conn)
    for name, policy in policies(conn).items():
        if name == FLEET_WIDE:
            continue
        mine = select(device.c.id).where(device.c.product_id == name)
        for kept in Kept:
            begins_us = _begins(parts, policy, kept, now_us)
            of = _table(kept)
            passed = select(_MARKS[kept]).where(sealed.c.device_id == of.c.device_id).scalar_subquery()
            here = _of(kept) & of.c.device_id.in_(mine) & (of.c.from_us >= func.coalesce(passed, 0))
            yield name, kept, begins_us, _count(conn, kept, here & (of.c.from_us < begins_us))


def passed(conn: Connection, *, now_us: int) -> list[tuple[Kept, Part]]:
    """Return the parts that no product is to keep and that every device's mark has passed."""
    leaving = _leaving(conn, partition.parts(conn), now_us)
    return [(kept, part) for kept, some in leaving.items() for part in some if partition.is_passed(conn, kept, part)]


async def drop_some(db: Works, now_us: int, *, most_s: float) -> tuple[dict[Kept, Dropped], bool]:
    """Let go of what is too old for about so many seconds; returns what went, and whether more is left."""
    gone = {kept: Dropped() for kept in Kept}
    until = asyncio.get_running_loop().time() + most_s
    while asyncio.get_running_loop().time() < until:
        late = await db.read(lambda conn: overdue(conn, now_us=now_us, limit=DEVICES_AT_ONCE))
        if not late:
            return gone, False
        for device_id, policy in late:
            for kept, one in (await _drop(db, device_id, policy, now_us)).items():
                gone[kept] += one
            if asyncio.get_running_loop().time() > until:
                break
    return gone, True


def _policy(said: dict[tuple[str, Kept], int], product_id: str) -> Policy:
    def days(kept: Kept) -> int:
        return said.get((product_id, kept)) or said.get((FLEET_WIDE, kept)) or DEFAULT_DAYS[kept]

    return Policy(days(Kept.READINGS), days(Kept.QUARTERS), days(Kept.DAYS))


def _table(kept: Kept) -> Table:
    return chunk if kept is Kept.READINGS else rollup


def _of(kept: Kept) -> ColumnElement[bool]:
    return true() if kept is Kept.READINGS else rollup.c.step_s == _STEPS[kept]


def _begins(parts: Mapping[Kept, Sequence[Part]], policy: Policy, kept: Kept, now_us: int) -> int:
    """Return from when on it is kept: by whole parts where there are some."""
    return core.begins(policy, kept, now_us) if kept in parts else policy.begins(kept, now_us)


def _leaving(conn: Connection, parts: Mapping[Kept, Sequence[Part]], now_us: int) -> dict[Kept, list[Part]]:
    """Return the parts that no product is to keep: they are dropped once every device's mark has passed them."""
    held = [policy for name, policy in policies(conn).items() if name != FLEET_WIDE] or [Policy()]
    return {
        kept: core.passed(parts.get(kept, ()), min(_begins(parts, policy, kept, now_us) for policy in held))
        for kept in Kept
    }


def _count(conn: Connection, kept: Kept, here: ColumnElement[bool]) -> Dropped:
    of = _table(kept)
    readings = func.sum(chunk.c.readings) if kept is Kept.READINGS else func.count() * 0
    figures = (func.count(distinct(of.c.device_id)), readings, func.count(), func.sum(func.length(of.c.body)))
    row = conn.execute(select(*figures).select_from(of).where(here)).one()
    return Dropped(*(int(figure or 0) for figure in row))


def _until(conn: Connection, device_id: str, rows: Sequence[tuple[int, int]], begins_us: int) -> int:
    """Return how far readings go in one step: all that are too old, or the first days of those that are deleted."""
    old = select(chunk.c.from_us).where(chunk.c.device_id == device_id, partition.within(Kept.READINGS, rows))
    oldest = list(conn.execute(old.order_by(chunk.c.from_us).limit(CHUNKS_AT_ONCE)).scalars())
    if len(oldest) < CHUNKS_AT_ONCE:
        return begins_us
    return max(start_of(oldest[-1], DAY_S), start_of(oldest[0], DAY_S) + DAY_US)


async def _drop(db: Works, device_id: str, policy: Policy, now_us: int) -> dict[Kept, Dropped]:
    return await db.write(lambda conn: drop(conn, device_id, policy, now_us=now_us))
