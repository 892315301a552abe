"""Devices and the products that they are.

A device is known from its first claim on (`enrolled_us` is NULL: it was never in), and enrolled when it used one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Row, bindparam, or_, select, update

from fleet.core.actor import Actor
from fleet.core.event import Event
from fleet.errors import NotFound
from fleet.store import event
from fleet.store.schema import certificate, claim, customer, product
from fleet.store.schema import device as table
from fleet.store.upsert import insert_new

MAX_PAGE = 1000  # devices

_ENROL = update(table).where(table.c.id == bindparam("device"))  # sets what it is given


@dataclass(frozen=True, slots=True)
class Device:
    """One machine in the field."""

    id: str
    product_id: str
    serial: str
    site: str
    created_us: int
    enrolled_us: int | None
    revoked_us: int | None
    agent_version: str
    customer_id: str | None


def get(conn: Connection, device_id: str) -> Device:
    """Return one device; raises NotFound."""
    row = conn.execute(select(table).where(table.c.id == device_id)).one_or_none()
    if row is None:
        raise unknown(device_id)
    return _device(row)


def unknown(device_id: str) -> NotFound:
    """Make the error for a device that does not exist."""
    return NotFound(f"there is no device {device_id!r}", hint="`fleet device list` shows all devices.")


def page(  # noqa: PLR0913 - one keyword a filter
    conn: Connection,
    *,
    product_id: str | None = None,
    customer_id: str | None = None,
    q: str | None = None,
    revoked: bool | None = None,
    ids: Sequence[str] | None = None,
    after: str | None = None,
    limit: int = 100,
) -> list[Device]:
    """Return devices by id; `after` is the last id of the page before. `q` is a part of what `named` looks at."""
    query = select(table)
    if product_id is not None:
        query = query.where(table.c.product_id == product_id)
    if customer_id is not None:
        query = query.where(table.c.customer_id == customer_id)
    if q:
        query = query.where(named(q))
    if revoked is not None:
        query = query.where(table.c.revoked_us.is_not(None) if revoked else table.c.revoked_us.is_(None))
    if ids is not None:
        query = query.where(table.c.id.in_(ids))
    if after is not None:
        query = query.where(table.c.id > after)
    query = query.order_by(table.c.id).limit(min(limit, MAX_PAGE))
    return [_device(row) for row in conn.execute(query)]


def named(q: str) -> ColumnElement[bool]:
    """Return the condition that a device's id, serial, site or customer holds these characters, in any case."""
    customers = select(customer.c.id).where(
        or_(*(column.icontains(q, autoescape=True) for column in (customer.c.id, customer.c.name)))
    )
    columns = (table.c.id, table.c.serial, table.c.site)
    return or_(*(column.icontains(q, autoescape=True) for column in columns), table.c.customer_id.in_(customers))


def products(conn: Connection) -> list[str]:
    """Return the ids of all products."""
    return list(conn.execute(select(product.c.id).order_by(product.c.id)).scalars())


def add_product(conn: Connection, product_id: str, *, now_us: int) -> None:
    """Make sure that the product exists."""
    insert_new(conn, product, {"id": product_id, "created_us": now_us})


def prepare(  # noqa: PLR0913 - what is known of a machine
    conn: Connection, device_id: str, product_id: str, *, serial: str, site: str, now_us: int
) -> None:
    """Make a device that is to come; the newest claim says what it is. One that was ever enrolled stays as it is."""
    add_product(conn, product_id, now_us=now_us)
    values = {"product_id": product_id, "serial": serial, "site": site}
    if not insert_new(conn, table, {"id": device_id, "created_us": now_us, **values}):
        never = (table.c.id == device_id) & table.c.enrolled_us.is_(None)
        conn.execute(update(table).where(never).values(**values, revoked_us=None))


def add_known(  # noqa: PLR0913 - what is known of a machine
    conn: Connection, device_id: str, product_id: str, *, serial: str, site: str, now_us: int
) -> bool:
    """Make a device of which only its past is known: without a claim, never enrolled; False if it is there already."""
    add_product(conn, product_id, now_us=now_us)
    values = {"id": device_id, "product_id": product_id, "serial": serial, "site": site, "created_us": now_us}
    return insert_new(conn, table, values)


def enrol(  # noqa: PLR0913 - what is known of a machine
    conn: Connection, device_id: str, product_id: str, *, serial: str, site: str, now_us: int
) -> None:
    """Let the device in: one that was prepared, a revoked one that comes back under its id, or one that is new.

    The right to do so (a claim) was checked by the caller, whose business certificate and event are too.
    """
    add_product(conn, product_id, now_us=now_us)
    values = {"product_id": product_id, "serial": serial, "site": site, "enrolled_us": now_us}
    if not insert_new(conn, table, {"id": device_id, "created_us": now_us, **values}):
        conn.execute(_ENROL, {"device": device_id, **values, "revoked_us": None})


def revoke(conn: Connection, device_id: str, reason: str, *, now_us: int, by: Actor) -> Device:
    """Take the device's right to call, its certificates' and its open claims'; again is no error.

    Appends device.revoked.
    """
    found = get(conn, device_id)
    unused = (claim.c.device_id == device_id) & claim.c.used_us.is_(None) & claim.c.revoked_us.is_(None)
    conn.execute(update(claim).where(unused).values(revoked_us=now_us))
    if found.revoked_us is not None:
        return found
    conn.execute(update(table).where(table.c.id == device_id).values(revoked_us=now_us))
    valid = (certificate.c.device_id == device_id) & certificate.c.revoked_us.is_(None)
    conn.execute(update(certificate).where(valid).values(revoked_us=now_us))
    text = f"{device_id} was revoked." if not reason else f"{device_id} was revoked: {reason}"
    data = {"reason": reason}
    about = (device_id, by.id, by.origin, text[:2048], device_id, data)
    event.append(conn, Event(now_us, now_us, "device.revoked", "device", *about))
    return get(conn, device_id)


def _device(row: Row[tuple[object, ...]]) -> Device:
    return Device(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
