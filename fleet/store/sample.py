"""Samples of a series as a query of PromQL wants them, read from the coarsest thing that is still exact.

Where all steps of a query stand on whole quarters of an hour or days, windows say as much as readings: the last reading
of a window is the newest before its end, and its figures are those of its readings. Elsewhere readings are read, and,
for the newest number, wherever a reading without one may have ended it. Where readings are no longer kept, windows say
what they can: the first and the last reading of each, and the figures of those that lie wholly in a range. Nothing is
interpolated.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

from agent.wire.units import US_PER_S
from fleet.core.column import Floats, Ints, Values
from fleet.core.promql import Over
from fleet.core.rollup import DAY_S, QUARTER_S, Windows, start_of
from fleet.errors import Invalid
from fleet.store import query, rollup, seal
from fleet.store.query import Block
from fleet.store.seal import Standing

MAX_ROWS = 5_000_000  # readings and windows that one query reads


class Budget:
    """How much one query may still read."""

    def __init__(self) -> None:
        self._left = MAX_ROWS

    def take(self, rows: int) -> None:
        """Note what was read; raises Invalid when it is too much."""
        self._left -= rows
        if self._left < 0:
            raise Invalid(
                f"the query reads more than {MAX_ROWS} readings",
                hint="Ask for fewer series or a shorter time, or for steps and ranges of whole quarters of an hour.",
            )


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Readings, or windows, by time: `start_us` ≤ t < `end_us`. What is not a number is left out."""

    start_us: Ints
    end_us: Ints
    low: Floats
    high: Floats
    sum: Floats
    count: Floats


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads one series of a device at the steps `times`, within `from_us` ≤ t < `to_us`."""

    conn: Connection
    device_id: str
    series: str
    from_us: int
    to_us: int
    times: Ints
    budget: Budget

    def newest(self, lookback_us: int) -> Floats:
        """Return the newest number at each step that is less than the look-back old; a reading without one ends it."""
        from_us, to_us = int(self.times[0]) - lookback_us + 1, int(self.times[-1]) + 1
        t_us, v = self._samples(from_us, to_us, self._step_s(0), marks=True)
        if not len(t_us):
            return np.full(len(self.times), np.nan)
        at = t_us.searchsorted(self.times, "right") - 1
        fresh = (at >= 0) & (self.times - t_us[at] < lookback_us) & (self.times < self.to_us)
        return np.where(fresh, v[at], np.nan)

    def over(self, leaf: Over, lookback_us: int) -> Floats:
        """Return the function of the readings with step - range ≤ t < step, at each step.

        What a counter rose is counted from the last reading before the range, if that is less than the look-back older
        than it, so that the rises of ranges that follow each other add up to that of all.
        """
        from_us, to_us = int(self.times[0]) - leaf.range_us, int(self.times[-1])
        step_s = self._step_s(leaf.range_us)
        if leaf.function in ("rate", "increase", "last_over_time"):
            t_us, v = self._samples(from_us - lookback_us + 1, to_us, step_s, marks=False)
            return _stepwise(leaf, self.times, t_us, v, lookback_us)
        kinds = [self._sealed_rows(from_us, to_us, step_s), self._loose_rows(from_us, to_us)]
        return _figure(leaf, [_ranged(rows, self.times, leaf.range_us, self.budget) for rows in kinds])

    def _step_s(self, range_us: int) -> int:
        """Return the longest windows on whose borders all steps, and the ends of their ranges, stand; 0: readings."""
        for step_s in (DAY_S, QUARTER_S):
            step_us = step_s * US_PER_S
            apart_us = int(self.times[1] - self.times[0]) if len(self.times) > 1 else 0
            aligned = all(us % step_us == 0 for us in (int(self.times[0]), apart_us, range_us))
            if aligned and (range_us or apart_us):
                return step_s
        return 0

    def _clipped(self, from_us: int, to_us: int) -> tuple[int, int]:
        return max(0, from_us, self.from_us), min(to_us, self.to_us)

    def _parts(self, from_us: int, to_us: int, step_s: int) -> Iterator[tuple[int, int, int]]:
        known = seal.standing(self.conn, self.device_id)
        return _parts(known, *self._clipped(from_us, to_us), step_s)

    def _windows(self, step_s: int, from_us: int, to_us: int) -> Iterator[Windows]:
        for some in rollup.windows(self.conn, self.device_id, self.series, step_s, from_us, to_us):
            self.budget.take(len(some))
            has = np.flatnonzero(some.count)
            yield some if len(has) == len(some) else some.pick(has)

    def _blocks(self, blocks: Iterator[Block]) -> Iterator[Block]:
        for block in blocks:
            self.budget.take(len(block))
            yield block

    def _samples(self, from_us: int, to_us: int, step_s: int, *, marks: bool) -> tuple[Ints, Floats]:
        """Return times and numbers, by time; with `marks`, NaN where a reading has none."""
        found: list[tuple[Ints, Floats]] = []
        named = (self.conn, self.device_id, self.series)
        known = seal.standing(self.conn, self.device_id)
        for length_s, start_us, end_us in _parts(known, *self._clipped(from_us, to_us), step_s):
            if not length_s:
                found += map(_of_block, self._blocks(query.sealed(*named, start_us, end_us)))
            elif marks:
                found += self._marked(length_s, start_us, end_us, known.raw_from_us)
            else:
                found += (_of_windows(some) for some in self._windows(length_s, start_us, end_us))
        found += map(_of_block, self._blocks(query.unsealed(*named, *self._clipped(from_us, to_us))))
        if not found:
            return np.zeros(0, np.int64), np.zeros(0)
        t_us, v = (np.concatenate([one[side] for one in found]) for side in (0, 1))
        begin_us, stop_us = self._clipped(from_us, to_us)
        keep = (t_us >= begin_us) & (t_us < stop_us) & (marks | ~np.isnan(v))
        order = np.argsort(t_us[keep], kind="stable")
        return t_us[keep][order], v[keep][order]

    def _marked(self, step_s: int, from_us: int, to_us: int, raw_from_us: int) -> Iterator[tuple[Ints, Floats]]:
        """Yield the samples of windows; where a reading is no number, those of the readings, if they are kept.

        A window does not tell whether such a reading came after its last number, and so ended it.
        """
        for some in rollup.windows(self.conn, self.device_id, self.series, step_s, from_us, to_us):
            self.budget.take(len(some))
            mixed = (some.empty + some.texts > 0) & (some.start_us >= raw_from_us)
            yield _of_windows(some.pick(np.flatnonzero((some.count > 0) & ~mixed)))
            for start_us, end_us in _spans(some.start_us[mixed], step_s * US_PER_S):
                blocks = query.sealed(self.conn, self.device_id, self.series, start_us, end_us)
                yield from map(_of_block, self._blocks(blocks))

    def _sealed_rows(self, from_us: int, to_us: int, step_s: int) -> Rows:
        found = []
        for length_s, start_us, end_us in self._parts(from_us, to_us, step_s):
            if length_s:
                found += [_rows_of(some, length_s) for some in self._windows(length_s, start_us, end_us)]
            else:
                blocks = query.sealed(self.conn, self.device_id, self.series, start_us, end_us)
                found += [_rows_of_block(block) for block in self._blocks(blocks)]
        return _joined(found)

    def _loose_rows(self, from_us: int, to_us: int) -> Rows:
        blocks = query.unsealed(self.conn, self.device_id, self.series, *self._clipped(from_us, to_us))
        return _joined([_rows_of_block(block) for block in self._blocks(blocks)])


def _parts(known: Standing, from_us: int, to_us: int, step_s: int) -> Iterator[tuple[int, int, int]]:
    """Yield (length of windows, from, to) by time: windows of `step_s` where whole ones fit, finer ones at the ends."""
    borders = ((known.quarter_from_us, DAY_S), (known.raw_from_us, QUARTER_S), (to_us, 0))
    for until_us, finest_s in borders:
        end_us = min(to_us, until_us)
        if from_us < end_us:
            yield from _fitted(from_us, end_us, max(step_s, finest_s), finest_s)
            from_us = end_us


def _fitted(from_us: int, to_us: int, step_s: int, finest_s: int) -> Iterator[tuple[int, int, int]]:
    step_us = step_s * US_PER_S
    if from_us >= to_us:
        return
    if not step_s:
        yield 0, from_us, to_us
        return
    if step_s == finest_s:  # nothing finer is kept: windows that lie partly in the span say what they can
        yield step_s, start_of(from_us, step_s), start_of(to_us + step_us - 1, step_s)
        return
    finer_s = QUARTER_S if step_s == DAY_S else 0
    first_us, last_us = start_of(from_us + step_us - 1, step_s), start_of(to_us, step_s)
    if first_us >= last_us:
        yield from _fitted(from_us, to_us, finer_s, finest_s)
        return
    yield from _fitted(from_us, first_us, finer_s, finest_s)
    yield step_s, first_us, last_us
    yield from _fitted(last_us, to_us, finer_s, finest_s)


def _spans(starts_us: Ints, step_us: int) -> Iterator[tuple[int, int]]:
    """Yield from where to where windows lie that follow each other."""
    for some in np.split(starts_us, np.flatnonzero(np.diff(starts_us) > step_us) + 1):
        if len(some):
            yield int(some[0]), int(some[-1]) + step_us


def _of_windows(some: Windows) -> tuple[Ints, Floats]:
    """Return the first and last reading of each window; where the value fell, the greatest stands before the last."""
    times = np.stack([some.first_us, some.last_us, some.last_us], axis=1)
    middle = np.where(some.falls > 0, _floats(some.high), _floats(some.last))
    values = np.stack([_floats(some.first), middle, _floats(some.last)], axis=1)
    return times.ravel(), values.ravel()


def _of_block(block: Block) -> tuple[Ints, Floats]:
    return block.t_us, _floats(block.v)


def _floats(values: Values) -> Floats:
    """Return numbers as floats, NaN for readings without one and for texts."""
    if not isinstance(values, list):
        return values.astype(np.float64)
    return np.array([float(value) if isinstance(value, int | float) else np.nan for value in values])


def _rows_of(some: Windows, step_s: int) -> Rows:
    figures = (_floats(some.low), _floats(some.high), _floats(some.sum))
    return Rows(some.start_us, some.start_us + step_s * US_PER_S, *figures, some.count.astype(np.float64))


def _rows_of_block(block: Block) -> Rows:
    values = _floats(block.v)
    rows = np.flatnonzero(~np.isnan(values))
    t_us, v = block.t_us[rows], values[rows]
    return Rows(t_us, t_us + 1, v, v, v, np.ones(len(v)))


def _joined(some: list[Rows]) -> Rows:
    names = ("start_us", "end_us", "low", "high", "sum", "count")
    if not some:
        return Rows(*(np.zeros(0, np.int64),) * 2, *(np.zeros(0),) * 4)
    columns = [np.concatenate([getattr(one, name) for one in some]) for name in names]
    order = np.argsort(columns[0], kind="stable")
    return Rows(*(one[order] for one in columns))


def _ranged(rows: Rows, times: Ints, range_us: int, budget: Budget) -> Rows:
    """Return, for each step, the figures of the rows that lie wholly in its range; count 0 where there is none."""
    first = rows.start_us.searchsorted(times - range_us, "left")
    after = np.maximum(first, rows.end_us.searchsorted(times, "right"))
    budget.take(int((after - first).sum()))
    has = np.flatnonzero(after > first)
    found = [np.full(len(times), empty) for empty in (np.inf, -np.inf, 0.0, 0.0)]
    if len(has):
        at = np.stack([first[has], after[has]], axis=1).ravel()
        ways = (np.minimum, np.maximum, np.add, np.add)
        for into, way, figure in zip(found, ways, (rows.low, rows.high, rows.sum, rows.count), strict=True):
            padded = np.concatenate([figure, [0.0]])  # so that a range may end where the rows do
            into[has] = way.reduceat(padded, at)[::2]
    return Rows(times, times, *found)


def _figure(leaf: Over, some: list[Rows]) -> Floats:
    count = sum(one.count for one in some)
    total = sum(one.sum for one in some)
    with np.errstate(all="ignore"):
        match leaf.function:
            case "min_over_time":
                found = np.minimum.reduce([one.low for one in some])
            case "max_over_time":
                found = np.maximum.reduce([one.high for one in some])
            case "sum_over_time":
                found = np.asarray(total)
            case "count_over_time":
                found = np.asarray(count)
            case _:
                found = np.asarray(total) / count
    return np.where(np.asarray(count) > 0, found, np.nan)


def _stepwise(leaf: Over, times: Ints, t_us: Ints, v: Floats, lookback_us: int) -> Floats:
    """Return what the counter rose up to the last reading of each range, in all or a second; or that reading.

    A counter that goes back was reset and has counted from 0.
    """
    if not len(t_us):
        return np.full(len(times), np.nan)
    begins = times - leaf.range_us
    first = t_us.searchsorted(begins, "left")
    last = t_us.searchsorted(times, "left") - 1
    there = (last >= first) & (last >= 0)
    first, last = np.minimum(first, len(t_us) - 1), np.maximum(last, 0)
    if leaf.function == "last_over_time":
        return np.where(there, v[last], np.nan)
    before = np.maximum(first - 1, 0)
    first = np.where((t_us[before] < begins) & (begins - t_us[before] < lookback_us), before, first)
    steps = np.diff(v)
    counted = np.concatenate([[0.0], np.cumsum(np.where(steps < 0, np.maximum(v[1:], 0.0), steps))])
    rose, length_us = counted[last] - counted[first], (t_us[last] - t_us[first]).astype(np.float64)
    there &= length_us > 0
    with np.errstate(all="ignore"):
        return np.where(there, rose if leaf.function == "increase" else rose / (length_us / US_PER_S), np.nan)
