"""The engine: all rules of one device, fed with its readings.

    readings, ticks ─▶ Judge ─▶ cases (one a rule and series) ─▶ changes of alarms

The same judge runs on the device, where it lives as long as the config, and in the fleet, where it is made anew for
each batch from the states that were kept. Any split of the readings into calls gives the same changes. A judge does no
IO and reads no clock: `tick` is how silence is noticed, and who calls it says what time it is.
"""

from collections.abc import Iterable, Mapping, Sequence

from agent.rules.case import NOTHING, Case, open_case
from agent.rules.condition import Several
from agent.rules.phase import ANNOUNCED, NEXT, RAISED, Change, Phase, RuleState, Verdict
from agent.rules.rule import Rule
from agent.wire.messages import Value

Key = tuple[str, str]
"""Rule name and series."""

States = Mapping[Key, RuleState]

FRESH = RuleState()


class Judge:
    """Rules, and how each stands on each series."""

    def __init__(self, rules: Iterable[Rule], states: States | None = None, *, from_us: int = 0) -> None:
        """Go on from `states`; those of rules that are gone are left out (`gone` tells them)."""
        self.from_us = from_us  # since when somebody has listened without a break; 0: not known
        self._rules = tuple(rules)
        self._cases: dict[Key, Case] = {}
        self._cases_on: dict[str, tuple[Case, ...]] = {}
        self._ticking: list[Case] = []
        by_name = {rule.name: rule for rule in self._rules}
        for (name, series), state in (states or {}).items():
            rule = by_name.get(name)
            if rule is not None and rule.matches(series):
                self._open(rule, series, state)
        for rule in self._rules:
            if rule.waits() and "*" not in rule.series:
                self._case(rule, rule.series)

    @property
    def ticks(self) -> bool:
        """Tell whether `tick` may lead to anything."""
        return bool(self._ticking)

    def feed(self, series: str, t_us: int, value: Value) -> Sequence[Change]:
        """Take a reading; returns what changed, in order of time for each rule."""
        cases = self._cases_on.get(series)
        if cases is None:
            cases = self._meet(series)
        changes: Sequence[Change] = NOTHING
        for case in cases:
            told = case.feed(series, t_us, value)
            if told:
                changes = (*changes, *told)
        return changes

    def hear(self, series: str, t_us: int, value: Value) -> None:
        """Take note of a reading that will be fed later: until then it proves that data comes, and no more."""
        if value is not None:
            for case in self._cases_on.get(series) or self._meet(series):
                case.hear(series, t_us)

    def tick(self, now_us: int) -> list[Change]:
        """Take note that all readings before `now_us` have been fed; returns what changed, in order of time."""
        changes = [change for case in self._ticking for change in case.tick(now_us)]
        changes.sort(key=lambda change: change.t_us)
        return changes

    def listen(self, now_us: int) -> None:
        """Count every silence from `now_us` on: nobody listened before, so nothing is known of it."""
        self.from_us = now_us
        for case in self._cases.values():
            case.listen(now_us)

    def reset_clock(self, by_us: int, now_us: int, since_us: int | None = None) -> None:
        """Take note that the clock was set by `by_us` and is at `now_us` now.

        What was seen since `since_us` (unless given, since `listen`) was dated by the clock as it went wrong, which
        ran evenly, and moves with it: a clock that ran ahead silences no rule, one that was behind completes no hold.
        """
        since_us = self.from_us if since_us is None else since_us
        for case in self._cases.values():
            case.reset_clock(by_us, since_us, now_us)
        self.from_us = min(self.from_us + by_us, now_us)

    def hears(self, series: str) -> bool:
        """Tell whether any rule cares for this series."""
        cases = self._cases_on.get(series)
        return bool(self._meet(series) if cases is None else cases)

    def states(self) -> dict[Key, RuleState]:
        """Return how every rule stands, as values."""
        return {key: case.state() for key, case in self._cases.items()}

    def moved(self) -> dict[Key, RuleState]:
        """Return what moved since this was asked last, as far as a restart has to know."""
        found: dict[Key, RuleState] = {}
        for key, case in self._cases.items():
            if case.moved:
                case.moved = False
                found[key] = case.state()
        return found

    def _meet(self, series: str) -> tuple[Case, ...]:
        """Find the cases that a series is heard by, when it is met first."""
        cases = []
        for rule in self._rules:
            if series in rule.others():
                cases.append(self._case(rule, rule.series))
            elif rule.matches(series):
                cases.append(self._case(rule, series))
        self._cases_on[series] = tuple(cases)
        return self._cases_on[series]

    def _case(self, rule: Rule, series: str) -> Case:
        return self._cases.get((rule.name, series)) or self._open(rule, series, FRESH)

    def _open(self, rule: Rule, series: str, state: RuleState) -> Case:
        case = self._cases[rule.name, series] = open_case(rule, series, state)
        if rule.waits() or isinstance(rule.condition, Several):
            self._ticking.append(case)
        return case


def gone(rules: Iterable[Rule], states: States) -> dict[Key, RuleState]:
    """Return the states that no rule has any more."""
    by_name = {rule.name: rule for rule in rules}
    return {
        (name, series): state
        for (name, series), state in states.items()
        if name not in by_name or not by_name[name].matches(series)
    }


__all__ = [
    "ANNOUNCED",
    "NEXT",
    "RAISED",
    "Change",
    "Judge",
    "Phase",
    "RuleState",
    "Verdict",
    "gone",
]
