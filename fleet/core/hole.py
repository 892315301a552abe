"""Holes in a lane: which sequence numbers will never come, and who has said so.

A seq that is missing between two rows is a hole. The device explains most of them itself with a `Gap`; what nobody
explained the server records on its own. What is explained always wins, whichever came first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fleet.core.latest import Entry


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a lane: its seq, the span of its event times, and of telemetry what it holds."""

    seq: int
    from_us: int
    to_us: int
    readings: int = 0
    newest: Sequence[tuple[str, Entry]] = ()  # the last reading of each of its series


@dataclass(frozen=True, slots=True)
class Hole:
    """Seqs `from_seq`…`to_seq`, both inclusive, that lie between two event times."""

    from_seq: int
    to_seq: int
    from_us: int
    to_us: int


def find_holes(mark: int, mark_us: int | None, rows: Sequence[Row]) -> list[Hole]:
    """Return the holes between the mark and the rows above it, in order.

    `mark_us` is the newest event time below the mark, None if there is none: the hole is then dated by what follows.
    """
    holes = []
    seq, before_us = mark, mark_us
    for row in rows:
        if row.seq > seq + 1:
            start_us = row.from_us if before_us is None else min(before_us, row.from_us)
            holes.append(Hole(seq + 1, row.seq - 1, start_us, row.from_us))
        seq, before_us = row.seq, row.to_us
    return holes


def runs_of(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Return the first and the last seq of each run of rows between which no seq is left out."""
    runs: list[tuple[int, int]] = []
    for row in rows:
        if runs and runs[-1][1] == row.seq - 1:
            runs[-1] = (runs[-1][0], row.seq)
        else:
            runs.append((row.seq, row.seq))
    return runs


def subtract(hole: Hole, explained: Iterable[tuple[int, int]]) -> list[Hole]:
    """Return what is left of a hole without the inclusive ranges of seqs that somebody explained."""
    left = [(hole.from_seq, hole.to_seq)]
    for start, end in explained:
        left = [
            part
            for low, high in left
            for part in ((low, min(high, start - 1)), (max(low, end + 1), high))
            if part[0] <= part[1]
        ]
        left = list(dict.fromkeys(left))
    return [Hole(low, high, hole.from_us, hole.to_us) for low, high in left]
