"""The verdict: what a board emitted against what the fleet stored, series by series.

Both lists are in order. The fleet's must be the board's with nothing added: each stored value is matched with the next
emitted one that equals it. What is left over on the board's side is missing, on the fleet's side doubled. A missing
value is excused only if the agent was killed with SIGKILL within `flush_s` after it went over the wire: it was read
and not yet committed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class Count:
    """What became of the readings of one or more series."""

    produced: int = 0  # written to the wire
    stored: int = 0
    lost: int = 0
    duplicated: int = 0
    uncommitted_at_kill: int = 0  # read, not yet committed when SIGKILL struck

    def __add__(self, other: "Count") -> "Count":
        return Count(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


def compare(
    emitted: Sequence[tuple[int, object]],
    stored: Sequence[tuple[int, object]],
    kills_us: Sequence[int] = (),
    excused_s: float = 0.0,
) -> Count:
    """Compare one series, rows `(t_us, value)`; `kills_us` are the moments at which its agent was killed."""
    missing: list[int] = []
    extra = 0
    at = 0
    for _, value in stored:
        skipped = at
        while skipped < len(emitted) and emitted[skipped][1] != value:
            skipped += 1
        if skipped == len(emitted):
            extra += 1
            continue
        missing += [t_us for t_us, _ in emitted[at:skipped]]
        at = skipped + 1
    missing += [t_us for t_us, _ in emitted[at:]]
    excused = sum(1 for t_us in missing if any(0 <= kill - t_us <= excused_s * US_PER_S for kill in kills_us))
    return Count(len(emitted), len(stored), len(missing) - excused, extra, excused)
