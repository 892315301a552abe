"""One look-up for everything: whatever is on the plate, the label or the phone, ranked.

0  it is exactly this one's name: device id, serial, T-12, a product
1  its name begins so
2  its name, site or title holds it
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Column, Connection, func, or_, select

from fleet.store.schema import alarm, config, customer, device, product, ticket

MAX_QUERY_CHARS = 128
PER_KIND = 20  # hits of one kind
NUMBER = re.compile(r"(?:(?P<kind>[tac])-?)?(?P<id>\d{1,18})", re.IGNORECASE)


class Kind(StrEnum):
    """What was found."""

    DEVICE = "device"
    TICKET = "ticket"
    ALARM = "alarm"
    CUSTOMER = "customer"
    PRODUCT = "product"
    SITE = "site"
    CONFIG = "config"


@dataclass(frozen=True, slots=True)
class Hit:
    """One thing that was found; `id` is what its own routes and commands take."""

    kind: Kind
    id: str
    label: str
    detail: str
    rank: int  # 0 exact, 1 begins so, 2 holds it


def find(conn: Connection, q: str, *, limit: int = 50) -> list[Hit]:
    """Return what a few characters may mean, the likeliest first; nothing for nothing."""
    q = q.strip()[:MAX_QUERY_CHARS]
    if not q or "\0" in q:
        return []
    kinds = (_numbered, _devices, _customers, _products, _sites, _tickets)
    hits = [hit for found in kinds for hit in found(conn, q)]
    order = tuple(Kind)
    unique = {(hit.kind, hit.id): hit for hit in sorted(hits, key=lambda hit: -hit.rank)}
    return sorted(unique.values(), key=lambda hit: (hit.rank, order.index(hit.kind), hit.id))[:limit]


def _numbered(conn: Connection, q: str) -> list[Hit]:
    match = NUMBER.fullmatch(q)
    if match is None:
        return []
    number, kind = int(match["id"]), (match["kind"] or "").lower()
    hits: list[Hit] = []
    if kind in ("", "t"):
        rows = conn.execute(select(ticket.c.id, ticket.c.title, ticket.c.state).where(ticket.c.id == number))
        hits += [Hit(Kind.TICKET, str(row.id), f"T-{row.id}", f"{row.title} · {row.state}", 0) for row in rows]
    if kind in ("", "a"):
        columns = (alarm.c.id, alarm.c.rule, alarm.c.series, alarm.c.device_id, alarm.c.state)
        rank = 0 if kind else 1
        alarms = conn.execute(select(*columns).where(alarm.c.id == number))
        hits += [Hit(Kind.ALARM, str(id_), f"A-{id_}", " · ".join(rest), rank) for id_, *rest in alarms]
    if kind in ("", "c"):
        configs = conn.execute(select(config.c.id, config.c.scope, config.c.target).where(config.c.id == number))
        hits += [
            Hit(Kind.CONFIG, str(id_), f"config {id_}", f"of {scope} {target}", 1) for id_, scope, target in configs
        ]
    return hits


def _devices(conn: Connection, q: str) -> list[Hit]:
    columns = (device.c.id, device.c.serial, device.c.site)
    wanted = select(*columns, device.c.product_id).where(or_(*(_holds(column, q) for column in columns)))
    hits = []
    for row in conn.execute(wanted.order_by(device.c.id != q, device.c.serial != q, device.c.id).limit(PER_KIND)):
        rank = min(_rank(row.id, q), _rank(row.serial, q), 2)
        detail = " · ".join(part for part in (row.product_id, row.serial and f"serial {row.serial}", row.site) if part)
        hits.append(Hit(Kind.DEVICE, row.id, row.id, detail, rank))
    return hits


def _customers(conn: Connection, q: str) -> list[Hit]:
    columns = (customer.c.id, customer.c.name, customer.c.external_id)
    count = select(func.count()).where(device.c.customer_id == customer.c.id).scalar_subquery()
    wanted = select(*columns, count.label("devices")).where(or_(*(_holds(column, q) for column in columns)))
    exact_first = (customer.c.id != q, func.coalesce(customer.c.external_id, "") != q, customer.c.id)
    return [
        Hit(Kind.CUSTOMER, row.id, row.name, f"customer {row.id}, {row.devices} devices", _best(row[:3], q))
        for row in conn.execute(wanted.order_by(*exact_first).limit(PER_KIND))
    ]


def _products(conn: Connection, q: str) -> list[Hit]:
    count = select(func.count()).where(device.c.product_id == product.c.id).scalar_subquery()
    wanted = select(product.c.id, count.label("devices")).where(_holds(product.c.id, q)).order_by(product.c.id)
    return [
        Hit(Kind.PRODUCT, row.id, row.id, f"product, {row.devices} devices", _rank(row.id, q))
        for row in conn.execute(wanted.limit(PER_KIND))
    ]


def _sites(conn: Connection, q: str) -> list[Hit]:
    wanted = select(device.c.site, func.count().label("devices")).where(_holds(device.c.site, q))
    rows = conn.execute(wanted.group_by(device.c.site).order_by(device.c.site).limit(PER_KIND))
    return [Hit(Kind.SITE, row.site, row.site, f"site, {row.devices} devices", _rank(row.site, q)) for row in rows]


def _tickets(conn: Connection, q: str) -> list[Hit]:
    columns = (ticket.c.title, ticket.c.assignee, ticket.c.device_id)
    wanted = select(ticket.c.id, ticket.c.state, *columns).where(or_(*(_holds(column, q) for column in columns)))
    return [
        Hit(Kind.TICKET, str(row.id), f"T-{row.id}", f"{row.title} on {row.device_id} · {row.state}", 2)
        for row in conn.execute(wanted.order_by(ticket.c.id.desc()).limit(PER_KIND))
    ]


def _holds(column: Column[str], q: str) -> Any:  # noqa: ANN401 - SQLAlchemy's expression
    return column.icontains(q, autoescape=True)


def _best(texts: Sequence[str | None], q: str) -> int:
    return min(_rank(text, q) for text in texts if text is not None)


def _rank(text: str, q: str) -> int:
    text, q = text.casefold(), q.casefold()
    return 0 if text == q else 1 if text.startswith(q) else 2
