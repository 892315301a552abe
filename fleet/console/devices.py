"""The page of all devices: state at a glance, and search."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from fleet.console.session import User
from fleet.console.template import render
from fleet.core.presence import Presence
from fleet.services import Services
from fleet.store import alarm, config, customer, device, presence, ticket

SHOWN = 200  # devices on the page
SCANNED = 1000  # devices that a filter by presence looks at, since presence is computed


@dataclass(frozen=True, slots=True)
class Line:
    """One device, at a glance."""

    id: str
    product: str
    serial: str
    site: str
    customer: str
    presence: str
    last_seen_us: int | None
    config_state: str
    open_alarms: int
    worst_severity: str
    open_tickets: int


async def show(request: Request, services: Services, user: User) -> Response:
    """Show the devices that match `q` (id, serial, product, site, customer) and `presence`."""
    q = request.query_params.get("q", "").strip()
    wanted = request.query_params.get("presence", "")
    now_us = services.now_us()
    lines = await services.db.read(lambda conn: _lines(conn, q, now_us))
    counts = [(state, count) for state, count in Counter(line.presence for line in lines).most_common() if count]
    if wanted:
        lines = [line for line in lines if line.presence == wanted]
    query = urlencode({key: value for key, value in (("q", q), ("presence", wanted)) if value})
    return render(
        "devices.html",
        user=user,
        tab="devices",
        q=q,
        presence=wanted,
        presences=["online", "late", "offline", "never", "revoked"],
        devices=lines[:SHOWN],
        more=len(lines) > SHOWN,
        counts=counts,
        self_url=f"/devices?{query}" if query else "/devices",
    )


def _lines(conn: Connection, q: str, now_us: int) -> Sequence[Line]:
    found = {each.id: each for each in device.page(conn, q=q, limit=SCANNED)}
    if q in device.products(conn):
        found |= {each.id: each for each in device.page(conn, product_id=q, limit=SCANNED)}
    ids = sorted(found)
    there = presence.of(conn, ids, now_us=now_us)
    alarms = alarm.open_of(conn, ids)
    tickets = ticket.open_of(conn, ids)
    configs = {each.device_id: each for each in config.standings(conn, device_ids=ids, limit=max(1, len(ids)))}
    customers = customer.names(conn, {each.customer_id for each in found.values()})
    lines = []
    for device_id in ids:
        each = found[device_id]
        state, _, last_seen_us = there.get(device_id, (Presence.NEVER, 0, None))
        count, worst = alarms.get(device_id, (0, None))
        lines.append(
            Line(
                id=device_id,
                product=each.product_id,
                serial=each.serial,
                site=each.site,
                customer=customers[each.customer_id],
                presence="revoked" if each.revoked_us else str(state),
                last_seen_us=last_seen_us,
                config_state=str(configs[device_id].state) if device_id in configs else "unset",
                open_alarms=count,
                worst_severity=str(worst or ""),
                open_tickets=tickets.get(device_id, 0),
            )
        )
    return lines
