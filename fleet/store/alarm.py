"""Alarms: one open row per (device, series, rule), by a partial unique index, whoever writes at the same time."""

from sqlalchemy import Connection

from agent.wire.messages import AlarmChange


def apply_change(  # noqa: PLR0913 - one keyword a fact
    conn: Connection, device_id: str, change: AlarmChange, *, t_us: int, received_us: int, origin: str
) -> None:
    """Take an alarm change that a rule announced at `t_us`; `origin` is "edge" or "fleet".

    Opens, updates or clears the alarm, opens the ticket if the rule asks for one, starts the ticket's verification
    when the alarm clears; appends the events. A change older than the alarm's newest moves nothing back; a clear of
    an alarm that is not open is ignored.
    """
    raise NotImplementedError


def raise_own(  # noqa: PLR0913 - one keyword a fact
    conn: Connection, device_id: str, rule: str, text: str, *, t_us: int, received_us: int
) -> None:
    """Raise an alarm of the fleet's own about a device (`rule` as in "fleet.quarantine"); a repeat counts up."""
    raise NotImplementedError
