"""The alarm: a state machine as a table. Rules announce; the table says what becomes of the alarm and what follows.

    pending    bad, but not yet for the rule's hold; known to the rule engine alone, never a row
    active     raised
    clearing   good again, but not yet for the rule's clear-hold
    cleared    over; bad again is a new alarm, since each alarm is one stretch of trouble

Beside its state an alarm is acked or not (a person has seen it), which changes nothing here. Silence of the signal
announces nothing, so missing data never clears an alarm.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from agent.wire.messages import AlarmState, Severity


class Effect(StrEnum):
    """What follows from a change of an alarm."""

    OPEN = "a new alarm is opened: alarm.raised"
    COUNT = "the repeat is counted; the first bad reading stays"
    RELAPSE = "the repeat is counted: alarm.relapsed"
    CLEARING = "alarm.clearing"
    CLEAR = "alarm.cleared"
    TICKET = "a ticket is found or opened, if the rule asks for one"
    VERIFY = "verification starts on this alarm's ticket"


@dataclass(frozen=True, slots=True)
class Step:
    """Where a state goes, and what follows."""

    state: AlarmState
    effects: tuple[Effect, ...] = ()


_P, _A, _C, _X = AlarmState.PENDING, AlarmState.ACTIVE, AlarmState.CLEARING, AlarmState.CLEARED

NEXT: Mapping[tuple[AlarmState, AlarmState], Step] = {
    (_P, _A): Step(_A, (Effect.OPEN, Effect.TICKET)),
    (_P, _X): Step(_X),
    (_A, _A): Step(_A, (Effect.COUNT, Effect.TICKET)),
    (_A, _C): Step(_C, (Effect.CLEARING,)),
    (_A, _X): Step(_X, (Effect.CLEAR, Effect.VERIFY)),
    (_C, _A): Step(_A, (Effect.RELAPSE, Effect.TICKET)),
    (_C, _C): Step(_C),
    (_C, _X): Step(_X, (Effect.CLEAR, Effect.VERIFY)),
    (_X, _A): Step(_A, (Effect.OPEN, Effect.TICKET)),
}
"""By (state, what the rule announces). A pair that is not listed changes nothing: it is a clear of what is not open."""

INITIAL = _P


@dataclass(frozen=True, slots=True)
class Open:
    """What is known of the newest alarm of a (device, series, rule)."""

    state: AlarmState
    severity: Severity
    changed_us: int  # event time of its newest change


def step(known: Open | None, announced: AlarmState, t_us: int) -> Step | None:
    """Return what a rule's announcement at `t_us` (event time) leads to; None if it changes nothing.

    An announcement that is older than the alarm's newest change came out of order and moves nothing back.
    """
    if known is None:
        return NEXT.get((INITIAL, announced)) if announced is AlarmState.ACTIVE else None
    if t_us < known.changed_us:
        return None
    return NEXT.get((known.state, announced))


def worst(one: Severity, other: Severity) -> Severity:
    """Return the worse of two severities: while an alarm is open its severity only rises."""
    order = tuple(Severity)
    return min(one, other, key=order.index)
