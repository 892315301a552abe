"""Customers: who a company sells its machines to.

The id is ours to choose and never changes; the name is what people read. `external_id` is what another system, an ERP
or a CRM, calls the same customer, so that an import that runs again makes nobody twice.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, Row, func, insert, or_, select, update

from agent.wire.topics import DEVICE_ID
from fleet.core.actor import Actor
from fleet.core.event import Event
from fleet.errors import Invalid, NotFound, Refused
from fleet.store import event
from fleet.store.schema import customer as table
from fleet.store.schema import device

MAX_PAGE = 1000  # customers
MAX_NAME_CHARS = 256
MAX_EXTERNAL_CHARS = 128

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Change(StrEnum):
    """What putting a customer has changed."""

    ADDED = "added"
    CHANGED = "changed"
    NONE = "none"  # it was so already


@dataclass(frozen=True, slots=True)
class Customer:
    """Somebody whose machines are served."""

    id: str
    name: str
    external_id: str | None  # in the system that it was imported from
    created_us: int


def put(  # noqa: PLR0913 - one keyword a fact
    conn: Connection, customer_id: str, *, name: str, external_id: str | None, now_us: int, by: Actor
) -> Change:
    """Add a customer, or give the one with this id another name or external id; the same again changes nothing.

    Without `external_id` the one that is known stays. Appends `customer.created` or `customer.changed`. Raises Invalid,
    and Refused where the external id is another customer's.
    """
    _check(customer_id, name, external_id)
    row = conn.execute(select(table).where(table.c.id == customer_id).with_for_update()).one_or_none()
    known = None if row is None else _customer(row)
    if external_id is None and known is not None:
        external_id = known.external_id
    if known is not None and (known.name, known.external_id) == (name, external_id):
        return Change.NONE
    _refuse_taken(conn, customer_id, external_id)
    values = {"name": name, "external_id": external_id}
    if known is None:
        conn.execute(insert(table).values(id=customer_id, created_us=now_us, **values))
        _tell(conn, "created", customer_id, f"Customer {customer_id} was added: {name}.", values, now_us=now_us, by=by)
        return Change.ADDED
    conn.execute(update(table).where(table.c.id == customer_id).values(**values))
    before = {"name": known.name, "external_id": known.external_id}
    text = f"Customer {customer_id} was changed: {name}."
    _tell(conn, "changed", customer_id, text, {**values, "before": before}, now_us=now_us, by=by)
    return Change.CHANGED


def get(conn: Connection, customer_id: str) -> Customer:
    """Return one customer; raises NotFound."""
    row = conn.execute(select(table).where(table.c.id == customer_id)).one_or_none()
    if row is None:
        hint = f"`fleet customer list` shows all; `fleet customer add {customer_id} --name …` adds it."
        raise NotFound(f"there is no customer {customer_id!r}", hint=hint)
    return _customer(row)


def page(
    conn: Connection,
    *,
    q: str | None = None,
    external_id: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> list[Customer]:
    """Return customers by id; `q` is a part of id, name or external id, `after` the last id of the page before."""
    query = select(table)
    if q:
        columns = (table.c.id, table.c.name, table.c.external_id)
        query = query.where(or_(*(column.icontains(q, autoescape=True) for column in columns)))
    if external_id is not None:
        query = query.where(table.c.external_id == external_id)
    if after is not None:
        query = query.where(table.c.id > after)
    return [_customer(row) for row in conn.execute(query.order_by(table.c.id).limit(min(limit, MAX_PAGE)))]


def names(conn: Connection, customer_ids: Collection[str | None]) -> dict[str | None, str]:
    """Return the names of customers by id; None, nobody, has the name ""."""
    wanted = {one for one in customer_ids if one is not None}
    rows = conn.execute(select(table.c.id, table.c.name).where(table.c.id.in_(wanted))) if wanted else ()
    return {None: "", **{row.id: row.name for row in rows}}


def devices_of(conn: Connection, customer_ids: Collection[str]) -> dict[str, int]:
    """Return how many devices customers have now; those without any are left out."""
    mine = device.c.customer_id.in_(customer_ids)
    counted = select(device.c.customer_id, func.count().label("devices")).where(mine).group_by(device.c.customer_id)
    return {row.customer_id: row.devices for row in conn.execute(counted)}


def _check(customer_id: str, name: str, external_id: str | None) -> None:
    if not DEVICE_ID.fullmatch(customer_id):
        raise Invalid(
            f"{customer_id[:64]!r} is not a customer's id",
            hint="Use lower-case letters, digits and '-', at most 64: acme, edeka-sued.",
        )
    for what, text, most in (("name", name, MAX_NAME_CHARS), ("external id", external_id or "", MAX_EXTERNAL_CHARS)):
        if len(text) > most or _CONTROL.search(text):
            raise Invalid(f"the {what} of {customer_id} is longer than {most} characters or holds a control character")
    if not name.strip() or (external_id is not None and not external_id.strip()):
        raise Invalid(f"the name or external id of {customer_id} is empty", hint="Say one, or leave it out.")


def _refuse_taken(conn: Connection, customer_id: str, external_id: str | None) -> None:
    if external_id is None:
        return
    found = conn.execute(select(table.c.id).where(table.c.external_id == external_id)).scalar_one_or_none()
    if found not in (None, customer_id):
        raise Refused(
            f"the external id {external_id!r} is customer {found}'s, not {customer_id}'s",
            hint=f"See who that is: fleet customer show {found}",
        )


def _tell(  # noqa: PLR0913 - one event
    conn: Connection, verb: str, customer_id: str, text: str, data: Mapping[str, object], *, now_us: int, by: Actor
) -> None:
    about = ("customer", customer_id, by.id, by.origin, text, None, data)
    event.append(conn, Event(now_us, now_us, f"customer.{verb}", *about))


def _customer(row: Row[tuple[object, ...]]) -> Customer:
    return Customer(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
