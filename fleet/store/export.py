"""Export: which devices hold anything of a time, and their telemetry line by line, a bounded part at a time.

An answer is one snapshot, day by day and within a day device by device. It ends after about `MOST_READINGS` with the
place from which on the rest is asked for, so no snapshot stays open for long: on SQLite the log could not be cut back
meanwhile, on PostgreSQL nothing be cleaned up. Parts do not overlap, so each reading leaves once, whatever comes in or
is sealed between two answers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import ColumnElement, Connection, exists, or_, select

from fleet.core.line import Damage, Gap, Place, Readings, readings_of
from fleet.core.names import Names
from fleet.core.rollup import DAY_S, DAY_US, start_of
from fleet.core.selector import Selector
from fleet.core.tally import Tally
from fleet.store import held
from fleet.store.across import selected
from fleet.store.schema import batch, chunk, device, gap

MOST_READINGS = 2_000_000  # of one answer, about
MAX_DEVICES = 100  # of one answer


@dataclass(frozen=True, slots=True)
class Source:
    """One device as an export names it."""

    device: str
    product: str
    serial: str
    site: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one answer is asked for: `from_us` ≤ t < `to_us`, of the first day only devices behind `after`."""

    device_ids: Sequence[str]  # in order
    names: Names
    from_us: int
    to_us: int
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Sum:
    """What the lines since the last sum held, and where the rest begins; None: there is no more."""

    place: Place | None
    tally: Tally


def sources(conn: Connection, selector: Selector, from_us: int, to_us: int) -> list[Source]:
    """Return the devices of a selector that may hold anything with `from_us` ≤ t < `to_us`, by product and id."""
    day_us = start_of(from_us, DAY_S)
    some = (
        _any(chunk.c.device_id, chunk.c.from_us >= day_us, chunk.c.from_us < to_us, chunk.c.to_us >= from_us),
        _any(batch.c.device_id, batch.c.to_us >= from_us, batch.c.from_us < to_us),
        _any(gap.c.device_id, gap.c.to_us >= from_us, gap.c.from_us < to_us),
    )
    columns = (device.c.id, device.c.product_id, device.c.serial, device.c.site)
    wanted = select(*columns).where(selected(selector), or_(*some)).order_by(device.c.product_id, device.c.id)
    return [Source(*row) for row in conn.execute(wanted)]


def readings(conn: Connection, wanted: Wanted) -> Iterator[Readings | Damage | Sum]:
    """Yield an answer: a sum ends every day, and the answer. The iterator reads from `conn` while it is consumed."""
    said, last = 0, ""
    tally = Tally()
    first_us = start_of(wanted.from_us, DAY_S)
    behind = set(wanted.device_ids[wanted.device_ids.index(wanted.after) + 1 :] if wanted.after else wanted.device_ids)
    pieces = held.each_day(conn, wanted.device_ids, wanted.from_us, wanted.to_us)
    for day_us, devices in groupby(pieces, key=lambda piece: piece[0]):
        for _, device_id, day in devices:
            if said >= MOST_READINGS:
                yield Sum(Place(max(day_us, wanted.from_us), last), tally)
                return
            last = device_id
            if day_us == first_us and device_id not in behind:
                continue
            ends_us = min(day_us + DAY_US, wanted.to_us)
            found, damaged = held.rows(conn, device_id, day, wanted.names, max(day_us, wanted.from_us), ends_us)
            for one in found:
                tally.add_columns(one.t_us, one.v)
                said += len(one)
                yield from readings_of(device_id, one)
            for bad in damaged:
                yield Damage(device_id, bad.key[0], bad.key[1], bad.problem)
        if day_us + DAY_US >= wanted.to_us:
            break
        yield Sum(Place(day_us + DAY_US), tally)
        tally = Tally()
        if said >= MOST_READINGS:
            return
    yield Sum(None, tally)


def gaps(conn: Connection, device_ids: Sequence[str], from_us: int, to_us: int) -> Iterator[Gap]:
    """Yield the gaps that touch `from_us` ≤ t < `to_us`, device by device, by time."""
    columns = (gap.c.device_id, gap.c.lane, gap.c.store_id, gap.c.from_seq, gap.c.to_seq, gap.c.from_us, gap.c.to_us)
    wanted = select(*columns, gap.c["count"], gap.c.reason, gap.c.received_us).where(
        gap.c.device_id.in_(device_ids), gap.c.to_us >= from_us, gap.c.from_us < to_us
    )
    order = (gap.c.device_id, gap.c.from_us, gap.c.store_id, gap.c.lane, gap.c.from_seq)
    lazily = {"stream_results": True, "max_row_buffer": 1000}
    for row in conn.execute(wanted.order_by(*order), execution_options=lazily):
        yield Gap(*tuple(row))


def _any(device_id: ColumnElement[str], *holds: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(device_id == device.c.id, *holds)
