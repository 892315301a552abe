"""Alarms: what is out of bounds, and who has seen it."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query

from agent.wire.messages import AlarmState, Severity, Value
from fleet.api import page
from fleet.api.access import Given, Reader, Technician
from fleet.api.page import Cursor, DeviceFilter, Limit, Model, Page
from fleet.api.problem import responses
from fleet.api.times import iso, iso_or_none
from fleet.store import alarm, ticket
from fleet.store.alarm import Alarm

router = APIRouter(tags=["alarms"])

AlarmId = Annotated[int, Path(ge=1, le=2**63 - 1, examples=[12])]
OPEN = (AlarmState.ACTIVE, AlarmState.CLEARING)


class AlarmItem(Model):
    """One stretch of trouble."""

    id: int
    device: str
    series: str
    rule: str
    origin: Literal["edge", "fleet"]
    severity: Severity
    state: AlarmState
    condition: str
    value: Value
    count: int  # times raised since it opened
    first_bad: str
    first_bad_us: int
    raised: str
    raised_us: int
    changed: str
    changed_us: int
    received: str
    received_us: int
    cleared: str | None
    cleared_us: int | None
    acked: str | None
    acked_us: int | None
    acked_by: str | None
    ticket: int | None = None  # given with a single alarm

    @classmethod
    def of(cls, one: Alarm, ticket_id: int | None = None) -> "AlarmItem":
        """Make the item of an alarm."""
        return cls(
            id=one.id,
            device=one.device_id,
            series=one.series,
            rule=one.rule,
            origin="edge" if one.origin == "edge" else "fleet",
            severity=one.severity,
            state=one.state,
            condition=one.condition,
            value=one.value,
            count=one.count,
            first_bad=iso(one.first_bad_us),
            first_bad_us=one.first_bad_us,
            raised=iso(one.raised_us),
            raised_us=one.raised_us,
            changed=iso(one.changed_us),
            changed_us=one.changed_us,
            received=iso(one.received_us),
            received_us=one.received_us,
            cleared=iso_or_none(one.cleared_us),
            cleared_us=one.cleared_us,
            acked=iso_or_none(one.acked_us),
            acked_us=one.acked_us,
            acked_by=one.acked_by,
            ticket=ticket_id,
        )


@router.get("/alarms", responses=responses(401, 403, 422))
async def list_alarms(  # noqa: PLR0913 - one argument a filter
    services: Given,
    _caller: Reader,
    *,
    state: Annotated[
        Literal["pending", "active", "clearing", "cleared", "open", "all"],
        Query(description="`open` is active or clearing."),
    ] = "all",
    device_id: Annotated[DeviceFilter, Query(alias="device")] = None,
    severity: Severity | None = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[AlarmItem]:
    """List alarms, newest first."""
    before = page.decode_number(cursor)
    states = {"all": (), "open": OPEN}.get(state)
    wanted = (AlarmState(state),) if states is None else states
    found = await services.db.read(
        lambda conn: alarm.page(conn, states=wanted, device_id=device_id, severity=severity, before=before, limit=limit)
    )
    return page.page_of([AlarmItem.of(one) for one in found], limit, found[-1].id if found else None)


@router.get("/alarms/{alarm_id}", responses=responses(401, 403, 404, 422))
async def get_alarm(services: Given, _caller: Reader, alarm_id: AlarmId) -> AlarmItem:
    """Show one alarm, and its ticket."""
    found = await services.db.read(lambda conn: alarm.get(conn, alarm_id))
    tickets = await services.db.read(lambda conn: ticket.page(conn, device_id=found.device_id, alarm_id=alarm_id))
    return AlarmItem.of(found, tickets[0].id if tickets else None)


@router.post("/alarms/{alarm_id}/ack", responses=responses(401, 403, 404, 422))
async def ack_alarm(services: Given, caller: Technician, alarm_id: AlarmId) -> AlarmItem:
    """Say that you have seen the alarm; a second time changes nothing."""
    now_us = services.now_us()
    return AlarmItem.of(await services.db.write(lambda conn: alarm.ack(conn, alarm_id, now_us=now_us, by=caller.actor)))
