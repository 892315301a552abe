"""A series for a chart: as many points as asked for, of what is coarse enough to be quick and fine enough to be right.

Where a point stands for a day or more, days are read; for 15 minutes or more, those; otherwise the readings. Where
readings or windows of 15 minutes are no longer kept, the next coarser ones are. At both ends of the span, where a
window lies only partly in it, what is finer is read, so that the answer is exact.

A point is the least and the greatest of its bucket: no spike vanishes. A bucket without a number is left out and gaps
come with the points: nothing is drawn where nothing was measured. What was dated by a clock that was not set, or not
lately, is told as a span too.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from agent.wire.messages import Value
from agent.wire.units import US_PER_S
from fleet.core import column
from fleet.core.chunk import UNSURE_CLOCKS
from fleet.core.column import Floats, Ints, Values
from fleet.core.rollup import DAY_S, QUARTER_S, start_of
from fleet.store import query, rollup, seal
from fleet.store.gap import KeptGap
from fleet.store.query import Block
from fleet.store.seal import Standing

SILENT = 10  # times the usual distance of points
FINER = {DAY_S: QUARTER_S, QUARTER_S: 0}
"""What is read at the ends of a span; 0 stands for readings."""

MOST_ROWS = 100_000  # readings or windows in memory before they are condensed

_UNSURE_MASK = sum(1 << number for number in UNSURE_CLOCKS)


@dataclass(frozen=True, slots=True)
class Points:
    """A series for a chart: single readings (`v`), or per bucket the least and greatest (`low`, `high`).

    A bucket begins at its `t_us` and lasts `bucket_us`; buckets without a number are left out. `bucket_us` is 0 for
    single readings. `step_s` says what the buckets were made of: readings (0), or windows of so many seconds. `unsure`
    are spans (from, to) in which readings were dated by a clock that was never set, or is drifting.
    """

    t_us: list[int]
    v: list[Value]
    low: list[float]
    high: list[float]
    bucket_us: int
    step_s: int
    gaps: list[KeptGap]
    unsure: list[tuple[int, int]]

    def silences(self) -> list[tuple[int, int]]:
        """Return from and to of where nothing was measured for long: over `SILENT` times the usual distance of points.

        A line that is drawn over it would show what nobody has seen. Gaps are another thing: those readings existed.
        """
        t_us = np.array(self.t_us, np.int64)
        apart = np.diff(t_us)
        if not len(apart):
            return []
        at = np.flatnonzero(apart > SILENT * max(float(np.median(apart)), self.bucket_us))
        return [(int(t_us[row]), int(t_us[row + 1])) for row in at.tolist()]


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """Part of an envelope in columns: what was least and greatest from `t_us` on, and a mask of clocks."""

    t_us: Ints
    low: Floats
    high: Floats
    clocks: Ints


def points(  # noqa: PLR0913, PLR0917 - which, from, to, how many: the order of `readings`
    conn: Connection, device_id: str, series: str, from_us: int, to_us: int, points: int
) -> Points:
    """Return at most `points` entries for a chart of the numbers of a series: all readings, or buckets."""
    gaps = query.gaps(conn, device_id, from_us, to_us)
    known = seal.standing(conn, device_id)
    if from_us >= known.raw_from_us:
        single = _single(conn, device_id, series, from_us, to_us, points)
        if single is not None:
            t_us, v, unsure = single
            return Points(t_us, v, [], [], 0, 0, gaps, unsure)
    step_s = _step(known, from_us, (to_us - from_us) // points)
    origin_us = start_of(from_us, step_s) if step_s else from_us
    bucket_us = max(1, -(-(to_us - origin_us) // points))
    if step_s:
        bucket_us = -(-bucket_us // (step_s * US_PER_S)) * step_s * US_PER_S
    envelope = _Envelope(origin_us, bucket_us)
    for piece in _pieces(conn, device_id, series, known, (from_us, to_us), step_s):
        envelope.add(piece)
    found = envelope.found()
    t_us = np.maximum(found.t_us, from_us).tolist()
    return Points(t_us, [], found.low.tolist(), found.high.tolist(), bucket_us, step_s, gaps, _unsure(found, bucket_us))


class _Envelope:
    """The least and greatest of each bucket, from pieces in any order."""

    def __init__(self, origin_us: int, bucket_us: int) -> None:
        self._origin_us = origin_us
        self._bucket_us = bucket_us
        self._pieces: list[_Piece] = []
        self._rows = 0

    def add(self, piece: _Piece) -> None:
        """Add a piece; now and then, of each bucket one row is kept: memory is bounded however long the span."""
        if len(piece.t_us):
            self._pieces.append(piece)
            self._rows += len(piece.t_us)
            if self._rows > MOST_ROWS:
                self._pieces = [self.found()]
                self._rows = 0

    def found(self) -> _Piece:
        """Return the buckets, by time."""
        if not self._pieces:
            return _Piece(*(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0, np.int64)))
        columns = ("t_us", "low", "high", "clocks")
        joined = _Piece(*(np.concatenate([getattr(one, name) for one in self._pieces]) for name in columns))
        order = np.argsort(joined.t_us, kind="stable")
        return self._condensed(_Piece(*(getattr(joined, name)[order] for name in columns)))

    def _condensed(self, piece: _Piece) -> _Piece:
        starts = (piece.t_us - self._origin_us) // self._bucket_us * self._bucket_us + self._origin_us
        at = np.flatnonzero(np.concatenate(([True], starts[1:] != starts[:-1])))
        return _Piece(
            starts[at],
            np.minimum.reduceat(piece.low, at),
            np.maximum.reduceat(piece.high, at),
            np.bitwise_or.reduceat(piece.clocks, at),
        )


def _step(known: Standing, from_us: int, wanted_us: int) -> int:
    """Return the longest windows that are short enough, or the shortest that are still kept; 0: readings."""
    if wanted_us >= DAY_S * US_PER_S or from_us < known.quarter_from_us:
        return DAY_S
    if wanted_us >= QUARTER_S * US_PER_S or from_us < known.raw_from_us:
        return QUARTER_S
    return 0


def _pieces(  # noqa: PLR0913, PLR0917 - which, from, to, of what
    conn: Connection, device_id: str, series: str, known: Standing, span: tuple[int, int], step_s: int
) -> Iterator[_Piece]:
    """Yield an envelope of the span: windows of `step_s` inside, what is finer at its ends, batches on top."""
    from_us, to_us = span
    yield from map(_of_block, query.unsealed(conn, device_id, series, from_us, to_us))
    yield from _sealed_pieces(conn, device_id, series, known, span, step_s)


def _sealed_pieces(  # noqa: PLR0913, PLR0917 - which, from, to, of what
    conn: Connection, device_id: str, series: str, known: Standing, span: tuple[int, int], step_s: int
) -> Iterator[_Piece]:
    from_us, to_us = span
    if not step_s:
        yield from map(_of_block, query.sealed(conn, device_id, series, from_us, to_us))
        return
    finer = FINER[step_s]
    kept_from_us = known.quarter_from_us if finer else known.raw_from_us
    step_us = step_s * US_PER_S
    first_us, last_us = start_of(from_us + step_us - 1, step_s), start_of(to_us, step_s)
    if first_us > from_us and from_us < kept_from_us:
        first_us -= step_us  # the whole window: what is finer is gone
    if last_us < to_us and last_us < kept_from_us:
        last_us += step_us
    if first_us >= last_us:
        yield from _sealed_pieces(conn, device_id, series, known, span, finer)
        return
    if from_us < first_us:
        yield from _sealed_pieces(conn, device_id, series, known, (from_us, first_us), finer)
    for some in rollup.envelopes(conn, device_id, series, step_s, first_us, last_us):
        if some.count.all() and some.start_us[0] >= first_us and some.start_us[-1] < last_us:
            yield _Piece(some.start_us, _floats(some.low), _floats(some.high), some.clocks)
            continue
        has = np.flatnonzero((some.count > 0) & (some.start_us >= first_us) & (some.start_us < last_us))
        low, high = (_floats(column.pick(figure, has)) for figure in (some.low, some.high))
        yield _Piece(some.start_us[has], low, high, some.clocks[has])
    if last_us < to_us:
        yield from _sealed_pieces(conn, device_id, series, known, (last_us, to_us), finer)


def _of_block(block: Block) -> _Piece:
    rows = _numeric(block.v)
    numbers = _floats(block.v if rows is None else column.pick(block.v, rows))
    pick: Ints | slice = slice(None) if rows is None else rows
    return _Piece(block.t_us[pick], numbers, numbers, np.left_shift(1, block.clock[pick]))


def _single(  # noqa: PLR0913, PLR0917 - which, from, to, how many
    conn: Connection, device_id: str, series: str, from_us: int, to_us: int, most: int
) -> tuple[list[int], list[Value], list[tuple[int, int]]] | None:
    """Return all readings of the span but texts, and where the clock was unsure; None if they are too many."""
    found: list[Block] = []
    count = 0
    for block in query.blocks(conn, device_id, series, from_us, to_us):
        count += len(block)
        if count > most:
            return None
        found.append(block)
    if not found:
        return [], [], []
    t_us = np.concatenate([block.t_us for block in found])
    order = np.argsort(t_us, kind="stable")
    values = column.pick(column.concatenate([block.v for block in found]), order)
    listed = values if isinstance(values, list) else values.tolist()
    times = t_us[order]
    unsure = np.isin(np.concatenate([block.clock for block in found])[order], UNSURE_CLOCKS)
    drawn = [(t, v) for t, v in zip(times.tolist(), listed, strict=True) if not isinstance(v, str)]
    return [t for t, _ in drawn], [v for _, v in drawn], _spans(times, unsure, 0)


def _unsure(found: _Piece, bucket_us: int) -> list[tuple[int, int]]:
    return _spans(found.t_us, (found.clocks & _UNSURE_MASK) != 0, bucket_us)


def _spans(t_us: Ints, marked: NDArray[np.bool_], length_us: int) -> list[tuple[int, int]]:
    """Return from and to of each run of marked rows, each of which lasts `length_us`."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], marked, [False])).astype(np.int8)))
    return [
        (int(t_us[first]), int(t_us[after - 1]) + length_us)
        for first, after in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    ]


def _numeric(values: Values) -> Ints | None:
    """Return the rows that are numbers, None if all are."""
    if not isinstance(values, list):
        return None
    return np.array([row for row, value in enumerate(values) if isinstance(value, int | float)], np.int64)


def _floats(values: Values) -> Floats:
    return np.array(values, np.float64)
