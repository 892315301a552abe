"""The verification job: what happens to tickets because time passes.

Resolves those whose window passed with good signal, starts the window anew where data was missing in it, closes those
that were resolved seven days ago, and completes evidence whose window has passed.
"""

from collections.abc import Callable

from sqlalchemy import Connection

from agent.wire.messages import AlarmState
from fleet.core.ticket import State
from fleet.core.verification import Judgement, Outcome, judge
from fleet.jobs.runner import Job
from fleet.store import alarm, evidence, latest, ticket
from fleet.store.database import Works
from fleet.store.ticket import Ticket

EVERY_S = 5.0


async def turn(db: Works, now_us: int) -> None:
    """Do what is due at `now_us`; nothing is written where nothing is."""
    for due in await db.read(lambda conn: ticket.verifying_due(conn, now_us=now_us)):
        verdict = await db.read(_judging(due))
        if verdict.outcome is not Outcome.WAITING:
            await db.write(_settling(due, verdict, now_us))
    if await db.read(lambda conn: ticket.closing(conn, now_us=now_us, limit=1)):
        await db.write(lambda conn: ticket.close_due(conn, now_us=now_us))
    for ticket_id in await db.read(lambda conn: evidence.incomplete(conn, now_us=now_us)):
        await _complete(db, ticket_id)


async def _complete(db: Works, ticket_id: int) -> None:
    """Complete a ticket's evidence; the readings are read beside the writer, which has better things to do."""
    whole = await db.read(lambda conn: evidence.settled(conn, evidence.of_ticket(conn, ticket_id)))
    await db.write(lambda conn: evidence.complete(conn, ticket_id, whole))


def _judging(about: Ticket) -> Callable[[Connection], Judgement]:
    """Make the work that judges a ticket's window by the readings that are here."""

    def work(conn: Connection) -> Judgement:
        until_us = about.verify_until_us or 0
        newest = latest.get(conn, about.device_id).get(about.series)
        if newest is None or newest.t_us < until_us or not _is_clear(conn, about):
            return Judgement(Outcome.WAITING, until_us)
        from_us = until_us - ticket.window_of(conn, about)
        times = evidence.valid_times(conn, about.device_id, about.series, from_us, newest.t_us + 1)
        return judge(from_us, until_us, times)

    return work


def _settling(about: Ticket, verdict: Judgement, now_us: int) -> Callable[[Connection], None]:
    """Make the work that does what was judged, unless something has happened to the ticket since."""

    def work(conn: Connection) -> None:
        found = ticket.get(conn, about.id)
        if found.state is not State.VERIFYING or found.verify_until_us != about.verify_until_us:
            return
        if verdict.outcome is Outcome.UNKNOWN:
            ticket.verify_anew(conn, about.id, verdict.until_us)
        elif _is_clear(conn, found):
            ticket.verified(conn, about.id, t_us=verdict.until_us, now_us=now_us)

    return work


def _is_clear(conn: Connection, about: Ticket) -> bool:
    return about.alarm_id is None or alarm.get(conn, about.alarm_id).state is AlarmState.CLEARED


VERIFICATION = Job("verification", EVERY_S, turn)
