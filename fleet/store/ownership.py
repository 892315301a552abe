"""Whose a device is and was: transfers as events, tenures computed from them."""

import json
from collections.abc import Sequence

from sqlalchemy import Connection, select, text, update

from fleet.core.actor import Actor
from fleet.core.event import Event
from fleet.core.ownership import UNOWNED, Tenure, Transfer, tenures
from fleet.errors import Invalid, Refused
from fleet.store import customer, device, event
from fleet.store.schema import TRANSFERRED
from fleet.store.schema import device as devices
from fleet.store.schema import event as events

IDS_AT_ONCE = 500  # devices named by one query


def transfer(  # noqa: PLR0913 - one keyword a fact
    conn: Connection, device_id: str, customer_id: str | None, *, at_us: int, now_us: int, by: Actor
) -> bool:
    """Make a device a customer's (None: nobody's) from `at_us` on; False if it is theirs already.

    Appends `device.transferred`. Raises NotFound, Invalid for a time to come, Refused for one before its last transfer.
    """
    if at_us > now_us:
        raise Invalid(f"{device_id} cannot be transferred at a time to come", hint="Do it then, or say a time past.")
    if customer_id is not None:
        customer.get(conn, customer_id)
    mine = devices.c.id == device_id
    row = conn.execute(select(devices.c.customer_id).where(mine).with_for_update()).one_or_none()
    if row is None:
        raise device.unknown(device_id)
    if row.customer_id == customer_id:
        return False
    last = of(conn, device_id)[-1]
    if at_us < last.from_us:
        raise Refused(
            f"{device_id} was transferred after that already, to {last.customer_id or 'nobody'}",
            hint=f"See when: fleet device owners {device_id}",
        )
    conn.execute(update(devices).where(mine).values(customer_id=customer_id))
    said = f"{device_id} was transferred from {row.customer_id or 'nobody'} to {customer_id or 'nobody'}."
    data = {"from": row.customer_id, "to": customer_id}
    about = ("device", device_id, by.id, by.origin, said, device_id, data)
    event.append(conn, Event(at_us, now_us, TRANSFERRED, *about))
    return True


def of(conn: Connection, device_id: str) -> Sequence[Tenure]:
    """Return the tenures of one device; at least one."""
    return of_many(conn, [device_id]).get(device_id, UNOWNED)


def of_many(conn: Connection, device_ids: Sequence[str]) -> dict[str, Sequence[Tenure]]:
    """Return the tenures of those of the devices that were ever transferred."""
    wanted = select(events.c.device_id, events.c.t_us, events.c.data)
    # As a literal: only so does a database see that its index of these events serves.
    wanted = wanted.where(text(f"kind = '{TRANSFERRED}'")).order_by(events.c.device_id, events.c.id)
    found: dict[str, list[Transfer]] = {}
    for start in range(0, len(device_ids), IDS_AT_ONCE):
        some = device_ids[start : start + IDS_AT_ONCE]
        for device_id, t_us, data in conn.execute(wanted.where(events.c.device_id.in_(some))):
            found.setdefault(device_id, []).append(Transfer(t_us, json.loads(data)["to"]))
    return {device_id: tenures(some) for device_id, some in found.items()}
