"""Restoring: readings that come out of files, not from a device.

    draft   find what of them is not held yet, and plan the chunks and windows that it makes (as `seal.plan` does)
    store   in one transaction, device by device: chunks, windows, gaps, newest values, and who brought them

What is held is told by the readings themselves (`fleet.core.missing`), so a file may be imported twice, in parts, in
another format, or into the fleet that it came from: nothing is doubled. A draft counts only if nobody has sealed and no
batch has come meanwhile; otherwise it is made anew. No rule looks at what is restored, and no newest value goes back.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from sqlalchemy import Connection, func, select

from fleet.core.actor import Actor
from fleet.core.chunk import Rows
from fleet.core.column import ChunkError
from fleet.core.event import Event
from fleet.core.latest import Entry, merge
from fleet.core.line import Gap
from fleet.core.missing import missing
from fleet.core.names import Names
from fleet.core.retention import Kept
from fleet.core.rollup import DAY_US
from fleet.core.sealing import by_day, merged
from fleet.errors import NotFound, Refused
from fleet.store import event, held, intake, latest, retention, seal
from fleet.store.device import add_known
from fleet.store.schema import batch, device, gap, mark
from fleet.store.schema import seal as sealed
from fleet.store.upsert import insert_new

BEGUN, STORED, MADE_KNOWN = "import.begun", "import.stored", "device.imported"


@dataclass(frozen=True, slots=True)
class Run:
    """One import, as its event tells."""

    id: str
    source: str  # the file, as whoever imports it calls it
    by: Actor


@dataclass(slots=True)
class Draft:
    """What is to be restored of one device."""

    device_id: str
    newest_batch: int  # id; 0: none waits to be sealed
    plan: seal.Plan | None = None  # None: all is held already
    readings: int = 0
    known: int = 0  # that were held already
    newest: list[tuple[str, Entry]] = field(default_factory=list)


def begin(conn: Connection, run: Run, *, now_us: int) -> None:
    """Append `import.begun`."""
    text = f"{run.by.id.removeprefix('user:')} imports readings from {run.source}."
    about = ("import", run.id, run.by.id, run.by.origin, text, None, {"source": run.source})
    event.append(conn, Event(now_us, now_us, BEGUN, *about))


def find(conn: Connection, run_id: str) -> str:
    """Return the source of an import that was begun; raises NotFound."""
    for one in event.page(conn, noun="import", noun_id=run_id, kinds=(BEGUN,), limit=1):
        return str(one.data["source"])
    raise NotFound(f"there is no import {run_id!r}", hint="POST /import begins one.")


def make_known(conn: Connection, run: Run, one: tuple[str, str, str, str], *, now_us: int) -> None:
    """Make a device (id, product, serial, site) that only its past is known of: never enrolled, without a claim."""
    device_id, product_id, serial, site = one
    if add_known(conn, device_id, product_id, serial=serial, site=site, now_us=now_us):
        text = f"{device_id} was made known by an import from {run.source}; it was never enrolled here."
        data = {"import": run.id, "product": product_id, "serial": serial, "site": site}
        about = ("device", device_id, run.by.id, run.by.origin, text, device_id, data)
        event.append(conn, Event(now_us, now_us, MADE_KNOWN, *about))


def kept_from(conn: Connection, device_ids: Collection[str], *, now_us: int) -> dict[str, tuple[str, int]]:
    """Return of each device that is known its product, and the event time in µs from which on its readings are kept."""
    policies = retention.policies(conn)
    wanted = (
        select(device.c.id, device.c.product_id, func.coalesce(sealed.c.raw_from_us, 0))
        .outerjoin(sealed, sealed.c.device_id == device.c.id)
        .where(device.c.id.in_(device_ids))
    )
    return {
        device_id: (product_id, max(raw_from_us, policies[product_id].begins(Kept.READINGS, now_us)))
        for device_id, product_id, raw_from_us in conn.execute(wanted)
    }


def draft(conn: Connection, device_id: str, series: Sequence[Rows]) -> Draft:
    """Plan what of a device's readings is not held yet; raises Refused where a chunk cannot be read."""
    made = Draft(device_id, _newest_batch(conn, device_id))
    days: dict[int, list[Rows]] = {}
    for one in series:
        for day_us, some in by_day(one):
            days.setdefault(day_us, []).append(some)
    fresh: dict[str, list[Rows]] = {}
    for day_us, parts in sorted(days.items()):
        there = _held(conn, device_id, day_us, [one.name for one in parts])
        for one in parts:
            left = missing(one, there.get(one.name))
            made.known += len(one) - len(left)
            if len(left):
                fresh.setdefault(one.name, []).append(left)
    if fresh:
        whole = [merged(some) for some in fresh.values()]
        made.readings = sum(map(len, whole))
        made.newest = [(one.name, _last(one)) for one in whole]
        try:
            made.plan = seal.plan_rows(conn, device_id, whole)
        except ChunkError as error:
            raise _damaged(device_id, str(error)) from error
    return made


def lock(conn: Connection, device_ids: Iterable[str]) -> None:
    """Keep other nodes from writing about these devices until the transaction ends; in order, so that none deadlock."""
    for device_id in sorted(device_ids):
        intake.lock(conn, device_id)


def store(
    conn: Connection, run: Run, drafts: Sequence[Draft], gaps: Sequence[Gap], *, now_us: int
) -> tuple[set[str], int]:
    """Do what was planned; returns the devices that have to be planned anew, and how many gaps are new.

    Its caller holds the locks.
    """
    again = set()
    changed = set()
    for one in drafts:
        if one.plan is None:
            continue
        if _newest_batch(conn, one.device_id) != one.newest_batch or not seal.apply(conn, one.plan, now_us=now_us):
            again.add(one.device_id)
            continue
        _advance_latest(conn, one)
        changed.add(one.device_id)
    new_gaps = [one for one in gaps if _add_gap(conn, one)]
    for device_id in sorted(changed | {one.device for one in new_gaps}):
        _tell(conn, run, device_id, now_us=now_us)
    return again, len(new_gaps)


def _newest_batch(conn: Connection, device_id: str) -> int:
    return conn.execute(select(func.max(batch.c.id)).where(batch.c.device_id == device_id)).scalar() or 0


def _held(conn: Connection, device_id: str, day_us: int, names: Sequence[str]) -> Mapping[str, Rows]:
    where = held.days(conn, [device_id], day_us, day_us + DAY_US).get(day_us, {}).get(device_id)
    if where is None:
        return {}
    found, damaged = held.rows(conn, device_id, where, Names(names), day_us, day_us + DAY_US)
    if damaged:
        raise _damaged(device_id, damaged[0].problem)
    return {one.name: one for one in found}


def _damaged(device_id: str, problem: str) -> Refused:
    text = f"{device_id}: what is held of that day cannot be read, so nothing can be added to it: {problem}"
    return Refused(text, hint="`fleet doctor` finds damaged chunks.")


def _last(rows: Rows) -> Entry:
    end = rows.span(len(rows) - 1, len(rows))
    return [int(end.t_us[0]), end.values()[0], end.units[int(end.unit[0])]]


def _advance_latest(conn: Connection, one: Draft) -> None:
    """Move newest values on; one of the same time as what is known stays as it is."""
    known = {name: [was.t_us, was.v, was.unit] for name, was in latest.get(conn, one.device_id).items()}
    newer = [(name, entry) for name, entry in one.newest if name not in known or entry[0] > known[name][0]]
    after = merge(known, newer)
    if after is not None:
        latest.put(conn, one.device_id, after)


def _add_gap(conn: Connection, one: Gap) -> bool:
    """Keep a gap, unless this fleet has heard its store itself, and knows better, or has it already."""
    here = (mark.c.device_id == one.device) & (mark.c.store_id == one.store_id) & (mark.c.lane == one.lane)
    if conn.execute(select(mark.c.seq).where(here)).first() is not None:
        return False
    values = asdict(one)
    values["device_id"] = values.pop("device")
    return insert_new(conn, gap, values)


def _tell(conn: Connection, run: Run, device_id: str, *, now_us: int) -> None:
    """Append `import.stored`, once a device and import."""
    for last in event.page(conn, device_id=device_id, kinds=(STORED,), limit=1):
        if last.data.get("import") == run.id:
            return
    text = f"{run.by.id.removeprefix('user:')} imported readings of {device_id} from {run.source}."
    data = {"import": run.id, "source": run.source}
    about = ("device", device_id, run.by.id, run.by.origin, text, device_id, data)
    event.append(conn, Event(now_us, now_us, STORED, *about))
