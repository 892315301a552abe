"""Alarms and tickets beside their events: the rows are what the facts say."""

import json

from sqlalchemy import Connection, cast, func, select
from sqlalchemy.types import String

from agent.wire.messages import AlarmState
from fleet.core.finding import Finding, fail
from fleet.core.ticket import OPEN, State
from fleet.store.examine.check import Ask, Check, Part
from fleet.store.schema import alarm, event, ticket
from fleet.store.ticket import MOVED, name

AT_ONCE = 500  # alarms or tickets on one snapshot

REPORT = "Keep a copy of the database, and report it: this must not be. The events are the truth."
TWICE = "Keep a copy of the database. Close the newer one by hand, then make the unique index anew."


def alarms(conn: Connection, _ask: Ask, after: str) -> Part:
    """Compare the next alarms with their events; open ones are unique."""
    told = select(func.count()).where(event.c.noun == "alarm", event.c.noun_id == cast(alarm.c.id, String))
    raised = told.where(event.c.kind == "alarm.raised").correlate(alarm).scalar_subquery()
    cleared = told.where(event.c.kind == "alarm.cleared").correlate(alarm).scalar_subquery()
    here = alarm.c.id > int(after or 0)
    columns = (alarm.c.id, alarm.c.device_id, alarm.c.state, alarm.c.rule, alarm.c.series)
    wanted = select(*columns, raised.label("raised"), cleared.label("cleared")).where(here)
    rows = conn.execute(wanted.order_by(alarm.c.id).limit(AT_ONCE)).all()
    found: list[Finding] = [] if after else _twice(conn)
    for row in rows:
        whose = f"Alarm {row.id} ({row.rule} on {row.series} of {row.device_id})"
        if not row.raised:
            found.append(fail("alarms", f"{whose} has no event that raised it.", REPORT, row.device_id))
        if bool(row.cleared) != (row.state == AlarmState.CLEARED.value):
            said = f"{whose} is {row.state}, its events say {'cleared' if row.cleared else 'open'}."
            found.append(fail("alarms", said, REPORT, row.device_id))
    return Part(len(rows), found, str(rows[-1].id) if len(rows) == AT_ONCE else None)


def _twice(conn: Connection) -> list[Finding]:
    key = (alarm.c.device_id, alarm.c.series, alarm.c.rule)
    many = select(*key, func.count()).where(alarm.c.state != AlarmState.CLEARED.value).group_by(*key)
    rows = conn.execute(many.having(func.count() > 1).limit(AT_ONCE))
    return [
        fail("alarms", f"{count} alarms {rule} on {series} of {device_id} are open at once.", TWICE, device_id)
        for device_id, series, rule, count in rows
    ]


def tickets(conn: Connection, _ask: Ask, after: str) -> Part:
    """Compare the next tickets with their events; a correlation has one open ticket at most."""
    mine = (event.c.noun == "ticket") & (event.c.noun_id == cast(ticket.c.id, String))
    newest = select(event.c.data).where(mine, event.c.kind == MOVED).order_by(event.c.id.desc()).limit(1)
    moved = newest.correlate(ticket).scalar_subquery()
    opened = select(func.count()).where(mine, event.c.kind == "ticket.opened").correlate(ticket).scalar_subquery()
    columns = (ticket.c.id, ticket.c.device_id, ticket.c.state, ticket.c.verify_until_us)
    wanted = select(*columns, moved.label("moved"), opened.label("opened")).where(ticket.c.id > int(after or 0))
    rows = conn.execute(wanted.order_by(ticket.c.id).limit(AT_ONCE)).all()
    found: list[Finding] = [] if after else _open_twice(conn)
    for row in rows:
        whose = f"{name(row.id)} of {row.device_id}"
        told = State.NEW.value if row.moved is None else json.loads(row.moved).get("to")
        if not row.opened:
            found.append(fail("tickets", f"{whose} has no event that opened it.", REPORT, row.device_id))
        if told != row.state:
            found.append(fail("tickets", f"{whose} is {row.state}, its events say {told}.", REPORT, row.device_id))
        if row.verify_until_us is not None and row.state != State.VERIFYING.value:
            said = f"{whose} has a verification window and is {row.state}."
            found.append(fail("tickets", said, REPORT, row.device_id))
    return Part(len(rows), found, str(rows[-1].id) if len(rows) == AT_ONCE else None)


def _open_twice(conn: Connection) -> list[Finding]:
    here = ticket.c.state.in_([state.value for state in OPEN])
    key = (ticket.c.device_id, ticket.c.correlation)
    many = select(*key, func.count()).where(here).group_by(*key).having(func.count() > 1).limit(AT_ONCE)
    return [
        fail("tickets", f"{count} tickets of {device_id} are open for one trouble ({correlation}).", TWICE, device_id)
        for device_id, correlation, count in conn.execute(many)
    ]


ALARMS = Check("alarms", "{} alarms are what their events say, and none is open twice.", alarms)
TICKETS = Check("tickets", "{} tickets are what their events say, and none is open twice.", tickets)
