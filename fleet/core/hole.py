"""Holes in a lane: which sequence numbers will never come, and who has said so.

A seq that is missing between two rows is a hole. The device explains most of them itself with a `Gap`; what nobody
explained the server records on its own. What is explained always wins, whichever came first. A device that skips
every other seq does not fill the server with records: beyond `MAX_HOLES` one record spans the rest, and says how many.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fleet.core.latest import Entry

MAX_HOLES = 64  # records of holes that one batch makes


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


@dataclass(frozen=True, slots=True)
class Found:
    """One record of a hole, or of several that it spans together with the rows between them."""

    hole: Hole
    rows: int  # that are missing
    holes: int = 1


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


def uncovered(holes: Iterable[Hole], explained: Iterable[tuple[int, int]]) -> Iterator[Hole]:
    """Yield what is left of holes without the inclusive ranges of seqs that somebody explained.

    Holes come in order and do not overlap; ranges come in order of their first seq. One pass over both.
    """
    ranges = iter(explained)
    known = next(ranges, None)
    for hole in holes:
        low = hole.from_seq
        while known is not None and known[0] <= hole.to_seq:
            if known[0] > low:
                yield Hole(low, known[0] - 1, hole.from_us, hole.to_us)
            low = max(low, known[1] + 1)
            if known[1] >= hole.to_seq:
                break  # it may reach into the next hole
            known = next(ranges, None)
        if low <= hole.to_seq:
            yield Hole(low, hole.to_seq, hole.from_us, hole.to_us)


def bounded(holes: Iterable[Hole], most: int = MAX_HOLES) -> list[Found]:
    """Return holes, which come in order, as `most` at most: beyond these the last one spans all the rest."""
    found: list[Found] = []
    for hole in holes:
        rows = hole.to_seq - hole.from_seq + 1
        if len(found) < most:
            found.append(Found(hole, rows))
            continue
        last = found[-1]
        from_us, to_us = min(last.hole.from_us, hole.from_us), max(last.hole.to_us, hole.to_us)
        span = Hole(last.hole.from_seq, hole.to_seq, from_us, to_us)
        found[-1] = Found(span, last.rows + rows, last.holes + 1)
    return found
