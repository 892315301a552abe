"""Quarantine: what could not be read, bytes and all, until a person has looked at it.

The same bytes are kept once. A device cannot fill the disk with garbage: beyond `MAX_KEPT` batches the bytes of the
oldest are let go. Those of one batch can be discarded. Either way the row that says what, when and why stays, until a
device has thousands of them: then an event says how many of the oldest were dropped, from when, and why they were here.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, func, select, update

from agent.wire.codec import batch_id
from fleet.core.actor import FLEET, Actor
from fleet.core.event import MAX_EVENT_TEXT_CHARS, Event
from fleet.errors import NotFound
from fleet.store import event
from fleet.store.schema import quarantine as table
from fleet.store.upsert import insert_new

MAX_KEPT = 256  # batches of one device whose bytes are kept
MAX_ROWS = 4096  # batches of one device of which anything is kept …
DROPPED_ROWS = 1024  # … and how many more may come before as many are dropped at once
MAX_REASONS = 10  # that the event names, the most frequent
MAX_BODY_BYTES = 1_000_000  # of one batch; the gateway refuses longer ones before they come here
MAX_PAGE = 1000  # rows

_ROWS = select(
    *(column for column in table.c if column is not table.c.body), func.length(table.c.body).label("size_bytes")
)
NEWEST = (
    select(table.c.id)
    .where(table.c.device_id == bindparam("device"))
    .order_by(table.c.id.desc())
    .offset(bindparam("count"))
    .limit(1)
)
_LET_GO = update(table).where(table.c.id == bindparam("over"), func.length(table.c.body) > 0).values(body=b"")


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One batch that could not be read."""

    id: int
    device_id: str
    received_us: int
    road: str  # link, gateway
    place: str  # JSONPath into the batch, "$" for the whole
    problem: str
    batch: str  # batch_id of the bytes
    size_bytes: int  # of the body that is kept; 0: it was let go, or discarded


def put(  # noqa: PLR0913 - one row
    conn: Connection, device_id: str, payload: bytes, *, place: str, problem: str, road: str, received_us: int
) -> bool:
    """Keep a batch; tells whether it is new (the same bytes are kept once)."""
    new = insert_new(
        conn,
        table,
        {
            "device_id": device_id,
            "received_us": received_us,
            "road": road,
            "place": place[:256],
            "problem": problem[:1024],
            "batch": batch_id(payload),
            "body": payload[:MAX_BODY_BYTES],
        },
    )
    if new:
        over = _newest_but(conn, device_id, MAX_KEPT)
        if over is not None:
            conn.execute(_LET_GO, {"over": over})
            _drop_oldest(conn, device_id, now_us=received_us)
    return new


def _newest_but(conn: Connection, device_id: str, count: int) -> int | None:
    """Return the number of the device's newest row behind so many."""
    return conn.execute(NEWEST, {"device": device_id, "count": count}).scalar_one_or_none()


def _drop_oldest(conn: Connection, device_id: str, *, now_us: int) -> None:
    """Drop the device's oldest rows where there are too many, and say what they said. Appends `quarantine.dropped`."""
    if _newest_but(conn, device_id, MAX_ROWS + DROPPED_ROWS - 1) is None:
        return
    oldest = (table.c.device_id == device_id) & (table.c.id <= _newest_but(conn, device_id, MAX_ROWS))
    figures = select(func.count(), func.min(table.c.received_us), func.max(table.c.received_us)).where(oldest)
    count, from_us, to_us = conn.execute(figures).one()
    by_reason = select(table.c.problem, func.count()).where(oldest).group_by(table.c.problem)
    reasons = conn.execute(by_reason.order_by(func.count().desc(), table.c.problem).limit(MAX_REASONS)).all()
    conn.execute(delete(table).where(oldest))
    text = f"{count} batches of {device_id} that could not be read are listed no longer: {MAX_ROWS} newer ones are. "
    text += f"{reasons[0][1]} of them: {reasons[0][0]}"
    data = {"count": count, "from_us": from_us, "to_us": to_us, "reasons": {row[0]: row[1] for row in reasons}}
    about = ("device", device_id, FLEET.id, FLEET.origin, text[:MAX_EVENT_TEXT_CHARS], device_id, data)
    event.append(conn, Event(now_us, now_us, "quarantine.dropped", *about))


def page(
    conn: Connection, *, device_id: str | None = None, before: int | None = None, limit: int = 100
) -> list[Quarantined]:
    """Return quarantined batches, newest first; `before` is the last id of the page before."""
    query = _ROWS
    if device_id is not None:
        query = query.where(table.c.device_id == device_id)
    if before is not None:
        query = query.where(table.c.id < before)
    rows = conn.execute(query.order_by(table.c.id.desc()).limit(min(limit, MAX_PAGE)))
    return [Quarantined(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name for it


def find(conn: Connection, quarantine_id: int) -> Quarantined:
    """Return one batch, without its bytes; raises NotFound."""
    row = conn.execute(_ROWS.where(table.c.id == quarantine_id)).one_or_none()
    if row is None:
        raise NotFound(
            f"nothing is in quarantine under the number {quarantine_id}", hint="`fleet quarantine list` shows all."
        )
    return Quarantined(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it


def body(conn: Connection, quarantine_id: int) -> bytes:
    """Return the bytes of one batch as they came; raises NotFound. Empty: they were let go, or discarded."""
    find(conn, quarantine_id)
    return bytes(conn.execute(select(table.c.body).where(table.c.id == quarantine_id)).scalar_one())


def discard(conn: Connection, quarantine_id: int, *, now_us: int, by: Actor) -> Quarantined:
    """Drop the bytes of one batch and keep its row; again is no error. Appends `batch.discarded`. Raises NotFound."""
    found = find(conn, quarantine_id)
    if not found.size_bytes:
        return found
    emptied = empty(conn, quarantine_id)
    text = f"The {found.size_bytes} bytes of a batch of {found.device_id} were discarded from quarantine."
    data = {"quarantine": quarantine_id, "batch": found.batch, "bytes": found.size_bytes}
    about = ("device", found.device_id, by.id, by.origin, text, found.device_id, data)
    event.append(conn, Event(now_us, now_us, "batch.discarded", *about))
    return emptied


def empty(conn: Connection, quarantine_id: int) -> Quarantined:
    """Let the bytes of one batch go; its row stays. Raises NotFound."""
    conn.execute(update(table).where(table.c.id == quarantine_id).values(body=b""))
    return find(conn, quarantine_id)


def count(conn: Connection, device_id: str) -> int:
    """Return how many batches of the device are in quarantine."""
    return conn.execute(select(func.count()).select_from(table).where(table.c.device_id == device_id)).scalar_one()
