"""The event table. Appending is the only thing that is ever done to it: no row is changed or taken away here."""

import json
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, Row, insert, or_, select

from fleet.core.event import Event, Origin
from fleet.store.database import EVENTS_KEY
from fleet.store.schema import event as table

MAX_PAGE = 1000  # events

_APPEND = insert(table).returning(table.c.id)
_APPEND_ALL = insert(table).returning(table.c.id, sort_by_parameter_order=True)


def append(conn: Connection, event: Event) -> int:
    """Write one event and return its id; subscribers hear of it after COMMIT."""
    event_id = int(conn.execute(_APPEND, _values(event)).scalar_one())
    conn.info.setdefault(EVENTS_KEY, []).append(replace(event, id=event_id))
    return event_id


def append_all(conn: Connection, events: Sequence[Event]) -> None:
    """Write many events, in their order, with few statements."""
    if events:
        ids = conn.execute(_APPEND_ALL, [_values(event) for event in events]).scalars()
        told = [replace(event, id=event_id) for event, event_id in zip(events, ids, strict=True)]
        conn.info.setdefault(EVENTS_KEY, []).extend(told)


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
