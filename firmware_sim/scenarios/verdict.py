"""The verdict: what a board emitted against what the fleet stored, frame by frame.

A frame is what was read together: the values of one line, or of one answer. Frames with their noise are as good as
numbered, so matching them in order tells exactly which one is missing. The fleet's list must be the board's with
nothing added: each stored frame is matched with the next emitted one that equals it. What is left over on the board's
side is missing, on the fleet's side doubled. A missing frame is excused only if the agent was killed with SIGKILL
within `excused_s` after it went over the wire (it was read and not yet committed), or if the ledger itself cannot know
whether a reader got it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class Frame:
    """Values that were read together, by series; `certain` is False where the board cannot know if it was heard."""

    t_us: int
    values: tuple[tuple[str, object], ...]
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Count:
    """What became of readings."""

    produced: int = 0  # written to a wire that a reader held open
    stored: int = 0
    lost: int = 0
    duplicated: int = 0
    uncommitted_at_kill: int = 0  # read, not yet committed when SIGKILL struck

    def __add__(self, other: "Count") -> "Count":
        return Count(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


def frames(readings: Iterable[tuple[str, int, object, bool]]) -> list[Frame]:
    """Group readings `(series, t_us, value, certain)`, each series in order, into frames in order of time.

    The k-th reading that a series has of one time stamp belongs to the k-th frame of that time stamp.
    """
    seen: Counter[tuple[str, int]] = Counter()
    found: dict[tuple[int, int], list[tuple[str, object, bool]]] = {}
    for series, t_us, value, certain in readings:
        found.setdefault((t_us, seen[series, t_us]), []).append((series, value, certain))
        seen[series, t_us] += 1
    return [
        Frame(t_us, tuple(sorted((series, value) for series, value, _ in rows)), all(row[2] for row in rows))
        for (t_us, _), rows in sorted(found.items())
    ]


def compare(
    emitted: Sequence[Frame], stored: Sequence[Frame], kills_us: Sequence[int] = (), excused_s: float = 0.0
) -> Count:
    """Compare what one board emitted with what the fleet stored of it; counts are of readings, not of frames."""
    missing: list[Frame] = []
    matched = extra = at = 0
    for frame in stored:
        found = at
        while found < len(emitted) and emitted[found].values != frame.values:
            found += 1
        if found == len(emitted):
            extra += len(frame.values)
            continue
        missing += emitted[at:found]
        matched += len(frame.values)
        at = found + 1
    missing += emitted[at:]
    lost = excused = 0
    for frame in missing:
        if any(0 <= kill - frame.t_us <= excused_s * US_PER_S for kill in kills_us):
            excused += len(frame.values)
        elif frame.certain:
            lost += len(frame.values)
    return Count(matched + lost + excused, matched + extra, lost, extra, excused)
