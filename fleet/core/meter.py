"""Meters: what a counter has counted in each period, and how well that is known.

A counter says how much was used up to now: kWh, litres, hours run. What was used between two readings is the step from
one to the next. A counter that goes back has rolled over or was reset, by the same rule as in the conditions of rules
(`agent.rules`). A step belongs to the period in which it was read: a period is opened by the last reading before it,
wherever that is, and closed by its own last. So the usage of a period is the sum of that of its parts, exactly
(numbers are decimal fractions here, not floats), and nothing is interpolated: what was used while nothing was
read is told in the period in which it became known, and the period says from when on it counts (`opening`).

Readings come as strides: runs in which the counter never went back, so that first and last say all. A reading is a
stride, and so is a window of a rollup in which nothing fell: a year is read from windows, and is as exact as its
readings.

What lies between two readings more than `max_gap_us` apart is a gap, and so is as long a time before the first reading
or after the last; coverage is the share of a period without gaps.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numpy as np

from agent.rules.condition.pace import rolls_over
from agent.wire.messages import Value
from fleet.core import column
from fleet.core.column import Ints, Values
from fleet.core.rollup import Windows

MAX_GAPS = 100  # gaps and falls told of a period, the earliest; their number is told in full


@dataclass(frozen=True, slots=True, eq=False)
class Strides:
    """Runs of readings, by time, in each of which the counter never went back.

    `clocks` is a mask of the clocks that dated them. `exact` is False where more may lie in a run than its first and
    last say.
    """

    first_us: Ints
    last_us: Ints
    first: Values
    last: Values
    count: Ints
    clocks: Ints
    exact: bool = True

    def __len__(self) -> int:
        return len(self.first_us)


@dataclass(frozen=True, slots=True)
class Mark:
    """A reading of the counter."""

    t_us: int
    v: float


@dataclass(frozen=True, slots=True)
class Fall:
    """The counter went back: it was reset, or has rolled over."""

    t_us: int  # of the reading after it
    before: float
    after: float
    rolled: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """What was counted in `from_us` ≤ t < `to_us`; None where the counter was not read in that time.

    It is counted from `opening` to `closing`. `coverage` is the share of the time, up to now, that lies in no gap; None
    for what is to come. Where not `exact`, the counter fell at a time whose readings are no longer kept, or a window
    that is longer than the period stands for its part: the usage is at least this.
    """

    from_us: int
    to_us: int
    usage: Fraction | None
    coverage: float | None
    opening: Mark | None
    closing: Mark | None
    readings: int
    falls: tuple[Fall, ...]
    fall_count: int
    gaps: tuple[tuple[int, int], ...]
    gap_count: int
    clocks: int
    exact: bool


@dataclass(slots=True)
class _Count:
    """What of a period is known so far."""

    opening: Mark | None = None
    closing: Mark | None = None
    total: Fraction = Fraction(0)
    readings: int = 0
    falls: list[Fall] = field(default_factory=list)
    fall_count: int = 0
    clocks: int = 0
    exact: bool = True


class Meter:
    """Counts the periods between `edges` (from, …, to: one more than periods), fed with strides in order of time."""

    def __init__(self, edges: Sequence[int], *, max_gap_us: int, rollover: float = 0) -> None:
        self._edges = edges
        self._max_gap_us = max_gap_us
        self._rollover = rollover
        self._counts = [_Count() for _ in edges[1:]]
        self._gaps: list[tuple[int, int]] = []
        self._before: Mark | None = None

    def add(self, strides: Strides) -> None:
        """Count some strides; those before the first period are what it is opened by."""
        for row in self._condensed(strides):
            self._take(*row, exact=strides.exact)

    def found(self, now_us: int) -> list[Usage]:
        """Return all periods, and after them the whole span."""
        gaps, until_us = list(self._gaps), min(self._edges[-1], now_us)
        if self._before is None:
            gaps = [(self._edges[0], until_us)]
        elif until_us - self._before.t_us > self._max_gap_us:
            gaps.append((self._before.t_us, until_us))
        spans = [*pairwise(self._edges), (self._edges[0], self._edges[-1])]
        counts = [*self._counts, _sum(self._counts)]
        return [_usage(one, span, _within(gaps, span), now_us) for one, span in zip(counts, spans, strict=True)]

    def _condensed(self, some: Strides) -> list[tuple[Any, ...]]:
        """Join strides that belong together: of one period, without a fall or a gap between."""
        if not len(some):
            return []
        first, last = (np.array(one, object) if isinstance(one, list) else one for one in (some.first, some.last))
        period = np.searchsorted(np.asarray(self._edges), some.first_us, side="right")
        new = (first[1:] < last[:-1]) | (some.first_us[1:] - some.last_us[:-1] > self._max_gap_us)
        at = np.flatnonzero(np.concatenate(([True], new.astype(bool) | (period[1:] != period[:-1]))))
        ends = np.concatenate((at[1:], [len(some)])) - 1
        columns = (
            some.first_us[at],
            first[at],
            some.last_us[ends],
            last[ends],
            np.add.reduceat(some.count, at),
            np.bitwise_or.reduceat(some.clocks, at),
        )
        return list(zip(*(one.tolist() for one in columns), strict=True))

    def _take(  # noqa: PLR0913, PLR0917 - a stride's columns
        self, first_us: int, first: float, last_us: int, last: float, count: int, clocks: int, *, exact: bool
    ) -> None:
        before, self._before = self._before, Mark(last_us, last)
        number = bisect_right(self._edges, first_us) - 1
        ended = bisect_right(self._edges, last_us) - 1
        for crossed in self._counts[max(number, 0) : ended + 1] if ended > number else ():
            crossed.exact = False
        if number < 0:
            return
        one = self._counts[number]
        if before is None:
            if first_us - self._edges[0] > self._max_gap_us:
                self._gaps.append((self._edges[0], first_us))
            one.opening = Mark(first_us, first)
        else:
            one.opening = one.opening or before
            one.total += self._step(one, before, Mark(first_us, first))
            if first_us - before.t_us > self._max_gap_us:
                self._gaps.append((before.t_us, first_us))
        one.total += _exactly(last) - _exactly(first)
        one.closing = self._before
        one.readings += count
        one.clocks |= clocks
        one.exact &= exact

    def _step(self, one: _Count, before: Mark, now: Mark) -> Fraction:
        """Return what was counted from one reading to the next; a fall is noted."""
        step = _exactly(now.v) - _exactly(before.v)
        if step >= 0:
            return step
        rolled = rolls_over(before.v, now.v, self._rollover)
        one.fall_count += 1
        if len(one.falls) < MAX_GAPS:
            one.falls.append(Fall(now.t_us, before.v, now.v, rolled))
        return step + _exactly(self._rollover) if rolled else max(_exactly(now.v), Fraction(0))


def of_readings(t_us: Ints, v: Values, clock: Ints) -> Strides:
    """Return readings as strides, one each; texts and readings without a value are left out."""
    if isinstance(v, list):
        rows = np.array([row for row, value in enumerate(v) if isinstance(value, int | float)], np.int64)
        t_us, v, clock = t_us[rows], column.pick(v, rows), clock[rows]
    return Strides(t_us, t_us, v, v, np.ones(len(t_us), np.int64), np.left_shift(1, clock))


def of_windows(windows: Windows, rows: Ints) -> Strides:
    """Return windows as strides: those at `rows`, which hold numbers and in which nothing fell."""
    first, last = column.pick(windows.first, rows), column.pick(windows.last, rows)
    times = (windows.first_us[rows], windows.last_us[rows])
    return Strides(*times, first, last, windows.count[rows], windows.clocks[rows])


def of_fallen(windows: Windows, row: int) -> Strides:
    """Return a window in which the counter fell: at least from its first to its greatest, and then to its last."""
    at = np.array([row, row], np.int64)
    first, high, last = (_listed(column.pick(one, at))[0] for one in (windows.first, windows.high, windows.last))
    count = int(windows.count[row])
    return Strides(
        np.array([windows.first_us[row], windows.last_us[row]]),
        windows.last_us[at],
        column.values_of([first, last]),
        column.values_of([high, last]),
        np.array([count - 1, 1]),
        windows.clocks[at],
        exact=False,
    )


def _listed(values: Values) -> list[Value]:
    return values if isinstance(values, list) else values.tolist()


def _exactly(number: float) -> Fraction:
    """Return the decimal fraction as which a number is written: 0.1 is a tenth."""
    return Fraction(number) if isinstance(number, int) else Fraction(repr(number))


def _usage(one: _Count, span: tuple[int, int], gaps: list[tuple[int, int]], now_us: int) -> Usage:
    from_us, to_us = span
    length_us = min(to_us, now_us) - from_us
    missing_us = sum(end - start for start, end in gaps)
    return Usage(
        from_us,
        to_us,
        one.total if one.closing else None,
        1 - missing_us / length_us if length_us > 0 else None,
        one.opening,
        one.closing,
        one.readings,
        tuple(one.falls[:MAX_GAPS]),
        one.fall_count,
        tuple(gaps[:MAX_GAPS]),
        len(gaps),
        one.clocks,
        one.exact,
    )


def _sum(counts: Sequence[_Count]) -> _Count:
    read = [one for one in counts if one.closing]
    if not read:
        return _Count()
    clocks = 0
    for one in read:
        clocks |= one.clocks
    return _Count(
        read[0].opening,
        read[-1].closing,
        sum((one.total for one in read), Fraction(0)),
        sum(one.readings for one in read),
        [fall for one in read for fall in one.falls],
        sum(one.fall_count for one in read),
        clocks,
        all(one.exact for one in read),
    )


def _within(gaps: Sequence[tuple[int, int]], span: tuple[int, int]) -> list[tuple[int, int]]:
    """Return what of the gaps, which are in order and do not overlap, lies in a span."""
    found = []
    for start, end in gaps[bisect_right(gaps, span[0], key=itemgetter(1)) :]:
        if start >= span[1]:
            break
        found.append((max(start, span[0]), min(end, span[1])))
    return [(start, end) for start, end in found if start < end]
