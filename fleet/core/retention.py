"""How long telemetry is kept: readings, windows of 15 minutes and days, each for so many days of event time.

What is finer is never kept longer than what is coarser, so a look back in time gets coarser and never blank. Whole UTC
days go at a time: of readings and windows of 15 minutes the day that has passed its end, of days the 96 that stand
together. What a ticket froze as evidence is its own, and stays.
"""

from dataclasses import dataclass
from enum import StrEnum

from fleet.core.rollup import DAY_S, DAY_US, part_of, start_of

MAX_DAYS = 36_500


class Kept(StrEnum):
    """What is kept, the finest first."""

    READINGS = "readings"
    QUARTERS = "15min"
    DAYS = "1day"


DEFAULT_DAYS = {Kept.READINGS: 90, Kept.QUARTERS: 2 * 365, Kept.DAYS: 10 * 365}
"""How long each is kept where nobody has said otherwise, days."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How many days each is kept."""

    readings: int = DEFAULT_DAYS[Kept.READINGS]
    quarters: int = DEFAULT_DAYS[Kept.QUARTERS]
    days: int = DEFAULT_DAYS[Kept.DAYS]

    def of(self, kept: Kept) -> int:
        """Return the days of one of them."""
        return {Kept.READINGS: self.readings, Kept.QUARTERS: self.quarters, Kept.DAYS: self.days}[kept]

    def begins(self, kept: Kept, now_us: int) -> int:
        """Return the event time from which on it is kept; what is older goes."""
        oldest_us = max(0, now_us - self.of(kept) * DAY_US)
        return part_of(oldest_us, DAY_S) if kept is Kept.DAYS else start_of(oldest_us, DAY_S)

    def problem(self) -> str | None:
        """Return what is wrong with it, for people; None if nothing is."""
        for kept in Kept:
            if not 1 <= self.of(kept) <= MAX_DAYS:
                return f"{kept} cannot be kept {self.of(kept)} days; choose from 1 to {MAX_DAYS}"
        if not self.readings <= self.quarters <= self.days:
            return (
                f"readings would be kept {self.readings} days, 15min {self.quarters}, 1day {self.days}:"
                " what is finer cannot be kept longer than what is coarser"
            )
        return None
