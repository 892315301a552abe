"""The event table. Appending is the only thing that is ever done to it: no row is changed or taken away here.

Ids are in the order of commits, whichever node commits: a reader that has come to an id has seen all that is below it,
and its place is that one number. What a work of the database appends is therefore written at the end of its
transaction, under a lock that is held from the first id to the COMMIT (docs/decisions/0210).
"""

import json
from collections.abc import Sequence

from sqlalchemy import Connection, Row, insert, or_, select

from fleet.core.event import Event, Origin
from fleet.store.engine import take_turn
from fleet.store.schema import event as table

MAX_PAGE = 1000  # events
WAITING = "fieldline.events"  # in Connection.info: a Waiting, where the transaction writes its events at its end

_TURN = 0x6576656E74  # of those who append: "event"
_APPEND = insert(table)
_HEAD = select(table.c.id).order_by(table.c.id.desc()).limit(1)


class Waiting(list[Event]):
    """Events that a transaction has appended and not written yet."""

    has_written = False  # it has written some


def append(conn: Connection, event: Event) -> None:
    """Append one event; subscribers hear of it after COMMIT."""
    append_all(conn, (event,))


def append_all(conn: Connection, events: Sequence[Event]) -> None:
    """Append events, in their order."""
    waiting = conn.info.get(WAITING)
    if waiting is None:
        _write(conn, events)
    else:
        waiting.extend(events)


def write_waiting(conn: Connection) -> None:
    """Write what the transaction has appended; no other node writes any event until the transaction ends."""
    waiting = conn.info.get(WAITING)
    if waiting:
        _write(conn, waiting)
        waiting.clear()
        waiting.has_written = True


def _write(conn: Connection, events: Sequence[Event]) -> None:
    if events:
        take_turn(conn, _TURN)
        conn.execute(_APPEND, [_values(event) for event in events])


def page(  # noqa: PLR0913 - one keyword a filter
    conn: Connection,
    *,
    after: int | None = None,
    before: int | None = None,
    device_id: str | None = None,
    kinds: Sequence[str] = (),
    noun: str | None = None,
    noun_id: str | None = None,
    from_us: int | None = None,
    to_us: int | None = None,
    limit: int = 100,
) -> list[Event]:
    """Return events in the order they were written.

    `after` and `before` are ids and exclusive: with `after` the oldest first, otherwise the newest first, so that
    the id of the last event is the cursor of the next page. `kinds` are whole kinds (`alarm.raised`) or, with a dot
    at the end, all of a noun (`alarm.`). `from_us` ≤ event time < `to_us`.
    """
    write_waiting(conn)  # a transaction sees its own
    query = select(table)
    if after is not None:
        query = query.where(table.c.id > after)
    if before is not None:
        query = query.where(table.c.id < before)
    if device_id is not None:
        query = query.where(table.c.device_id == device_id)
    if kinds:
        query = query.where(
            or_(
                table.c.kind.in_([kind for kind in kinds if not kind.endswith(".")]),
                *(table.c.kind.startswith(kind, autoescape=True) for kind in kinds if kind.endswith(".")),
            )
        )
    if noun is not None:
        query = query.where(table.c.noun == noun)
    if noun_id is not None:
        query = query.where(table.c.noun_id == noun_id)
    if from_us is not None:
        query = query.where(table.c.t_us >= from_us)
    if to_us is not None:
        query = query.where(table.c.t_us < to_us)
    query = query.order_by(table.c.id if after is not None else table.c.id.desc()).limit(min(limit, MAX_PAGE))
    return [_event(row) for row in conn.execute(query)]


def head(conn: Connection) -> int:
    """Return the id of the newest event, 0 before the first."""
    return conn.execute(_HEAD).scalar_one_or_none() or 0


def _values(event: Event) -> dict[str, object]:
    return {
        "t_us": event.t_us,
        "received_us": event.received_us,
        "kind": event.kind,
        "device_id": event.device_id,
        "noun": event.noun,
        "noun_id": event.noun_id,
        "actor": event.actor,
        "origin": event.origin.value,
        "text": event.text,
        "data": json.dumps(dict(event.data), separators=(",", ":"), allow_nan=False),
    }


def _event(row: Row[tuple[object, ...]]) -> Event:
    return Event(
        id=row.id,
        t_us=row.t_us,
        received_us=row.received_us,
        kind=row.kind,
        device_id=row.device_id,
        noun=row.noun,
        noun_id=row.noun_id,
        actor=row.actor,
        origin=Origin(row.origin),
        text=row.text,
        data=json.loads(row.data),
    )
