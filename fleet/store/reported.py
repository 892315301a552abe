"""What each device says of its config: one row a device, and an event whenever what it says changes."""

from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from agent.wire.messages import ConfigOutcome, Reported
from fleet.core.actor import of_device
from fleet.core.event import Event
from fleet.store import event
from fleet.store.schema import reported

KINDS = frozenset(f"config.{outcome}" for outcome in ConfigOutcome if outcome is not ConfigOutcome.SEEDED)
"""Kinds of event that are made of what devices report; a device's own events of these kinds say the same again."""

_ONE = select(reported).where(reported.c.device_id == bindparam("device"))
_NEW = insert(reported)
_NOTE = update(reported).where(reported.c.device_id == bindparam("device"))  # sets what it is given

_TEXTS = {
    ConfigOutcome.TRYING: "{device} tries config {said.handled}; it keeps it if it stays well.",
    ConfigOutcome.APPLIED: "{device} runs config {said.applied}.",
    ConfigOutcome.REFUSED: "{device} refused config {said.handled}: {said.reason}",
    ConfigOutcome.ROLLED_BACK: "{device} rolled config {said.handled} back: {said.reason}",
}


def record(conn: Connection, device_id: str, said: Reported, *, t_us: int, received_us: int) -> None:
    """Note what a device reports, dated `t_us`; what it said before is no change.

    Appends config.trying, config.applied, config.refused or config.rolled_back.
    """
    row = conn.execute(_ONE, {"device": device_id}).one_or_none()
    values = {
        "handled": said.handled,
        "outcome": said.outcome.value,
        "applied": said.applied,
        "applied_hash": said.applied_hash,
        "reason": said.reason,
    }
    if row is None:
        conn.execute(_NEW, {"device_id": device_id, "t_us": t_us, **values})
    elif all(getattr(row, name) == value for name, value in values.items()) or row.t_us > t_us:
        return
    else:
        conn.execute(_NOTE, {"device": device_id, "t_us": t_us, **values})
    if said.outcome is ConfigOutcome.SEEDED or (row is not None and _is_told(row, said)):
        return
    kind = f"config.{said.outcome}"
    text = _TEXTS[said.outcome].format(device=device_id, said=said)
    by = of_device(device_id)
    event.append(
        conn,
        Event(t_us, received_us, kind, "config", str(said.handled), by.id, by.origin, text[:2048], device_id, values),
    )


def _is_told(row: Row[Any], said: Reported) -> bool:
    """Tell whether what became of the revision was said before; only what runs meanwhile is new."""
    return (row.handled, row.outcome, row.reason) == (said.handled, said.outcome.value, said.reason)
