"""The pages of the service desk: all tickets, and one with its evidence."""

from collections.abc import Mapping
from dataclasses import asdict
from http import HTTPStatus
from urllib.parse import urlencode

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from fleet.console.session import User, form
from fleet.console.template import render
from fleet.core.ticket import Cancel, Hold, State
from fleet.errors import Invalid
from fleet.services import Services
from fleet.store import event, evidence, note, ticket

SHOWN = 200  # tickets on the page
SHOWN_EVENTS = 100
OVER = (State.RESOLVED, State.CLOSED, State.CANCELED)
REASONS: Mapping[State, tuple[str, ...]] = {State.ON_HOLD: tuple(Hold), State.CANCELED: tuple(Cancel)}


async def show_all(request: Request, services: Services, user: User) -> Response:
    """Show tickets, the open ones unless another state is asked for."""
    wanted = request.query_params.get("state", "open")
    if wanted == "open":
        states = tuple(state for state in State if state not in OVER)
    elif wanted in set(State):
        states = (State(wanted),)
    else:
        states = ()
    tickets = await services.db.read(lambda conn: ticket.page(conn, states=states, limit=SHOWN))
    filters = [("open", "open"), ("all", "all"), *((str(state), _words(state)) for state in State)]
    query = urlencode({"state": wanted})
    return render(
        "tickets.html",
        user=user,
        tab="tickets",
        state=wanted,
        filters=filters,
        tickets=tickets,
        self_url=f"/tickets?{query}",
    )


async def show(request: Request, services: Services, user: User) -> Response:
    """Show one ticket."""
    ticket_id = int(request.path_params["ticket"])
    page = await services.db.read(lambda conn: _page(conn, ticket_id, user))
    return render("ticket.html", user=user, tab="tickets", problem="", **page)


async def move(request: Request, services: Services, user: User) -> Response:
    """Move a ticket; the form's `to` is a state, or a state and its reason with a colon between."""
    ticket_id = int(request.path_params["ticket"])
    to, _, reason = (await form(request)).get("to", "").partition(":")
    if to not in set(State):
        raise Invalid(f"{to!r} is no state of a ticket", hint="Choose one of the list.")
    now_us = services.now_us()
    await services.db.write(
        lambda conn: ticket.move(conn, ticket_id, State(to), reason=reason, now_us=now_us, by=user.actor)
    )
    return _back(ticket_id)


async def assign(request: Request, services: Services, user: User) -> Response:
    """Give a ticket to somebody."""
    ticket_id = int(request.path_params["ticket"])
    assignee = (await form(request)).get("assignee", "")
    now_us = services.now_us()
    await services.db.write(lambda conn: ticket.assign(conn, ticket_id, assignee, now_us=now_us, by=user.actor))
    return _back(ticket_id)


async def add_note(request: Request, services: Services, user: User) -> Response:
    """Write an internal note."""
    ticket_id = int(request.path_params["ticket"])
    text = (await form(request)).get("text", "")
    now_us = services.now_us()
    await services.db.write(lambda conn: note.add(conn, ticket_id, text, now_us=now_us, by=user.actor))
    return _back(ticket_id)


def _page(conn: Connection, ticket_id: int, user: User) -> dict[str, object]:
    found = ticket.get(conn, ticket_id)
    kept = evidence.settled(conn, evidence.of_ticket(conn, ticket_id))  # with what has arrived since
    alarmed = {each.series for each in kept.open_alarms}
    # The timeline is the ticket's and its alarm's; notes are read only for those who may see them.
    events = event.page(conn, noun="ticket", noun_id=str(ticket_id), limit=SHOWN_EVENTS)
    if found.alarm_id is not None:
        events += event.page(conn, noun="alarm", noun_id=str(found.alarm_id), limit=SHOWN_EVENTS)
    return {
        "ticket": found,
        "evidence": asdict(kept),
        "lines": sorted((asdict(line) for line in kept.readings), key=lambda line: line["series"] not in alarmed),
        "events": sorted(events, key=lambda each: each.id, reverse=True),
        "notes": note.of_ticket(conn, ticket_id) if user.may_work else [],
        "moves": [choice for state in found.moves for choice in _choices(state)],
    }


def _choices(state: State) -> list[tuple[str, str]]:
    reasons = REASONS.get(state)
    if reasons is None:
        return [(str(state), _words(state))]
    return [(f"{state}:{reason}", f"{_words(state)}: {reason.replace('_', ' ')}") for reason in reasons]


def _words(state: State) -> str:
    return state.replace("_", " ")


def _back(ticket_id: int) -> Response:
    return RedirectResponse(f"/tickets/{ticket_id}", HTTPStatus.SEE_OTHER)
