"""What each device says of its config: one row a device, and an event whenever what it says changes."""

from sqlalchemy import Connection, insert, select, update

from agent.wire.messages import ConfigOutcome, Reported
from fleet.core.actor import of_device
from fleet.core.event import Event
from fleet.store import event
from fleet.store.schema import reported


def record(conn: Connection, device_id: str, said: Reported, *, t_us: int, received_us: int) -> None:
    """Note what a device reports, dated `t_us`; what it said before is no change. Appends config.applied, .refused."""
    row = conn.execute(select(reported).where(reported.c.device_id == device_id)).one_or_none()
    values = {
        "handled": said.handled,
        "outcome": said.outcome.value,
        "applied": said.applied,
        "applied_hash": said.applied_hash,
        "reason": said.reason,
    }
    if row is None:
        conn.execute(insert(reported).values(device_id=device_id, t_us=t_us, **values))
    elif all(getattr(row, name) == value for name, value in values.items()) or row.t_us > t_us:
        return
    else:
        conn.execute(update(reported).where(reported.c.device_id == device_id).values(t_us=t_us, **values))
    if said.outcome is ConfigOutcome.SEEDED:
        return
    refused = said.outcome is ConfigOutcome.REFUSED
    kind = "config.refused" if refused else "config.applied"
    text = (
        f"{device_id} refused config {said.handled}: {said.reason}"
        if refused
        else f"{device_id} runs config {said.applied}."
    )
    by = of_device(device_id)
    event.append(
        conn,
        Event(t_us, received_us, kind, "config", str(said.handled), by.id, by.origin, text[:2048], device_id, values),
    )
