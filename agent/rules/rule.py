"""What a rule is, and how it is read from the `[[rule]]` tables of a config document."""

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from agent.rules.condition import Condition, read_condition
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
    """A condition on a series that must hold for a while, and what it means.

    The alarm is raised when the condition was bad for `hold_s` of event time and on `hold_samples` readings in a
    row, both; it clears when it was good for `clear_hold_s`. `series` may hold `*`: each series that matches has an
    alarm of its own.
    """

    name: str
    series: str
    condition: Condition
    hold_s: float
    hold_samples: int
    clear_hold_s: float
    severity: Severity
    ticket: bool  # the alarm opens a ticket
    at: Place

    def matches(self, series: str) -> bool:
        """Tell whether the rule judges this series."""
        return series == self.series or ("*" in self.series and fnmatchcase(series, self.series))


def read_rules(document: Table) -> tuple[Rule, ...]:
    """Read all `[[rule]]` tables; raises DocumentError. Names are unique within a document."""
    rules: list[Rule] = []
    for table in document.tables("rule"):
        rule = _read_rule(table)
        if any(other.name == rule.name for other in rules):
            raise table.error("name", f"{rule.name!r} is the name of another rule; names are unique")
        rules.append(rule)
    return tuple(rules)


def _read_rule(table: Table) -> Rule:
    # Who sets the hold alone wants just that; the default asks for a minimum of samples as well.
    samples = 1 if "hold_s" in table else DEFAULT_HOLD_SAMPLES
    rule = Rule(
        name=table.name("name"),
        series=table.text("series"),
        condition=read_condition(table),
        hold_s=table.number("hold_s", DEFAULT_HOLD_S, least=0, most=MAX_HOLD_S),
        hold_samples=table.integer("hold_samples", samples, least=1),
        clear_hold_s=table.number("clear_hold_s", DEFAULT_CLEAR_HOLD_S, least=0, most=MAX_HOLD_S),
        severity=table.choice("severity", Severity, Severity.MAJOR),
        ticket=table.flag("ticket", default=False),
        at=table.choice("at", Place, Place.EDGE),
    )
    table.done()
    return rule
