"""What a rule is, and how it is read from the `[[rule]]` tables of a config document."""

from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase

from agent.rules.condition import Absent, Condition, Several, read_condition
from agent.rules.condition.pace import Step
from agent.rules.condition.read import ABSENT_INTERVALS
from agent.rules.condition.still import Changed, Stuck
from agent.rules.interval import NOTHING, Intervals, read_intervals, source_of
from agent.wire.document import Table
from agent.wire.messages import Severity

DEFAULT_HOLD_S = 60.0
DEFAULT_HOLD_SAMPLES = 3
DEFAULT_CLEAR_HOLD_S = 300.0
MAX_HOLD_S = 7 * 86_400.0


class Place(StrEnum):
    """Where a rule is judged."""

    EDGE = "edge"  # on the device, with or without a network
    FLEET = "fleet"  # in the fleet, as the data comes in


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition that must hold for a while, and what it means.

    A pause of more than `pause_us` breaks a hold and a clear-hold: both begin anew with the reading after it.

    The alarm is raised when the condition was bad for `hold_s` of event time and on `hold_samples` readings in a
    row, both; it clears when it was good for `clear_hold_s`. `series` is what the alarm is about; it may hold `*`:
    each series that matches has an alarm of its own. A condition over several series may name others beside it.
    """

    name: str
    series: str
    condition: Condition | Several
    hold_s: float
    hold_samples: int
    clear_hold_s: float
    severity: Severity
    ticket: bool  # the alarm opens a ticket
    at: Place
    pause_us: int = 0  # without a reading for longer than this nobody knows how it was meanwhile; 0: not known

    def matches(self, series: str) -> bool:
        """Tell whether the rule may have an alarm about this series."""
        return series == self.series or ("*" in self.series and fnmatchcase(series, self.series))

    def others(self) -> frozenset[str]:
        """Return the series that its condition names beside the rule's own."""
        if not isinstance(self.condition, Several):
            return frozenset()
        return frozenset(part.series for part in self.condition.parts if part.series)

    def waits(self) -> bool:
        """Tell whether passing time alone may change its verdict: silence is part of its condition."""
        if isinstance(self.condition, Several):
            return any(isinstance(part.condition, Absent) for part in self.condition.parts)
        return isinstance(self.condition, Absent)


def read_rules(document: Table) -> tuple[Rule, ...]:
    """Read all `[[rule]]` tables; raises DocumentError. Names are unique within a document.

    How often the sources read is taken from their tables beside, where they say it.
    """
    intervals = read_intervals(document)
    rules: list[Rule] = []
    for table in document.tables("rule"):
        rule = _read_rule(table, intervals)
        if any(other.name == rule.name for other in rules):
            raise table.error("name", f"{rule.name!r} is the name of another rule; names are unique")
        rules.append(rule)
    return tuple(rules)


def _read_rule(table: Table, intervals: Intervals) -> Rule:
    own = table.text("series") if "series" in table else ""
    at = table.choice("at", Place, Place.EDGE)

    def expected_us(series: str) -> int:
        interval = intervals.get(source_of(series), NOTHING)
        return interval.fleet_us if at is Place.FLEET else interval.device_us

    condition = read_condition(table, own, expected_us)
    hold_s, hold_samples = _read_hold(table, condition)
    rule = Rule(
        name=table.name("name"),
        series=_series(table, own, condition),
        condition=condition,
        hold_s=hold_s,
        hold_samples=hold_samples,
        clear_hold_s=table.number("clear_hold_s", DEFAULT_CLEAR_HOLD_S, least=0, most=MAX_HOLD_S),
        severity=table.choice("severity", Severity, Severity.MAJOR),
        ticket=table.flag("ticket", default=False),
        at=at,
    )
    table.done()
    if rule.waits():  # it judges silence itself
        return rule
    expected = [expected_us(series) for series in (rule.series, *rule.others())]
    return replace(rule, pause_us=ABSENT_INTERVALS * max(expected) if all(expected) else 0)


def _series(table: Table, own: str, condition: Condition | Several) -> str:
    """Return what the alarm is about: the rule's own series, or the first that its parts name."""
    if not isinstance(condition, Several):
        return table.text("series")
    named = [part.series or own for part in condition.parts]
    if own and own not in named:
        raise table.error("series", f"{own!r} is none of the condition's series, {', '.join(dict.fromkeys(named))}")
    return own or named[0]


def _read_hold(table: Table, condition: Condition | Several) -> tuple[float, int]:
    """Read how long and how often the condition must be bad; some conditions say that themselves."""
    why = _has_own_hold(condition)
    if why:
        for key in ("hold_s", "hold_samples"):
            if table.has(key):
                raise table.error(key, why)
        return 0.0, 1
    hold_s = table.number("hold_s", DEFAULT_HOLD_S, least=0, most=MAX_HOLD_S)
    if isinstance(condition, Several) and any(isinstance(part.condition, Absent) for part in condition.parts):
        if table.has("hold_samples"):
            raise table.error(
                "hold_samples", "silence brings no samples; a rule with absent_s or expected_s has hold_s"
            )
        return hold_s, 1
    # Who sets the hold alone wants just that; the default asks for a minimum of samples as well.
    samples = 1 if "hold_s" in table else DEFAULT_HOLD_SAMPLES
    return hold_s, table.integer("hold_samples", samples, least=1)


def _has_own_hold(condition: Condition | Several) -> str:
    match condition:
        case Absent():
            return "absent, absent_s and expected_s say how long already"
        case Stuck():
            return "stuck_s says how long already"
        case Changed():
            return "a change is one moment and holds for no time; clear_hold_s says how long the alarm stays"
        case Step(window_us=0):
            return "a step is one moment and holds for no time, unless it is counted over window_s"
    return ""
