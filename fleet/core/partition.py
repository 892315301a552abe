"""How PostgreSQL keeps telemetry in parts by time, so that letting go of it is dropping a table; pure.

    chunk            ── weeks ──▶ chunk_20260525, chunk_20260601, …          chunk_rest: what is older, or odd
    rollup, 15 min   ── 28 days ▶ rollup_quarter_20260511, …                 rollup_quarter_rest
    rollup, days     ──────────▶ rollup_day

Parts are made ahead, so a row in time finds one; whatever finds none goes to the rest, so no row is ever refused. A
part begins on a Monday, UTC.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fleet.core.retention import Kept, Policy
from fleet.core.rollup import DAY_US

FIRST_MONDAY_US = 4 * DAY_US  # 1970-01-05
LEAST_PERIODS = 4  # what is kept for fewer periods goes by days, row by row: a period more would be felt


@dataclass(frozen=True, slots=True)
class Split:
    """One table that is kept in parts."""

    table: str
    days: int  # of one part; whole weeks
    back: int  # parts made of the time before, where the table is new
    ahead: int  # parts made of the time to come

    @property
    def period_us(self) -> int:
        """Length of a part."""
        return self.days * DAY_US

    @property
    def rest(self) -> str:
        """Name of the part that takes what has no other."""
        return f"{self.table}_rest"

    def start_of(self, t_us: int) -> int:
        """Return where the part of a moment begins."""
        return (t_us - FIRST_MONDAY_US) // self.period_us * self.period_us + FIRST_MONDAY_US

    def wanted(self, now_us: int) -> list["Part"]:
        """Return the parts that there should be."""
        now_in = self.start_of(now_us)
        starts = [now_in + number * self.period_us for number in range(-self.back, self.ahead + 1)]
        return [Part(self.name_of(start), start, start + self.period_us) for start in starts]

    def name_of(self, start_us: int) -> str:
        """Return the name of the part that begins there."""
        return f"{self.table}_{datetime.fromtimestamp(start_us / 1_000_000, UTC):%Y%m%d}"


@dataclass(frozen=True, slots=True)
class Part:
    """One part: the table `name` holds the rows with `from_us` ≤ their `from_us` < `to_us`."""

    name: str
    from_us: int
    to_us: int


SPLITS = {
    Kept.READINGS: Split("chunk", days=7, back=14, ahead=5),
    Kept.QUARTERS: Split("rollup_quarter", days=28, back=4, ahead=2),
}
"""What is kept in parts; days are few, and stand in one table."""


def begins(policy: Policy, kept: Kept, now_us: int) -> int:
    """Return from when on it is kept where whole parts go: up to a part longer than the policy says."""
    exact_us = policy.begins(kept, now_us)
    split = SPLITS.get(kept)
    if split is None or policy.of(kept) < LEAST_PERIODS * split.days:
        return exact_us
    return max(0, split.start_of(exact_us))


def passed(parts: Iterable[Part], until_us: int) -> list[Part]:
    """Return the parts that end by then."""
    return [part for part in parts if part.to_us <= until_us]


def outside(parts: Sequence[Part], from_us: int, to_us: int) -> list[tuple[int, int]]:
    """Return what of the span `from_us` ≤ t < `to_us` lies in none of the parts, as spans, by time."""
    spans = []
    for part in sorted(parts, key=lambda part: part.from_us):
        if from_us < min(part.from_us, to_us):
            spans.append((from_us, min(part.from_us, to_us)))
        from_us = max(from_us, part.to_us)
    if from_us < to_us:
        spans.append((from_us, to_us))
    return spans
