"""A batch out of quarantine once it can be read: what of it is missing is stored, exactly once, and its gap ends.

The device has moved past these rows and will not send them again, so the mark says nothing about them. What says that a
row is missing is a gap: only rows that lie in one are stored, and in the same transaction the gap is cut back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import Connection

from agent.wire.messages import Batch
from fleet.core.actor import Actor
from fleet.core.event import Event
from fleet.core.hole import Row, runs_of
from fleet.core.intake import span_of
from fleet.core.latest import merge
from fleet.store import batch, event, gap, intake, latest


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of it."""

    rows: Sequence[Row]  # that were stored: they lay in gaps
    readings: int


def store_missing(  # noqa: PLR0913 - one batch
    conn: Connection, device_id: str, told: Batch, rows: Sequence[Row], body: bytes, *, now_us: int
) -> Replayed:
    """Store the telemetry of the rows that lie in gaps, and end these gaps; events are the caller's to store."""
    standing = intake.standing(conn, device_id, told.store_id, told.lane)
    missing = gap.missing(conn, device_id, told.store_id, told.lane, [row.seq for row in rows])
    stored = [row for row in rows if row.seq in missing]
    runs = runs_of(stored)
    if runs:
        gap.fill(conn, device_id, told.store_id, told.lane, runs)
    of_run = iter(stored)
    for first, last in runs if told.segments else ():  # what is kept of a body is a run of seqs
        span = span_of(list(islice(of_run, last - first + 1)))
        batch.add(conn, device_id, told.store_id, span, body, received_us=now_us)
    known = merge(standing.latest, [entry for row in stored for entry in row.newest])
    if known is not None:
        latest.put(conn, device_id, known)
    return Replayed(stored, sum(row.readings for row in stored))


def tell(  # noqa: PLR0913 - the facts of one event
    conn: Connection, quarantine_id: int, device_id: str, replayed: Replayed, *, now_us: int, by: Actor
) -> None:
    """Append `batch.replayed`."""
    count = len(replayed.rows)
    text = f"A batch of {device_id} was taken out of quarantine: {count} of its rows were missing and are here now."
    data = {"quarantine": quarantine_id, "rows": count, "readings": replayed.readings}
    about = ("device", device_id, by.id, by.origin, text, device_id, data)
    event.append(conn, Event(now_us, now_us, "batch.replayed", *about))
