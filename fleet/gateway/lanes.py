"""What one batch means: its new rows, lane by lane, in the transaction that advances the mark."""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Connection

from agent.wire.limits import MAX_NAME_CHARS
from agent.wire.messages import Batch, DeviceEvent, Lane, Segment
from fleet.core.actor import FLEET, of_device
from fleet.core.event import Event
from fleet.core.hole import Hole, Row
from fleet.store import alarm, event, gap, reported

SAID = "said."  # before the kind of what a device says about what is the fleet's
FLEETS_OWN = frozenset(
    {"claim", "config", "device", "export", "import", "quarantine", "retention", "server", "ticket", "token"}
)
"""Nouns about which only the fleet speaks: a device that uses one is kept as `said.<kind>`."""


def rows_of(batch: Batch) -> list[Row]:
    """Return what is asked of each row of the batch, so that no reading is touched again."""
    if batch.events:
        return [Row(row.seq, row.t_us, row.t_us) for row in batch.events]
    return [_row(segment) for segment in batch.segments]


def _row(segment: Segment) -> Row:
    ends_us = [one.t0_us + sum(one.dt) for one in segment.series]
    return Row(
        seq=segment.seq,
        from_us=min([one.t0_us for one in segment.series]),
        to_us=max(ends_us),
        readings=sum([len(one.v) for one in segment.series]),
        newest=[(one.name, [t_us, one.v[-1], one.unit]) for t_us, one in zip(ends_us, segment.series, strict=True)],
    )


def note_holes(conn: Connection, device_id: str, batch: Batch, holes: Sequence[Hole], *, received_us: int) -> None:
    """Keep the holes of a batch, unless they are explained already, and say so."""
    for found in gap.find(conn, device_id, batch.store_id, batch.lane, holes, received_us=received_us):
        left = found.hole
        text = f"{device_id}: rows {left.from_seq}…{left.to_seq} of {batch.lane} never arrived."
        if found.holes > 1:
            text = f"{device_id}: {found.rows} of the rows {left.from_seq}…{left.to_seq} of {batch.lane} never arrived."
        data = {**asdict(left), "store_id": batch.store_id, "lane": batch.lane.value, "reason": gap.reason(found)}
        about = (device_id, FLEET.id, FLEET.origin, text, device_id, data)
        event.append(conn, Event(left.to_us, received_us, "gap.recorded", "device", *about))


def explain(conn: Connection, device_id: str, batch: Batch, first_seq: int, *, received_us: int) -> None:
    """Keep the gaps that new rows of the batch explain; before its holes are found, for one of them may be its own."""
    told = [row.gap for row in batch.events if row.gap is not None and row.seq >= first_seq]
    for lane in Lane:
        gaps = [one for one in told if one.lane is lane]
        if gaps:
            gap.explain(conn, device_id, batch.store_id, lane, gaps, received_us=received_us)


def store_events(
    conn: Connection, device_id: str, store_id: str, rows: Sequence[DeviceEvent], *, received_us: int
) -> None:
    """Store new rows of the events lane: alarms to their table, everything to the event table.

    A change of an alarm that is the fleet's changes nothing, and is kept as `said.<kind>`.
    """
    for row in rows:
        if row.alarm is None:
            event.append_all(conn, events_of(device_id, store_id, [row], received_us=received_us))
            continue
        # No condition: the rule is gone. That is told in the device's own words.
        why = "" if row.alarm.condition else row.text
        about = {"t_us": row.t_us, "received_us": received_us}
        if not alarm.apply_change(conn, device_id, row.alarm, **about, origin="edge", why=why, log=row.log):
            event.append(conn, _device_event(device_id, store_id, row, received_us))
        # Otherwise the alarm's own events say it, with the alarm's number.


def events_of(device_id: str, store_id: str, rows: Sequence[DeviceEvent], *, received_us: int) -> list[Event]:
    """Return the fleet's events that rows of the events lane are, of which none is an alarm."""
    # What became of a config is written from the reported state, which says the same and cannot be lost.
    return [_device_event(device_id, store_id, row, received_us) for row in rows if row.kind not in reported.KINDS]


def _device_event(device_id: str, store_id: str, row: DeviceEvent, received_us: int) -> Event:
    data: dict[str, object] = {
        "subject": row.subject,
        "store_id": store_id,
        "seq": row.seq,
        "clock": row.clock.value,
        "boot_id": row.boot_id,
    }
    if row.gap is not None:
        data["gap"] = asdict(row.gap)
    if row.job is not None:
        data["job"] = asdict(row.job)
    if row.alarm is not None:
        data["alarm"] = asdict(row.alarm)
    own = row.alarm is not None or row.kind.partition(".")[0] in FLEETS_OWN
    kind = f"{SAID}{row.kind}"[:MAX_NAME_CHARS] if own else row.kind
    by = of_device(device_id)
    return Event(row.t_us, received_us, kind, "device", device_id, by.id, by.origin, row.text, device_id, data)
