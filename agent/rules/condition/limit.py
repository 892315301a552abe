"""Conditions that judge a value by itself: limits, each with the hysteresis that keeps noise from flipping it."""

import math
from dataclasses import dataclass

from agent.wire.messages import Value


@dataclass(frozen=True, slots=True)
class Above:
    """Bad above `limit`; good again at `limit - band` or below."""

    limit: float
    band: float

    def is_bad(self, value: Value, *, was_bad: bool) -> bool | None:
        """Judge one value."""
        if value is None or isinstance(value, str) or value != value:  # noqa: PLR0124 - NaN alone is not itself
            return None
        return value > (self.limit - self.band if was_bad else self.limit)

    def calm(self) -> tuple[float, float]:
        """Return within which bounds a value is good that comes after a good one."""
        return (-math.inf, self.limit)

    def __str__(self) -> str:
        return f"above {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Below:
    """Bad below `limit`; good again at `limit + band` or above."""

    limit: float
    band: float

    def is_bad(self, value: Value, *, was_bad: bool) -> bool | None:
        """Judge one value."""
        if value is None or isinstance(value, str) or value != value:  # noqa: PLR0124 - NaN alone is not itself
            return None
        return value < (self.limit + self.band if was_bad else self.limit)

    def calm(self) -> tuple[float, float]:
        """Return within which bounds a value is good that comes after a good one."""
        return (self.limit, math.inf)

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
        if value is None or isinstance(value, str) or value != value:  # noqa: PLR0124 - NaN alone is not itself
            return None
        band = self.band if was_bad else 0.0
        return not self.low + band <= value <= self.high - band

    def calm(self) -> tuple[float, float]:
        """Return within which bounds a value is good that comes after a good one."""
        return (self.low, self.high)

    def __str__(self) -> str:
        return f"outside {self.low:g}…{self.high:g}"


Limit = Above | Below | Outside


@dataclass(frozen=True, slots=True)
class Equals:
    """Bad while the value is this one; a text says nothing about a number, nor a number about a text."""

    wanted: float | int | str

    def is_bad(self, value: Value, *, was_bad: bool) -> bool | None:  # noqa: ARG002 - there is no band to equality
        """Judge one value."""
        if value is None or isinstance(value, str) is not isinstance(self.wanted, str):
            return None
        return value == self.wanted

    def calm(self) -> tuple[float, float]:
        """Return no bounds: good are all values but one."""
        return math.inf, -math.inf

    def __str__(self) -> str:
        return f"equals {self.wanted}" if isinstance(self.wanted, str) else f"equals {self.wanted:g}"
