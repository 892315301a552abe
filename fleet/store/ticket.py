"""Tickets: opened by alarms with their evidence, moved by people and by the signal; the table is `fleet.core.ticket`.

One open ticket per correlation key (device, series, symptom), by a partial unique index. An alarm opens none beyond
`MAX_OPEN` of its device: the alarm stands, and the newest of these tickets says so. What the state machine
remembers beyond one row (where an on-hold ticket was, when a ticket was resolved, how long a window is) is read from
the events, which are the facts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select, text, update

from agent.wire.messages import AlarmState, Severity
from fleet.core import ticket as core
from fleet.core.actor import FLEET, Actor
from fleet.core.alarm import worst
from fleet.core.event import Event
from fleet.core.ticket import Effect, State
from fleet.core.verification import window_us
from fleet.errors import Invalid, NotFound, Refused
from fleet.store import event, evidence
from fleet.store.schema import alarm
from fleet.store.schema import ticket as table
from fleet.store.upsert import insert_new

MAX_PAGE = 1000  # tickets
MAX_OPEN = 20  # tickets of one device; an alarm beyond opens none
MAX_ASSIGNEE_CHARS = 128
MAX_TITLE_CHARS = 512
MOVED = "ticket.moved"

_COLUMNS = [column for column in table.c if not column.name.startswith("evidence")]


@dataclass(frozen=True, slots=True)
class Ticket:
    """One piece of work, without its evidence."""

    id: int
    device_id: str
    alarm_id: int | None
    correlation: str
    title: str
    severity: Severity
    state: State
    reason: str  # of on_hold and canceled
    resume_state: str  # where on_hold and verifying go back to; "" if nowhere
    assignee: str
    first_bad_us: int  # the service clock starts here
    opened_us: int
    changed_us: int
    verify_until_us: int | None

    @property
    def series(self) -> str:
        """The series that it is about."""
        return self.correlation.split(" ", 2)[1]

    @property
    def rule(self) -> str:
        """The rule whose alarm opened it: its symptom."""
        return self.correlation.split(" ", 2)[2]

    @property
    def resume(self) -> State | None:
        """Where it goes back to."""
        return State(self.resume_state) if self.resume_state else None

    @property
    def moves(self) -> tuple[State, ...]:
        """Where a person may move it."""
        return core.moves(self.state, self.resume if self.state is State.ON_HOLD else None)


@dataclass(frozen=True, slots=True)
class Trouble:
    """An alarm that was raised, as tickets see it."""

    alarm_id: int
    device_id: str
    series: str
    rule: str
    severity: Severity
    condition: str
    first_bad_us: int
    raised_us: int
    wanted: bool  # the rule asks for a ticket
    is_new: bool = True  # it was raised for the first time
    log: tuple[str, ...] = ()  # the agent's last lines, as they came with it


def get(conn: Connection, ticket_id: int) -> Ticket:
    """Return one ticket; raises NotFound."""
    return _get(conn, select(*_COLUMNS).where(table.c.id == ticket_id), ticket_id)


def page(  # noqa: PLR0913 - one keyword a filter
    conn: Connection,
    *,
    states: Sequence[State] = (),
    device_id: str | None = None,
    assignee: str | None = None,
    alarm_id: int | None = None,
    ids: Sequence[int] | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[Ticket]:
    """Return tickets, newest first; `before` is the last id of the page before."""
    query: Select[Any] = select(*_COLUMNS)
    if states:
        query = query.where(table.c.state.in_([state.value for state in states]))
    if device_id is not None:
        query = query.where(table.c.device_id == device_id)
    if assignee is not None:
        query = query.where(table.c.assignee == assignee)
    if alarm_id is not None:
        query = query.where(table.c.alarm_id == alarm_id)
    if ids is not None:
        query = query.where(table.c.id.in_(ids))
    if before is not None:
        query = query.where(table.c.id < before)
    return [_ticket(row) for row in conn.execute(query.order_by(table.c.id.desc()).limit(min(limit, MAX_PAGE)))]


def open_of(conn: Connection, device_ids: Sequence[str]) -> dict[str, int]:
    """Return how many open tickets each of the devices has, of those that have any."""
    query = select(table.c.device_id, func.count()).where(table.c.device_id.in_(device_ids), _is_open())
    return {row[0]: row[1] for row in conn.execute(query.group_by(table.c.device_id))}


def move(  # noqa: PLR0913 - one keyword a fact
    conn: Connection, ticket_id: int, to: State, *, reason: str = "", now_us: int, by: Actor
) -> Ticket:
    """Move a ticket as a person does; raises NotFound, Refused (naming the moves there are), Invalid (the reason)."""
    found = _get(conn, select(*_COLUMNS).where(table.c.id == ticket_id).with_for_update(), ticket_id)
    happened = core.move_event(found.state, to, found.resume if found.state is State.ON_HOLD else None)
    if happened is None:
        moves = ", ".join(found.moves) or "nowhere: it is over"
        raise Refused(
            f"{name(ticket_id)} is {found.state} and cannot be moved to {to}", hint=f"From here it can go to: {moves}."
        )
    wanted = core.reason_of(to, reason)
    if wanted is not None:
        raise Invalid(f"moving a ticket to {to} needs a reason", hint=f"One of: {wanted}.")
    return _advance(conn, found, happened, t_us=now_us, received_us=now_us, by=by, reason=reason)


def assign(conn: Connection, ticket_id: int, assignee: str, *, now_us: int, by: Actor) -> Ticket:
    """Give a ticket to somebody; "" takes it back. A new or triaged one becomes assigned. Raises NotFound, Refused."""
    found = _get(conn, select(*_COLUMNS).where(table.c.id == ticket_id).with_for_update(), ticket_id)
    assignee = assignee.strip()
    if len(assignee) > MAX_ASSIGNEE_CHARS:
        raise Invalid(
            f"an assignee has at most {MAX_ASSIGNEE_CHARS} characters", hint="Give a user's name or an address."
        )
    if found.state in (State.CLOSED, State.CANCELED):
        raise Refused(
            f"{name(ticket_id)} is {found.state}: there is no work in it to assign",
            hint="`fleet ticket list` shows the open ones; trouble that comes back opens a ticket by itself.",
        )
    if found.assignee == assignee:
        return found
    conn.execute(update(table).where(table.c.id == ticket_id).values(assignee=assignee))
    sentence = f"{name(ticket_id)} was assigned to {assignee}." if assignee else f"{name(ticket_id)} is nobody's again."
    data = {"assignee": assignee, "before": found.assignee}
    _tell(conn, found, "ticket.assigned", sentence, data, t_us=now_us, received_us=now_us, by=by)
    if assignee and found.state in (State.NEW, State.TRIAGED):
        return _advance(conn, get(conn, ticket_id), core.Event.ASSIGN, t_us=now_us, received_us=now_us, by=by)
    return get(conn, ticket_id)


def trouble(conn: Connection, about: Trouble, *, t_us: int, received_us: int) -> None:
    """Find or open the ticket of an alarm that was raised, or raised again.

    An open ticket of the same correlation takes the alarm over; if it was verifying it goes back to where it was.
    Trouble that comes back within 7 days of being resolved reopens its ticket; within 30 days it is a new ticket
    that names the old one; `canceled` was somebody's decision about that alarm, and repeats do not undo it. A device
    with `MAX_OPEN` open tickets gets no further one: its newest says that (`ticket.withheld`).
    """
    key = core.correlation(about.device_id, about.series, about.rule)
    here = select(*_COLUMNS).where(table.c.device_id == about.device_id, table.c.correlation == key)
    row = conn.execute(here.where(_is_open()).with_for_update()).one_or_none()
    if row is not None:
        _take_over(conn, _ticket(row), about, t_us=t_us, received_us=received_us)
        return
    if not about.wanted or page(
        conn, device_id=about.device_id, alarm_id=about.alarm_id, states=(State.CANCELED,), limit=1
    ):
        return
    over = (State.RESOLVED.value, State.CLOSED.value)
    row = conn.execute(here.where(table.c.state.in_(over)).order_by(table.c.id.desc()).limit(1)).one_or_none()
    repeat_of = None
    if row is not None:
        last = _ticket(row)
        since_us = t_us - resolved_us(conn, last)
        if since_us <= core.REOPEN_US:
            _take_over(conn, last, about, t_us=t_us, received_us=received_us)
            return
        repeat_of = last.id if since_us <= core.REPEAT_US else None
    mine = select(*_COLUMNS).where(table.c.device_id == about.device_id, _is_open()).order_by(table.c.id.desc())
    others = conn.execute(mine.limit(MAX_OPEN)).all()
    if len(others) == MAX_OPEN:
        if about.is_new:
            _tell_withheld(conn, _ticket(others[0]), about, t_us=t_us, received_us=received_us)
        return
    if not _open(conn, key, about, repeat_of, len(others), t_us=t_us, received_us=received_us):
        trouble(conn, about, t_us=t_us, received_us=received_us)  # another node has just opened it


def cleared(conn: Connection, device_id: str, alarm_id: int, *, t_us: int, received_us: int) -> None:
    """Start verification on the ticket of an alarm that cleared, and on no other."""
    mine = (table.c.device_id == device_id) & (table.c.alarm_id == alarm_id)
    query = select(*_COLUMNS).where(mine, _is_open()).with_for_update()
    for row in conn.execute(query).all():
        _advance(conn, _ticket(row), core.Event.CLEARED, t_us=t_us, received_us=received_us, by=FLEET)


def verified(conn: Connection, ticket_id: int, *, t_us: int, now_us: int) -> Ticket:
    """Resolve a ticket whose window passed with good signal at `t_us`."""
    return _advance(conn, get(conn, ticket_id), core.Event.VERIFIED, t_us=t_us, received_us=now_us, by=FLEET)


def verify_anew(conn: Connection, ticket_id: int, until_us: int) -> None:
    """Start the verification window anew: data was missing in it. No event: the ticket is where it was."""
    conn.execute(update(table).where(table.c.id == ticket_id).values(verify_until_us=until_us))


def closing(conn: Connection, *, now_us: int, limit: int = 100) -> list[Ticket]:
    """Return tickets that were resolved 7 days ago without objection."""
    due = (table.c.state == State.RESOLVED.value) & (table.c.changed_us <= now_us - core.CLOSE_US)
    return [_ticket(row) for row in conn.execute(select(*_COLUMNS).where(due).limit(limit))]


def close_due(conn: Connection, *, now_us: int) -> None:
    """Close tickets that were resolved 7 days ago without objection."""
    for due in closing(conn, now_us=now_us):
        _advance(conn, due, core.Event.EXPIRED, t_us=now_us, received_us=now_us, by=FLEET)


def verifying_due(conn: Connection, *, now_us: int, limit: int = 100) -> list[Ticket]:
    """Return the tickets whose verification window has passed, the longest waiting first."""
    query = select(*_COLUMNS).where(table.c.state == State.VERIFYING.value, table.c.verify_until_us <= now_us)
    return [_ticket(row) for row in conn.execute(query.order_by(table.c.verify_until_us).limit(limit))]


def window_of(conn: Connection, about: Ticket) -> int:
    """Return how long good signal must last (µs), as it was said when the window opened."""
    return int(_last_move(conn, about.id, State.VERIFYING).get("window_us", window_us(0)))


def resolved_us(conn: Connection, about: Ticket) -> int:
    """Return when the ticket was last resolved, event time; its last change if its events do not say."""
    return int(_last_move(conn, about.id, State.RESOLVED).get("t_us", about.changed_us))


def name(ticket_id: int) -> str:
    """Return a ticket's name as people say it: T-12."""
    return f"T-{ticket_id}"


def _open(  # noqa: PLR0913 - one argument a fact
    conn: Connection, key: str, about: Trouble, repeat_of: int | None, others: int, *, t_us: int, received_us: int
) -> bool:
    subject = evidence.Subject(about.device_id, about.series, about.rule, about.raised_us)
    frozen = evidence.take(conn, subject, taken_us=received_us, repeat_of=repeat_of, open_tickets=others, log=about.log)
    values = {
        "device_id": about.device_id,
        "alarm_id": about.alarm_id,
        "correlation": key,
        "title": f"{about.rule}: {about.series} {about.condition}"[:MAX_TITLE_CHARS],
        "severity": about.severity.value,
        "state": State.NEW.value,
        "first_bad_us": about.first_bad_us,
        "opened_us": t_us,
        "changed_us": t_us,
        "evidence": evidence.dump(frozen),
        "evidence_due_us": evidence.due_us(subject),
    }
    if not insert_new(conn, table, values):
        return False
    row = conn.execute(select(*_COLUMNS).where(table.c.correlation == key, _is_open())).one()
    made = _ticket(row)
    sentence = f"{name(made.id)} was opened: {made.title}."
    data = {"alarm": about.alarm_id, "severity": made.severity.value, "repeat_of": repeat_of}
    _tell(conn, made, "ticket.opened", sentence, data, t_us=t_us, received_us=received_us, by=FLEET)
    return True


def _tell_withheld(conn: Connection, newest: Ticket, about: Trouble, *, t_us: int, received_us: int) -> None:
    sentence = (
        f"Alarm {about.rule} on {about.series} opened no ticket of its own: {about.device_id} has {MAX_OPEN} open, "
        f"of which {name(newest.id)} is the newest."
    )
    data = {"alarm": about.alarm_id, "severity": about.severity.value, "open": MAX_OPEN}
    _tell(conn, newest, "ticket.withheld", sentence, data, t_us=t_us, received_us=received_us, by=FLEET)


def _take_over(conn: Connection, found: Ticket, about: Trouble, *, t_us: int, received_us: int) -> None:
    severity = worst(found.severity, about.severity)
    if severity is not found.severity or found.alarm_id != about.alarm_id:
        values = {"severity": severity.value, "alarm_id": about.alarm_id}
        conn.execute(update(table).where(table.c.id == found.id).values(**values))
    if (found.state, core.Event.RECURRED) in core.NEXT:
        _advance(conn, found, core.Event.RECURRED, t_us=t_us, received_us=received_us, by=FLEET)


def _advance(  # noqa: PLR0913 - one keyword a fact
    conn: Connection,
    found: Ticket,
    happened: core.Event,
    *,
    t_us: int,
    received_us: int,
    by: Actor,
    reason: str = "",
) -> Ticket:
    """Do one step of the table and tell it."""
    step = core.NEXT[found.state, happened]
    to = step.state or found.resume or State.ASSIGNED
    data: dict[str, object] = {"from": found.state.value, "to": to.value, "by": happened.value, "t_us": t_us}
    values: dict[str, object] = {"state": to.value, "changed_us": max(found.changed_us, t_us)}
    if Effect.REMEMBER in step.effects:
        values["resume_state"] = found.state.value
    elif to is State.ON_HOLD:  # back on hold: where it was before that is in its events
        values["resume_state"] = str(_last_move(conn, found.id, State.ON_HOLD).get("from", State.ASSIGNED.value))
    elif to is not State.VERIFYING:
        values["resume_state"] = ""
    if Effect.REASON in step.effects:
        values["reason"] = data["reason"] = reason
    elif to not in (State.ON_HOLD, State.VERIFYING):
        values["reason"] = ""
    if Effect.OPEN_WINDOW in step.effects:
        window = _window(conn, found, t_us)
        data["window_us"] = window
        values["verify_until_us"] = t_us + window if happened is core.Event.CLEARED or _is_clear(conn, found) else None
    if Effect.CLOSE_WINDOW in step.effects:
        values["verify_until_us"] = None
    row = conn.execute(update(table).where(table.c.id == found.id).values(**values).returning(*_COLUMNS)).one()
    because = f" ({reason})" if reason else ""
    sentence = f"{name(found.id)} moved from {found.state} to {to}{because}: {happened}."
    _tell(conn, found, MOVED, sentence, data, t_us=t_us, received_us=received_us, by=by)
    return _ticket(row)


def _window(conn: Connection, about: Ticket, t_us: int) -> int:
    series = conn.execute(select(alarm.c.series).where(alarm.c.id == about.alarm_id)).scalar_one_or_none()
    return window_us(evidence.period_us(conn, about.device_id, series, t_us) if series else 0)


def _is_clear(conn: Connection, about: Ticket) -> bool:
    state = conn.execute(select(alarm.c.state).where(alarm.c.id == about.alarm_id)).scalar_one_or_none()
    return state in (None, AlarmState.CLEARED.value)


def _last_move(conn: Connection, ticket_id: int, to: State) -> Mapping[str, Any]:
    """Return the data of the ticket's newest move to a state; empty if there was none."""
    before: int | None = None
    while True:
        moves = event.page(conn, noun="ticket", noun_id=str(ticket_id), kinds=(MOVED,), before=before, limit=100)
        for moved in moves:
            if moved.data.get("to") == to:
                return moved.data
        if not moves:
            return {}
        before = moves[-1].id


def _tell(  # noqa: PLR0913 - one argument a fact
    conn: Connection,
    about: Ticket,
    kind: str,
    sentence: str,
    data: Mapping[str, object],
    *,
    t_us: int,
    received_us: int,
    by: Actor,
) -> None:
    facts = (kind, "ticket", str(about.id), by.id, by.origin, sentence[:2048], about.device_id, data)
    event.append(conn, Event(t_us, received_us, *facts))


def _is_open() -> Any:  # noqa: ANN401 - SQLAlchemy's expression
    """Say that a ticket is open, in the words of the partial index, so that it serves."""
    return text("ticket.state NOT IN ('resolved', 'closed', 'canceled')")


def _get(conn: Connection, query: Select[Any], ticket_id: int) -> Ticket:
    row = conn.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"there is no ticket {name(ticket_id)}", hint="`fleet ticket list` shows all tickets.")
    return _ticket(row)


def _ticket(row: Row[Any]) -> Ticket:
    facts = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    return Ticket(**facts | {"severity": Severity(row.severity), "state": State(row.state)})
