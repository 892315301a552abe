"""The ticket: a state machine as a table, for people's moves and for what the signal says.

    new → triaged → assigned → scheduled → on_site → repaired → verifying → resolved → closed

beside it `on_hold` (with a reason) and `canceled` (with a reason). A remote repair skips scheduled and on_site.
The machine's signal, not a person, resolves: `resolved` is reached from `verifying` alone, and only by the fleet
when the verification window has passed with good signal. A clear starts verification and never closes; if the
trouble comes back while verifying, the ticket goes back to where it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from agent.wire.units import US_PER_S

REOPEN_US = 7 * 86_400 * US_PER_S  # trouble that comes back within this after resolved reopens the ticket
REPEAT_US = 30 * 86_400 * US_PER_S  # … within this it is a new ticket, linked as a repeat
CLOSE_US = 7 * 86_400 * US_PER_S  # a resolved ticket closes by itself after this


class State(StrEnum):
    """State of a ticket."""

    NEW = "new"
    TRIAGED = "triaged"
    ASSIGNED = "assigned"
    SCHEDULED = "scheduled"
    ON_SITE = "on_site"
    REPAIRED = "repaired"
    VERIFYING = "verifying"
    RESOLVED = "resolved"
    CLOSED = "closed"
    ON_HOLD = "on_hold"
    CANCELED = "canceled"


class Hold(StrEnum):
    """Why a ticket waits."""

    CUSTOMER = "customer"
    PARTS = "parts"
    VENDOR = "vendor"
    PROBLEM = "problem"
    ACCESS = "access"


class Cancel(StrEnum):
    """Why a ticket was none."""

    DUPLICATE = "duplicate"
    FALSE_ALARM = "false_alarm"
    EXPECTED = "expected"


class Event(StrEnum):
    """What moves a ticket. The first group is what people do, the second what the signal and the calendar do."""

    TRIAGE = "triage"
    ASSIGN = "assign"
    SCHEDULE = "schedule"
    ARRIVE = "arrive"
    REPAIR = "repair"
    VERIFY = "verify"
    HOLD = "hold"
    RESUME = "resume"
    CANCEL = "cancel"
    CLOSE = "close"

    CLEARED = "alarm cleared"
    RECURRED = "trouble came back"
    VERIFIED = "window passed with good signal"
    EXPIRED = "7 days without objection"


class Effect(StrEnum):
    """What follows from a move."""

    REMEMBER = "where it was is remembered"
    OPEN_WINDOW = "the verification window starts"
    CLOSE_WINDOW = "the verification window ends"
    REASON = "a reason is needed"
    REOPEN = "its first bad reading stays"


@dataclass(frozen=True, slots=True)
class Step:
    """Where a state goes (None: back to where it was), and what follows."""

    state: State | None
    effects: tuple[Effect, ...] = ()


WORKING = (State.NEW, State.TRIAGED, State.ASSIGNED, State.SCHEDULED, State.ON_SITE, State.REPAIRED)
"""States in which work is under way; each may be put on hold and each may be overtaken by a clear."""

OPEN = (*WORKING, State.VERIFYING, State.ON_HOLD)
"""States of which a correlation key has at most one ticket."""

_HELD = Step(State.ON_HOLD, (Effect.REASON, Effect.REMEMBER))
_VERIFYING = Step(State.VERIFYING, (Effect.REMEMBER, Effect.OPEN_WINDOW))
_REOPENED = Step(State.TRIAGED, (Effect.REOPEN,))
_CANCELED = Step(State.CANCELED, (Effect.REASON,))

NEXT: Mapping[tuple[State, Event], Step] = {
    (State.NEW, Event.TRIAGE): Step(State.TRIAGED),
    (State.NEW, Event.ASSIGN): Step(State.ASSIGNED),
    (State.TRIAGED, Event.ASSIGN): Step(State.ASSIGNED),
    (State.ASSIGNED, Event.TRIAGE): Step(State.TRIAGED),
    (State.ASSIGNED, Event.SCHEDULE): Step(State.SCHEDULED),
    (State.ASSIGNED, Event.ARRIVE): Step(State.ON_SITE),
    (State.ASSIGNED, Event.REPAIR): Step(State.REPAIRED),
    (State.SCHEDULED, Event.ASSIGN): Step(State.ASSIGNED),
    (State.SCHEDULED, Event.ARRIVE): Step(State.ON_SITE),
    (State.SCHEDULED, Event.REPAIR): Step(State.REPAIRED),
    (State.ON_SITE, Event.REPAIR): Step(State.REPAIRED),
    (State.ON_SITE, Event.SCHEDULE): Step(State.SCHEDULED),
    (State.ON_SITE, Event.ASSIGN): Step(State.ASSIGNED),
    (State.REPAIRED, Event.VERIFY): _VERIFYING,
    (State.REPAIRED, Event.ASSIGN): Step(State.ASSIGNED),
    (State.REPAIRED, Event.SCHEDULE): Step(State.SCHEDULED),
    (State.REPAIRED, Event.ARRIVE): Step(State.ON_SITE),
    **{(state, Event.HOLD): _HELD for state in WORKING},
    **{(state, Event.CANCEL): _CANCELED for state in (*WORKING, State.ON_HOLD)},
    **{(state, Event.CLEARED): _VERIFYING for state in (*WORKING, State.ON_HOLD)},
    (State.ON_HOLD, Event.RESUME): Step(None),
    (State.ON_HOLD, Event.ASSIGN): Step(State.ASSIGNED),
    (State.VERIFYING, Event.ASSIGN): Step(State.ASSIGNED, (Effect.CLOSE_WINDOW,)),
    (State.VERIFYING, Event.CANCEL): Step(State.CANCELED, (Effect.REASON, Effect.CLOSE_WINDOW)),
    (State.VERIFYING, Event.CLEARED): Step(State.VERIFYING, (Effect.OPEN_WINDOW,)),
    (State.VERIFYING, Event.RECURRED): Step(None, (Effect.CLOSE_WINDOW,)),
    (State.VERIFYING, Event.VERIFIED): Step(State.RESOLVED, (Effect.CLOSE_WINDOW,)),
    (State.RESOLVED, Event.CLOSE): Step(State.CLOSED),
    (State.RESOLVED, Event.EXPIRED): Step(State.CLOSED),
    (State.RESOLVED, Event.RECURRED): _REOPENED,
    (State.CLOSED, Event.RECURRED): _REOPENED,
}
"""By (state, event). A pair that is not listed cannot happen. `canceled` is the end; more trouble is a new one."""

_PEOPLE: Mapping[State, Event] = {
    State.TRIAGED: Event.TRIAGE,
    State.ASSIGNED: Event.ASSIGN,
    State.SCHEDULED: Event.SCHEDULE,
    State.ON_SITE: Event.ARRIVE,
    State.REPAIRED: Event.REPAIR,
    State.VERIFYING: Event.VERIFY,
    State.ON_HOLD: Event.HOLD,
    State.CANCELED: Event.CANCEL,
    State.CLOSED: Event.CLOSE,
}
"""What a person does who moves a ticket to a state; nobody moves one to new or resolved."""


def move_event(state: State, to: State, resume: State | None) -> Event | None:
    """Return what a person does by moving a ticket from `state` to `to`; None if that cannot be.

    `resume` is where an on-hold ticket was: moving it there is resuming it.
    """
    if state is State.ON_HOLD and to is resume:
        return Event.RESUME
    event = _PEOPLE.get(to)
    return event if event is not None and (state, event) in NEXT else None


def moves(state: State, resume: State | None) -> tuple[State, ...]:
    """Return the states that a person may move a ticket to, in order of the work."""
    return tuple(to for to in State if to is not state and move_event(state, to, resume) is not None)


def reason_of(to: State, reason: str) -> str | None:
    """Check the reason of a move: the reasons' names joined if one is needed and this is none; None if it is fine."""
    kinds = {State.ON_HOLD: tuple(Hold), State.CANCELED: tuple(Cancel)}.get(to)
    if kinds is None or reason in kinds:
        return None
    return ", ".join(kinds)


def correlation(device_id: str, series: str, symptom: str) -> str:
    """Return the key of which there is one open ticket: the device, the series and the symptom (the rule's name)."""
    return f"{device_id} {series} {symptom}"
