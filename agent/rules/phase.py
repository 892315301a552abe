"""From verdicts to alarms: a state machine a rule and series, driven by event time alone.

A phase and a verdict on the next reading give the next phase (`NEXT`, printed into the docs):

    ok        a reading was good, or none has come
    pending   bad, not yet for the hold time and number of readings
    active    the alarm is raised
    clearing  good again, not yet for the clear-hold

A reading without a verdict (missing value, a window not full yet) and one older than the newest that was judged change
nothing. States are values that serialise to JSON: whoever runs the engine keeps them on disk, so a restart loses no
running hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from agent.rules.condition import Memory
from agent.rules.rule import Rule
from agent.wire.messages import AlarmState, Value


class Phase(StrEnum):
    """Phase of one rule on one series."""

    OK = "ok"
    PENDING = "pending"
    ACTIVE = "active"
    CLEARING = "clearing"


class Verdict(StrEnum):
    """What a reading means to a phase; `held` says that the phase's hold time is over."""

    GOOD = "good"
    BAD = "bad"
    GOOD_HELD = "good, held"
    BAD_HELD = "bad, held"


NEXT: Mapping[tuple[Phase, Verdict], Phase] = {
    (Phase.OK, Verdict.BAD): Phase.PENDING,
    (Phase.OK, Verdict.BAD_HELD): Phase.ACTIVE,
    (Phase.PENDING, Verdict.GOOD): Phase.OK,
    (Phase.PENDING, Verdict.GOOD_HELD): Phase.OK,
    (Phase.PENDING, Verdict.BAD_HELD): Phase.ACTIVE,
    (Phase.ACTIVE, Verdict.GOOD): Phase.CLEARING,
    (Phase.ACTIVE, Verdict.GOOD_HELD): Phase.OK,
    (Phase.CLEARING, Verdict.BAD): Phase.ACTIVE,
    (Phase.CLEARING, Verdict.BAD_HELD): Phase.ACTIVE,
    (Phase.CLEARING, Verdict.GOOD_HELD): Phase.OK,
}
"""Pairs that are not listed stay in their phase."""

ANNOUNCED: Mapping[tuple[Phase, Phase], AlarmState] = {
    (Phase.OK, Phase.ACTIVE): AlarmState.ACTIVE,
    (Phase.PENDING, Phase.ACTIVE): AlarmState.ACTIVE,
    (Phase.ACTIVE, Phase.CLEARING): AlarmState.CLEARING,
    (Phase.CLEARING, Phase.ACTIVE): AlarmState.ACTIVE,
    (Phase.ACTIVE, Phase.OK): AlarmState.CLEARED,
    (Phase.CLEARING, Phase.OK): AlarmState.CLEARED,
}
"""Changes of phase that leave the engine; a pending hold that passes is nobody's business."""

RAISED = frozenset({Phase.ACTIVE, Phase.CLEARING})
"""Phases in which there is an alarm."""


@dataclass(frozen=True, slots=True)
class RuleState:
    """Memory of one rule on one series."""

    phase: Phase = Phase.OK
    first_bad_us: int = 0  # event time of the first bad reading of this alarm
    first_good_us: int = 0  # event time at which clearing began
    bad_samples: int = 0  # bad readings in a row while pending
    last_us: int = -1  # event time of the newest reading that was judged
    memory: Memory = ()  # (condition in words, what it remembers); () if it remembers nothing


@dataclass(frozen=True, slots=True)
class Change:
    """An alarm that was raised, relapsed, began to clear or cleared."""

    rule: Rule
    series: str
    state: AlarmState
    t_us: int
    first_bad_us: int
    value: Value  # the reading that completed the change, or the newest of `series` where it took several; or None


def pack(state: RuleState) -> list[Any]:
    """Return the state as JSON can hold it; without a memory it is the form of the first release."""
    fields = [str(state.phase), state.first_bad_us, state.first_good_us, state.bad_samples, state.last_us]
    return [*fields, state.memory] if state.memory else fields


def unpack(fields: Sequence[Any]) -> RuleState:
    """Return the state that `pack` made a list of, also after it went through JSON."""
    phase, first_bad_us, first_good_us, bad_samples, last_us, *rest = fields
    memory = _tuples(rest[0]) if rest else ()
    return RuleState(Phase(phase), first_bad_us, first_good_us, bad_samples, last_us, memory)


def shifted(state: RuleState, by_us: int, from_us: int, now_us: int) -> RuleState:
    """Return the state with its times moved as `reset_clock` moves them, for a rule that nobody has opened yet.

    It forgets what it remembers: nobody listens, and so nothing is known of the silence.
    """
    first_bad_us, first_good_us, last_us = (
        min(t_us + by_us if t_us >= from_us else t_us, now_us)
        for t_us in (state.first_bad_us, state.first_good_us, state.last_us)
    )
    return replace(state, first_bad_us=first_bad_us, first_good_us=first_good_us, last_us=last_us, memory=())


def _tuples(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    return tuple(_tuples(each) for each in value) if isinstance(value, list | tuple) else value
