"""From readings to alarms: a state machine a rule and series, driven by event time alone.

A phase and a verdict on the next reading give the next phase (`NEXT`, printed into the docs):

    ok        a reading was good, or none has come
    pending   bad, not yet for the hold time and number of readings
    active    the alarm is raised
    clearing  good again, not yet for the clear-hold

A reading without a verdict (missing value) and one older than the newest that was judged change nothing. States are
values: whoever runs the engine keeps them on disk, so a restart loses no running hold.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from agent.rules.rule import Rule
from agent.wire.messages import AlarmState, Value

US_PER_S = 1_000_000


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


@dataclass(frozen=True, slots=True)
class RuleState:
    """Memory of one rule on one series."""

    phase: Phase = Phase.OK
    first_bad_us: int = 0  # event time of the first bad reading of this alarm
    first_good_us: int = 0  # event time at which clearing began
    bad_samples: int = 0  # bad readings in a row while pending
    last_us: int = -1  # event time of the newest reading that was judged


@dataclass(frozen=True, slots=True)
class Change:
    """An alarm that was raised, relapsed, began to clear or cleared."""

    rule: Rule
    series: str
    state: AlarmState
    t_us: int
    first_bad_us: int
    value: Value


def judge(rule: Rule, state: RuleState, t_us: int, value: Value) -> tuple[RuleState, AlarmState | None]:
    """Judge one reading; returns the next state and, if there is something to tell, the alarm's new state."""
    was_bad = state.phase in (Phase.PENDING, Phase.ACTIVE)
    bad = rule.condition.is_bad(value, was_bad=was_bad)
    if bad is None or t_us < state.last_us:
        return state, None
    state = replace(state, last_us=t_us)
    state = _note_bad(state, t_us) if bad else _note_good(state, t_us)
    phase = NEXT.get((state.phase, _verdict(rule, state, t_us, bad=bad)), state.phase)
    return replace(state, phase=phase), ANNOUNCED.get((state.phase, phase))


def judge_all(
    rules: Iterable[Rule],
    states: Mapping[tuple[str, str], RuleState],
    series: str,
    readings: Iterable[tuple[int, Value]],
) -> tuple[dict[tuple[str, str], RuleState], list[Change]]:
    """Judge readings `(t_us, value)` of one series by every rule that matches it.

    `states` is keyed by (rule name, series). Returns the states that the rules have now, and the changes in order.
    """
    after: dict[tuple[str, str], RuleState] = {}
    changes: list[Change] = []
    rows = list(readings)
    for rule in rules:
        if not rule.matches(series):
            continue
        key = (rule.name, series)
        state = states.get(key, RuleState())
        for t_us, value in rows:
            state, announced = judge(rule, state, t_us, value)
            if announced is not None:
                changes.append(Change(rule, series, announced, t_us, state.first_bad_us, value))
        after[key] = state
    changes.sort(key=lambda change: change.t_us)
    return after, changes


def _note_bad(state: RuleState, t_us: int) -> RuleState:
    if state.phase is Phase.OK:
        return replace(state, first_bad_us=t_us, bad_samples=1)
    return replace(state, bad_samples=state.bad_samples + 1)


def _note_good(state: RuleState, t_us: int) -> RuleState:
    return replace(state, first_good_us=t_us) if state.phase is Phase.ACTIVE else state


def _verdict(rule: Rule, state: RuleState, t_us: int, *, bad: bool) -> Verdict:
    if bad:
        held = t_us - state.first_bad_us >= rule.hold_s * US_PER_S and state.bad_samples >= rule.hold_samples
        return Verdict.BAD_HELD if held else Verdict.BAD
    held = t_us - state.first_good_us >= rule.clear_hold_s * US_PER_S
    return Verdict.GOOD_HELD if held else Verdict.GOOD
