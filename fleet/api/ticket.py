"""Tickets: the work that alarms make, with its evidence. Notes are internal: from the scope technician on."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field, StringConstraints
from sqlalchemy import Connection

from agent.wire.messages import Severity
from fleet.api import page
from fleet.api.access import Given, Reader, Technician
from fleet.api.event import EventItem
from fleet.api.page import NO_NUL, Cursor, DeviceFilter, Limit, Model, Page, ShortText
from fleet.api.problem import responses
from fleet.api.times import iso, iso_or_none
from fleet.core.actor import Scope
from fleet.core.evidence import Evidence
from fleet.core.ticket import OPEN, Cancel, Hold, State
from fleet.store import event, evidence, note, ticket
from fleet.store.note import Note
from fleet.store.ticket import Ticket

router = APIRouter(tags=["tickets"])

MAX_EVENTS = 500  # in a ticket's timeline


def _number(
    ticket_id: Annotated[str, Path(pattern=r"^(?:[Tt]-)?[0-9]{1,18}$", description="12 or T-12.", examples=["T-12"])],
) -> int:
    return int(ticket_id.upper().removeprefix("T-"))


TicketId = Annotated[int, Depends(_number)]


class TicketItem(Model):
    """One piece of work."""

    id: int
    ref: str = Field(examples=["T-12"])  # as people say it
    device: str
    alarm: int | None
    series: str
    rule: str
    title: str
    severity: Severity
    state: State
    reason: str  # of on_hold and canceled
    assignee: str
    moves: list[State]  # where a person may move it now
    first_bad: str
    first_bad_us: int
    opened: str
    opened_us: int
    changed: str
    changed_us: int
    verify_until: str | None
    verify_until_us: int | None

    @classmethod
    def of(cls, one: Ticket) -> "TicketItem":
        """Make the item of a ticket."""
        return cls(
            id=one.id,
            ref=ticket.name(one.id),
            device=one.device_id,
            alarm=one.alarm_id,
            series=one.series,
            rule=one.rule,
            title=one.title,
            severity=one.severity,
            state=one.state,
            reason=one.reason,
            assignee=one.assignee,
            moves=list(one.moves),
            first_bad=iso(one.first_bad_us),
            first_bad_us=one.first_bad_us,
            opened=iso(one.opened_us),
            opened_us=one.opened_us,
            changed=iso(one.changed_us),
            changed_us=one.changed_us,
            verify_until=iso_or_none(one.verify_until_us),
            verify_until_us=one.verify_until_us,
        )


class NoteItem(Model):
    """One internal note."""

    id: int
    ticket: int
    t: str
    t_us: int
    author: str
    text: str

    @classmethod
    def of(cls, one: Note) -> "NoteItem":
        """Make the item of a note."""
        return cls(id=one.id, ticket=one.ticket_id, t=iso(one.t_us), t_us=one.t_us, author=one.author, text=one.text)


class TicketWhole(TicketItem):
    """A ticket with everything that goes with it."""

    evidence: Evidence
    notes: list[NoteItem] | None = Field(description="Null for a token of the scope read: notes are internal.")
    events: list[EventItem] = Field(description="What happened to the ticket and its alarm, oldest first.")


class NewNote(Model):
    """A note to write."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=note.MAX_NOTE_CHARS, pattern=NO_NUL)] = Field(
        examples=["Door seal is worn; ordered a new one."]
    )


class Assignment(Model):
    """Whose the ticket shall be; "" makes it nobody's."""

    assignee: Annotated[str, StringConstraints(max_length=ticket.MAX_ASSIGNEE_CHARS, pattern=NO_NUL)] = Field(
        examples=["ana"]
    )


class Move(Model):
    """Where the ticket shall go."""

    to: State = Field(examples=["on_hold"])
    reason: Annotated[str, StringConstraints(max_length=32, pattern=NO_NUL)] | None = Field(
        None,
        description=f"Of on_hold: {', '.join(Hold)}. Of canceled: {', '.join(Cancel)}.",
        examples=["parts"],
    )


@router.get("/tickets", responses=responses(401, 403, 422))
async def list_tickets(  # noqa: PLR0913 - one argument a filter
    services: Given,
    _caller: Reader,
    *,
    state: State | Literal["open", "all"] = "all",
    device_id: Annotated[DeviceFilter, Query(alias="device")] = None,
    assignee: Annotated[ShortText | None, Query(examples=["ana"])] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[TicketItem]:
    """List tickets, newest first; `open` is every state but resolved, closed and canceled."""
    before = page.decode_number(cursor)
    states = (state,) if isinstance(state, State) else OPEN if state == "open" else ()
    found = await services.db.read(
        lambda conn: ticket.page(
            conn, states=states, device_id=device_id, assignee=assignee, before=before, limit=limit
        )
    )
    return page.page_of([TicketItem.of(one) for one in found], limit, found[-1].id if found else None)


@router.get("/tickets/{ticket_id}", responses=responses(401, 403, 404, 422))
async def get_ticket(services: Given, caller: Reader, ticket_id: TicketId) -> TicketWhole:
    """Show one ticket with its evidence, its notes and what happened."""
    notes = caller.may(Scope.TECHNICIAN)
    return await services.db.read(lambda conn: _whole(conn, ticket_id, notes=notes))


@router.post("/tickets/{ticket_id}/notes", status_code=201, responses=responses(401, 403, 404, 422))
async def write_note(services: Given, caller: Technician, ticket_id: TicketId, new: NewNote) -> NoteItem:
    """Write an internal note; no customer or partner ever sees it."""
    now_us = services.now_us()
    return NoteItem.of(
        await services.db.write(lambda conn: note.add(conn, ticket_id, new.text, now_us=now_us, by=caller.actor))
    )


@router.post("/tickets/{ticket_id}/assign", responses=responses(401, 403, 404, 409, 422))
async def assign_ticket(services: Given, caller: Technician, ticket_id: TicketId, to: Assignment) -> TicketItem:
    """Give a ticket to somebody; a new or triaged one becomes assigned."""
    now_us = services.now_us()
    return TicketItem.of(
        await services.db.write(
            lambda conn: ticket.assign(conn, ticket_id, to.assignee, now_us=now_us, by=caller.actor)
        )
    )


@router.post("/tickets/{ticket_id}/move", responses=responses(401, 403, 404, 409, 422))
async def move_ticket(services: Given, caller: Technician, ticket_id: TicketId, move: Move) -> TicketItem:
    """Move a ticket; a move that its state forbids is refused (409) with those that there are."""
    now_us = services.now_us()
    reason = move.reason or ""
    return TicketItem.of(
        await services.db.write(
            lambda conn: ticket.move(conn, ticket_id, move.to, reason=reason, now_us=now_us, by=caller.actor)
        )
    )


def _whole(conn: Connection, ticket_id: int, *, notes: bool) -> TicketWhole:
    found = ticket.get(conn, ticket_id)
    happened = event.page(conn, noun="ticket", noun_id=str(ticket_id), limit=MAX_EVENTS)
    if found.alarm_id is not None:
        happened += event.page(conn, noun="alarm", noun_id=str(found.alarm_id), limit=MAX_EVENTS)
    happened.sort(key=lambda one: one.id)
    return TicketWhole(
        **dict(TicketItem.of(found)),
        evidence=evidence.settled(conn, evidence.of_ticket(conn, ticket_id)),
        notes=[NoteItem.of(one) for one in note.of_ticket(conn, ticket_id)] if notes else None,
        events=[EventItem.of(one) for one in happened[-MAX_EVENTS:]],
    )
