"""Alarms: one open row per (device, series, rule), by a partial unique index, whoever writes at the same time.

What a change leads to is said by the table in `fleet.core.alarm`; here it is done, in the caller's transaction, with
its events. An announcement locks the alarm's row, so two nodes that take changes of one alarm take turns.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, case, func, select, update

from agent.wire.messages import AlarmChange, AlarmState, Severity, Value
from fleet.core import alarm as core
from fleet.core.actor import FLEET, Actor, of_device
from fleet.core.alarm import Effect
from fleet.core.event import Event
from fleet.errors import NotFound
from fleet.store import event, ticket
from fleet.store.schema import alarm as table
from fleet.store.upsert import insert_new

OWN_SERIES = "fleet"  # series of the alarms that the fleet raises by itself …
OWN_RULES = "fleet."  # … and what their rules begin with: no device has a say in these
MAX_PAGE = 1000  # alarms
MAX_CONDITION_CHARS = 1024

KINDS = {
    Effect.OPEN: "alarm.raised",
    Effect.RELAPSE: "alarm.relapsed",
    Effect.CLEARING: "alarm.clearing",
    Effect.CLEAR: "alarm.cleared",
}
TEXTS = {
    Effect.OPEN: "{severity} alarm {rule} on {series}: {condition}, value {value}.",
    Effect.RELAPSE: "Alarm {rule} on {series} is back: {condition}, value {value}.",
    Effect.CLEARING: "Alarm {rule} on {series} begins to clear, value {value}.",
    Effect.CLEAR: "Alarm {rule} on {series} cleared, value {value}.",
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """One stretch of trouble, of one rule on one series of one device."""

    id: int
    device_id: str
    series: str
    rule: str
    origin: str  # edge, fleet
    severity: Severity
    state: AlarmState
    condition: str
    value: Value  # the reading that completed the last change
    first_bad_us: int
    raised_us: int
    changed_us: int
    received_us: int
    cleared_us: int | None
    count: int  # times raised since it opened
    acked_us: int | None
    acked_by: str | None


def apply_change(  # noqa: PLR0913 - one keyword a fact
    conn: Connection,
    device_id: str,
    change: AlarmChange,
    *,
    t_us: int,
    received_us: int,
    origin: str,
    why: str = "",
    log: tuple[str, ...] = (),
) -> bool:
    """Take an alarm change that a rule announced at `t_us`; `origin` is "edge" or "fleet".

    Returns False where it is not the device's to say, and nothing was done: an alarm of the fleet's own, or one that a
    rule of the fleet holds open.

    `why` is what a clear's event says where it was no reading that cleared the alarm; `log` the agent's last log lines,
    which are evidence if a ticket is opened, and are not kept otherwise.

    Opens, updates or clears the alarm, opens the ticket if the rule asks for one, starts the ticket's verification
    when the alarm clears; appends the events. A change older than the alarm's newest moves nothing back; a clear of
    an alarm that is not open is ignored.
    """
    known = _newest(conn, device_id, change)
    if origin == "edge" and _is_fleets(known, change):
        return False
    step = core.step(None if known is None else _open(known), change.state, t_us)
    if step is None:
        return True
    if Effect.OPEN in step.effects:
        known = _insert(conn, device_id, change, t_us=t_us, received_us=received_us, origin=origin)
        if known is None:  # another node has just opened it: this is a repeat
            return apply_change(conn, device_id, change, t_us=t_us, received_us=received_us, origin=origin, log=log)
        now = known
    else:
        assert known is not None  # noqa: S101 - the table opens what is not known
        now = _update(conn, known, change, step, t_us=t_us, received_us=received_us)
    by = of_device(device_id) if origin == "edge" else FLEET
    for effect in step.effects:
        if effect in KINDS:
            _tell(conn, now, effect, t_us=t_us, received_us=received_us, by=by, why=why)
    if now.severity is not known.severity and Effect.RELAPSE not in step.effects:
        _tell(conn, now, Effect.OPEN, t_us=t_us, received_us=received_us, by=by)
    if Effect.TICKET in step.effects:
        ticket.trouble(conn, _trouble(now, wanted=change.ticket, log=log), t_us=t_us, received_us=received_us)
    if Effect.VERIFY in step.effects:
        ticket.cleared(conn, device_id, now.id, t_us=t_us, received_us=received_us)
    return True


def raise_own(  # noqa: PLR0913 - one keyword a fact
    conn: Connection, device_id: str, rule: str, text: str, *, t_us: int, received_us: int
) -> None:
    """Raise an alarm of the fleet's own about a device (`rule` as in "fleet.quarantine"); a repeat counts up.

    Nothing clears it but a person who has seen to it (`ack`), since no reading tells that it is over.
    """
    change = AlarmChange(
        rule=rule,
        series=OWN_SERIES,
        state=AlarmState.ACTIVE,
        severity=Severity.MAJOR,
        first_bad_us=t_us,
        ticket=False,
        value=None,
        condition=text[:MAX_CONDITION_CHARS],
    )
    apply_change(conn, device_id, change, t_us=t_us, received_us=received_us, origin="fleet")


def get(conn: Connection, alarm_id: int) -> Alarm:
    """Return one alarm; raises NotFound."""
    row = conn.execute(select(table).where(table.c.id == alarm_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no alarm {alarm_id}", hint="`fleet alarm list` shows all alarms.")
    return _alarm(row)


def ack(conn: Connection, alarm_id: int, *, now_us: int, by: Actor) -> Alarm:
    """Note that a person has seen the alarm; a second ack changes nothing. Appends alarm.acked; raises NotFound.

    An alarm of the fleet's own (`raise_own`) is over with that: no reading will ever clear it.
    """
    found = get(conn, alarm_id)
    if found.acked_us is not None:
        return found
    conn.execute(update(table).where(table.c.id == alarm_id).values(acked_us=now_us, acked_by=by.id))
    text = f"Alarm {found.rule} on {found.series} was acknowledged."
    about = (str(alarm_id), by.id, by.origin, text, found.device_id, _data(found))
    event.append(conn, Event(now_us, now_us, "alarm.acked", "alarm", *about))
    if found.series == OWN_SERIES and found.state is not AlarmState.CLEARED:
        over = max(now_us, found.changed_us)
        values = {"state": AlarmState.CLEARED.value, "changed_us": over, "cleared_us": over}
        conn.execute(update(table).where(table.c.id == alarm_id).values(**values))
        text = f"Alarm {found.rule} is over: somebody has seen to it."
        about = (str(alarm_id), by.id, by.origin, text, found.device_id, _data(found))
        event.append(conn, Event(now_us, now_us, "alarm.cleared", "alarm", *about))
    return get(conn, alarm_id)


def page(  # noqa: PLR0913 - one keyword a filter
    conn: Connection,
    *,
    states: Sequence[AlarmState] = (),
    device_id: str | None = None,
    severity: Severity | None = None,
    ids: Sequence[int] | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[Alarm]:
    """Return alarms, newest first; `before` is the last id of the page before."""
    query: Select[Any] = select(table)
    if states:
        query = query.where(table.c.state.in_([state.value for state in states]))
    if device_id is not None:
        query = query.where(table.c.device_id == device_id)
    if severity is not None:
        query = query.where(table.c.severity == severity.value)
    if ids is not None:
        query = query.where(table.c.id.in_(ids))
    if before is not None:
        query = query.where(table.c.id < before)
    return [_alarm(row) for row in conn.execute(query.order_by(table.c.id.desc()).limit(min(limit, MAX_PAGE)))]


def open_by_fleet(conn: Connection, *, after: int, limit: int) -> list[Alarm]:
    """Return open alarms that the fleet's rules raised, in order of id, those after `after`; not its own alarms."""
    query = select(table).where(
        table.c.state != AlarmState.CLEARED.value,
        table.c.origin == "fleet",
        table.c.series != OWN_SERIES,
        table.c.id > after,
    )
    return [_alarm(row) for row in conn.execute(query.order_by(table.c.id).limit(limit))]


def open_of(conn: Connection, device_ids: Sequence[str]) -> dict[str, tuple[int, Severity]]:
    """Return for each of the devices that has open alarms how many, and the worst severity."""
    order = tuple(Severity)
    rank = case(*((table.c.severity == severity.value, i) for i, severity in enumerate(order)))
    query = select(table.c.device_id, func.count(), func.min(rank)).where(
        table.c.device_id.in_(device_ids), table.c.state != AlarmState.CLEARED.value
    )
    return {
        device_id: (count, order[worst]) for device_id, count, worst in conn.execute(query.group_by(table.c.device_id))
    }


def _is_fleets(known: Alarm | None, change: AlarmChange) -> bool:
    """Tell whether an alarm is the fleet's: its own by name, or held open by a rule of the fleet."""
    if change.series == OWN_SERIES or change.rule.startswith(OWN_RULES):
        return True
    return known is not None and known.origin == "fleet" and known.state is not AlarmState.CLEARED


def _newest(conn: Connection, device_id: str, change: AlarmChange) -> Alarm | None:
    """Return the newest alarm of the key, its row locked; an open one is always the newest."""
    key = (table.c.device_id == device_id) & (table.c.series == change.series) & (table.c.rule == change.rule)
    row = conn.execute(select(table).where(key).order_by(table.c.id.desc()).limit(1).with_for_update()).one_or_none()
    return None if row is None else _alarm(row)


def _insert(  # noqa: PLR0913 - one keyword a fact
    conn: Connection, device_id: str, change: AlarmChange, *, t_us: int, received_us: int, origin: str
) -> Alarm | None:
    values = {
        "device_id": device_id,
        "series": change.series,
        "rule": change.rule,
        "origin": origin,
        "severity": change.severity.value,
        "state": AlarmState.ACTIVE.value,
        "condition": change.condition,
        "value": json.dumps(change.value, ensure_ascii=False),
        "first_bad_us": change.first_bad_us,
        "raised_us": t_us,
        "changed_us": t_us,
        "received_us": received_us,
        "count": 1,
    }
    return _newest(conn, device_id, change) if insert_new(conn, table, values) else None


def _update(  # noqa: PLR0913 - one keyword a fact
    conn: Connection, known: Alarm, change: AlarmChange, step: core.Step, *, t_us: int, received_us: int
) -> Alarm:
    values: dict[str, object] = {
        "state": step.state.value,
        "value": json.dumps(change.value, ensure_ascii=False),
        "changed_us": t_us,
        "received_us": received_us,
    }
    if change.state is AlarmState.ACTIVE:
        values["severity"] = core.worst(known.severity, change.severity).value
        values["condition"] = change.condition
        values["count"] = known.count + 1
    if step.state is AlarmState.CLEARED:
        values["cleared_us"] = t_us
    return _alarm(conn.execute(update(table).where(table.c.id == known.id).values(**values).returning(table)).one())


def _tell(  # noqa: PLR0913 - one keyword a fact
    conn: Connection, now: Alarm, effect: Effect, *, t_us: int, received_us: int, by: Actor, why: str = ""
) -> None:
    value = "none" if now.value is None else now.value
    text = TEXTS[effect].format(
        severity=now.severity.capitalize(), rule=now.rule, series=now.series, condition=now.condition, value=value
    )
    if why and effect is Effect.CLEAR:
        text = f"Alarm {now.rule} on {now.series} cleared: {why}"
    about = (str(now.id), by.id, by.origin, text[:2048], now.device_id, _data(now))
    event.append(conn, Event(t_us, received_us, KINDS[effect], "alarm", *about))


def _data(now: Alarm) -> dict[str, object]:
    return {
        "series": now.series,
        "rule": now.rule,
        "severity": now.severity.value,
        "state": now.state.value,
        "value": now.value,
        "first_bad_us": now.first_bad_us,
        "count": now.count,
    }


def _trouble(now: Alarm, *, wanted: bool, log: tuple[str, ...]) -> ticket.Trouble:
    return ticket.Trouble(
        alarm_id=now.id,
        device_id=now.device_id,
        series=now.series,
        rule=now.rule,
        severity=now.severity,
        condition=now.condition,
        first_bad_us=now.first_bad_us,
        raised_us=now.raised_us,
        wanted=wanted,
        is_new=now.count == 1,
        log=log,
    )


def _open(known: Alarm) -> core.Open:
    return core.Open(known.state, known.severity, known.changed_us)


def _alarm(row: Row[Any]) -> Alarm:
    facts = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    facts |= {"severity": Severity(row.severity), "state": AlarmState(row.state), "value": json.loads(row.value)}
    return Alarm(**facts)
