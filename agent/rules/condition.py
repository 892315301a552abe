"""When a reading is bad: one class a condition, each with the hysteresis that keeps noise from flipping it.

A condition answers with True (bad), False (good) or None: a value that is missing or no number makes the state
unknown, never good. To add a condition: write its class here and name its key in `read_condition`.
"""

from dataclasses import dataclass
from typing import Protocol

from agent.wire.document import Table
from agent.wire.messages import Value

DEFAULT_HYSTERESIS_RATIO = 0.05  # of the limit


class Condition(Protocol):
    """Judges one value; `was_bad` is the verdict before, for hysteresis."""

    def is_bad(self, value: Value, *, was_bad: bool) -> bool | None:
        """Return True if bad, False if good, None if the value says nothing."""

    def __str__(self) -> str:
        """Return the condition in words, as in `above -5.0`."""


@dataclass(frozen=True, slots=True)
class Above:
    """Bad above `limit`; good again at `limit - band` or below."""

    limit: float
    band: float

    def is_bad(self, value: Value, *, was_bad: bool) -> bool | None:
        """Judge one value."""
        if value is None or isinstance(value, str):
            return None
        return value > (self.limit - self.band if was_bad else self.limit)

    def __str__(self) -> str:
        return f"above {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Below:
    """Bad below `limit`; good again at `limit + band` or above."""

    limit: float
    band: float

    def is_bad(self, value: Value, *, was_bad: bool) -> bool | None:
        """Judge one value."""
        if value is None or isinstance(value, str):
            return None
        return value < (self.limit + self.band if was_bad else self.limit)

    def __str__(self) -> str:
        return f"below {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Outside:
    """Bad outside `low`…`high`; good again `band` inside of either."""

    low: float
    high: float
    band: float

    def is_bad(self, value: Value, *, was_bad: bool) -> bool | None:
        """Judge one value."""
        if value is None or isinstance(value, str):
            return None
        band = self.band if was_bad else 0.0
        return not self.low + band <= value <= self.high - band

    def __str__(self) -> str:
        return f"outside {self.low:g}…{self.high:g}"


def read_condition(table: Table) -> Condition:
    """Read the condition of a `[[rule]]` table: `above`, `below`, or both (bad outside the two)."""
    has_above, has_below = "above" in table, "below" in table
    if has_above and has_below:
        low, high = table.number("below"), table.number("above")
        if low >= high:
            raise table.error("below", f"{low:g} is not less than above = {high:g}")
        band = table.number("hysteresis", (high - low) * DEFAULT_HYSTERESIS_RATIO, least=0, most=(high - low) / 2)
        return Outside(low, high, band)
    if has_above or has_below:
        key, kind = ("above", Above) if has_above else ("below", Below)
        limit = table.number(key)
        return kind(limit, table.number("hysteresis", abs(limit) * DEFAULT_HYSTERESIS_RATIO, least=0))
    raise table.error("above", "missing; a rule has above, below, or both")
