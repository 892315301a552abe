"""Notes: what the people who work on a ticket tell each other. Internal.

They live in a table of their own that only this module reads; whoever shows them has checked that the reader is at
least a technician. The event that a note was written says so and says nothing of its text.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from fleet.core.actor import Actor
from fleet.core.event import Event
from fleet.errors import Invalid
from fleet.store import event, ticket
from fleet.store.schema import note as table

MAX_NOTE_CHARS = 20_000
MAX_PAGE = 1000  # notes


@dataclass(frozen=True, slots=True)
class Note:
    """One note on one ticket."""

    id: int
    ticket_id: int
    t_us: int
    author: str
    text: str


def add(conn: Connection, ticket_id: int, text: str, *, now_us: int, by: Actor) -> Note:
    """Write a note; raises NotFound, Invalid. Appends ticket.noted."""
    about = ticket.get(conn, ticket_id)
    text = text.strip()
    if not text:
        raise Invalid("a note has some text", hint="Say what you saw or did.")
    if len(text) > MAX_NOTE_CHARS or "\0" in text:
        raise Invalid(
            f"a note has at most {MAX_NOTE_CHARS} characters and no NUL; this has {len(text)}",
            hint="Write several notes, or leave out what the evidence holds.",
        )
    values = {"ticket_id": ticket_id, "t_us": now_us, "author": by.id, "text": text}
    made = Note(**conn.execute(insert(table).values(**values).returning(table)).one()._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    sentence = f"A note was written on {ticket.name(ticket_id)}."
    facts = ("ticket", str(ticket_id), by.id, by.origin, sentence, about.device_id, {"note": made.id})
    event.append(conn, Event(now_us, now_us, "ticket.noted", *facts))
    return made


def of_ticket(conn: Connection, ticket_id: int, *, limit: int = MAX_PAGE) -> list[Note]:
    """Return the notes on a ticket in the order they were written; for technicians and admins only."""
    rows = conn.execute(select(table).where(table.c.ticket_id == ticket_id).order_by(table.c.id).limit(limit))
    return [Note(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name for it
