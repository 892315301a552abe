"""Sealing: how readings as they came become chunks. Pure: rows in, rows out; what it is done to is `fleet.store.seal`.

Readings are sorted by event time; those of one microsecond stay in order of arrival, sealed ones first. A
chunk never crosses a UTC day, and chunks of one sensor never overlap in time, so a day of a sensor reads as a list.
(The one exception: more than 4,096 readings of one series in one microsecond, which fill chunk after chunk.)
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import numpy as np

from agent.wire.messages import Value
from fleet.core import column
from fleet.core.chunk import Rows
from fleet.core.column import MAX_ROWS, Ints
from fleet.core.rollup import DAY_US


class Gathering:
    """Rows of one series while they are gathered from segments."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._t_us: list[int] = []
        self._v: list[Value] = []
        self._clock: list[tuple[int, int]] = []
        self._unit: list[tuple[int, int]] = []
        self._units: dict[str, int] = {}

    def add(self, t0_us: int, dt: Sequence[int], v: Sequence[Value], *, clock: int, unit: str) -> None:
        """Add one segment's readings, as the wire has them; `clock` is a number of `chunk.CLOCKS`."""
        if len(dt) == 1:
            self._t_us.append(t0_us)
        else:
            self._t_us.extend(accumulate(dt[1:], initial=t0_us))
        self._v.extend(v)
        self._clock.append((clock, len(v)))
        self._unit.append((self._units.setdefault(unit, len(self._units)), len(v)))

    def rows(self) -> Rows:
        """Return all that was added, by time."""
        t_us = np.array(self._t_us, np.int64)
        found = Rows(
            self.name,
            t_us,
            column.values_of(self._v),
            _expanded(self._clock),
            _expanded(self._unit),
            tuple(self._units),
        )
        return _sorted(found)


def merged(parts: Sequence[Rows]) -> Rows:
    """Return parts of one series as one, by time; of readings of one microsecond those of earlier parts come first."""
    if len(parts) == 1:
        return parts[0]
    units = {unit: number for number, unit in enumerate(dict.fromkeys(unit for part in parts for unit in part.units))}
    numbers = [np.array([units[unit] for unit in part.units], np.int64)[part.unit] for part in parts]
    return _sorted(
        Rows(
            parts[0].name,
            np.concatenate([part.t_us for part in parts]),
            column.concatenate([part.v for part in parts]),
            np.concatenate([part.clock for part in parts]),
            np.concatenate(numbers),
            tuple(units),
        )
    )


def by_day(rows: Rows) -> Iterator[tuple[int, Rows]]:
    """Yield the rows of each UTC day, with the time at which it begins, µs."""
    days = rows.t_us // DAY_US
    cuts = [0, *(np.flatnonzero(days[1:] != days[:-1]) + 1).tolist(), len(rows)]
    for start, end in pairwise(cuts):
        yield int(days[start]) * DAY_US, rows.span(start, end)


def cut(series: Sequence[Rows], *, evenly: bool) -> Iterator[list[Rows]]:
    """Yield the rows of a sensor in chunks, by time.

    Full ones as far as it goes where more is to follow, the last one with what is left; or all about equally full
    (`evenly`) where none is: what is inserted between full chunks then leaves no crumbs.
    """
    left = [rows for rows in series if len(rows)]
    longest = max((len(rows) for rows in left), default=0)
    most = -(-longest // -(-longest // MAX_ROWS)) if evenly and longest else MAX_ROWS
    while left:
        until_us = min((int(rows.t_us[most]) for rows in left if len(rows) > most), default=None)
        if until_us is None:
            yield left
            return
        counts = [int(np.searchsorted(rows.t_us, until_us)) for rows in left]
        if not any(counts):  # more readings of one microsecond than a chunk holds
            counts = [min(MAX_ROWS, int(np.searchsorted(rows.t_us, until_us, side="right"))) for rows in left]
        yield [rows.span(0, count) for rows, count in zip(left, counts, strict=True) if count]
        left = [rows.span(count, len(rows)) for rows, count in zip(left, counts, strict=True) if count < len(rows)]


def _sorted(rows: Rows) -> Rows:
    if len(rows) < 2 or (rows.t_us[1:] >= rows.t_us[:-1]).all():  # noqa: PLR2004 - one row is in order
        return rows
    order = np.argsort(rows.t_us, kind="stable")
    return Rows(
        rows.name, rows.t_us[order], column.pick(rows.v, order), rows.clock[order], rows.unit[order], rows.units
    )


def _expanded(runs: list[tuple[int, int]]) -> Ints:
    return np.repeat(np.array([code for code, _ in runs], np.int64), [length for _, length in runs])
