"""Usage read from what is kept: windows wherever they are as good as readings, readings elsewhere.

A window of 15 minutes in which the counter did not fall says as much as its readings. A day does too if no period
begins or ends within it and each of its windows holds numbers: then no two of its readings are half an hour apart, and
where that is no gap yet, there is none in it. Readings are read for the rest: where a period begins or ends within a
window, where the counter fell, and where readings are not sealed yet and may lie in a window that is. So a year costs
what its days cost, and is exact. Where readings are no longer kept, windows are taken as they are; where those of 15
minutes are not either, days; `exact` then says whether anything is lost by it.
"""

import heapq
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter

import numpy as np
from sqlalchemy import Connection, select

from agent.wire.units import US_PER_S
from fleet.core import column, meter
from fleet.core import rollup as rollup_core
from fleet.core.chunk import Rows
from fleet.core.meter import Meter, Strides, Usage
from fleet.core.rollup import DAY_S, DAY_US, QUARTER_S, Windows, start_of
from fleet.store import query, rollup, seal
from fleet.store.query import Block
from fleet.store.schema import rollup as table
from fleet.store.seal import Standing

QUARTER_US = QUARTER_S * US_PER_S


def usage(  # noqa: PLR0913 - which counter, and how it counts
    conn: Connection,
    device_id: str,
    series: str,
    edges: Sequence[int],
    *,
    max_gap_us: int,
    rollover: float,
    now_us: int,
    since_us: int = 0,
) -> list[Usage]:
    """Return what was used in each period between `edges`, and after them in the whole span; see `fleet.core.meter`.

    No reading from before `since_us` opens a period.
    """
    kept = _Kept(conn, device_id, series, edges, since_us, whole_days=max_gap_us >= 2 * QUARTER_US)
    counter = Meter(edges, max_gap_us=max_gap_us, rollover=rollover)
    for strides in kept.strides():
        counter.add(strides)
    return counter.found(now_us)


class _Kept:
    """What is kept of one counter, as strides by time: the last before the first edge, then all up to the last edge."""

    def __init__(  # noqa: PLR0913 - which counter, which time, and how far days say enough
        self,
        conn: Connection,
        device_id: str,
        series: str,
        edges: Sequence[int],
        since_us: int,
        *,
        whole_days: bool,
    ) -> None:
        self._conn = conn
        self._device_id = device_id
        self._series = series
        self._from_us, self._to_us = edges[0], edges[-1]
        self._since_us = since_us
        self._whole_days = whole_days
        self._cut = {start_of(edge, QUARTER_S) for edge in edges if edge % QUARTER_US}
        self._cut_days = {start_of(edge, DAY_S) for edge in edges if edge % DAY_US}
        self._known: Standing = seal.standing(conn, device_id)
        self._loose = _joined(list(query.unsealed(conn, device_id, series, 0, self._to_us)))

    def strides(self) -> Iterator[Strides]:
        """Yield strides by time."""
        yield from self._before()
        for day_us, windows in self._days():
            yield from self._day(day_us, windows)

    def _before(self) -> Iterator[Strides]:
        """Yield what ends with the last reading before the first edge."""
        found = [*self._last_sealed(), meter.of_readings(*_span(self._loose, 0, self._from_us))]
        found = [one for one in found if len(one) and int(one.last_us[-1]) >= self._since_us]
        if found:
            yield max(reversed(found), key=lambda one: int(one.last_us[-1]))  # of one microsecond what came last

    def _last_sealed(self) -> Iterator[Strides]:
        for step_s, until_us in ((QUARTER_S, self._from_us), (DAY_S, min(self._from_us, self._known.quarter_from_us))):
            for windows in self._backwards(step_s, until_us):
                for row in np.flatnonzero(windows.count)[::-1].tolist():
                    found = self._ending(windows, row, step_s)
                    if len(found):
                        yield found
                        return

    def _ending(self, windows: Windows, row: int, step_s: int) -> Strides:
        """Return what of one window lies before the first edge; all of it where its readings are no longer kept."""
        start_us = int(windows.start_us[row])
        if int(windows.last_us[row]) >= self._from_us and step_s == QUARTER_S and start_us >= self._known.raw_from_us:
            return meter.of_readings(*_columns(self._sealed(start_us, self._from_us)))
        return meter.of_windows(windows, np.array([row], np.int64))

    def _backwards(self, step_s: int, until_us: int) -> Iterator[Windows]:
        """Yield windows that begin before a time, up to 96 at a time, the newest first."""
        before_us = until_us
        mine = (table.c.device_id == self._device_id) & (table.c.series == self._series) & (table.c.step_s == step_s)
        newest = select(table.c.from_us, table.c.body).where(mine).order_by(table.c.from_us.desc()).limit(1)
        while row := self._conn.execute(newest.where(table.c.from_us < before_us)).one_or_none():
            yield rollup_core.decode(row.body, step_s).between(0, until_us)
            before_us = row.from_us

    def _days(self) -> Iterator[tuple[int, Windows | None]]:
        """Yield each day of which anything is kept, with its windows: of 15 minutes, or the day itself.

        The day itself where it says as much, and where they are gone.
        """
        quarter_from_us = start_of(self._known.quarter_from_us, DAY_S)
        begin_us = start_of(self._from_us, QUARTER_S)
        named = (self._conn, self._device_id, self._series)
        old = rollup.windows(*named, DAY_S, self._from_us, min(self._to_us, quarter_from_us))
        days = (some.pick(np.array([row], np.int64)) for some in old for row in range(len(some)))
        loose = (np.unique(_span(self._loose, self._from_us, self._to_us)[0] // DAY_US) * DAY_US).tolist()
        recent = self._recent_days(max(begin_us, quarter_from_us), self._cut_days.union(loose))
        windows = ((start_of(int(one.start_us[0]), DAY_S), one) for some in (days, recent) for one in some)
        both = heapq.merge(windows, ((day_us, None) for day_us in loose), key=itemgetter(0))
        for day_us, found in groupby(both, key=itemgetter(0)):
            yield day_us, next((one for _, one in found if one is not None), None)

    def _recent_days(self, from_us: int, divided: set[int]) -> Iterator[Windows]:
        """Yield what is kept as windows of 15 minutes: each day as those, or days on end where they say as much.

        They do not for the days `divided`.
        """
        named = (self._conn, self._device_id, self._series)
        whole: dict[int, tuple[Windows, int]] = {}
        if self._whole_days:
            for some in rollup.windows(*named, DAY_S, from_us, self._to_us):
                rows = np.flatnonzero((some.count > 0) & (some.falls == 0)).tolist()
                whole |= {int(some.start_us[row]): (some, row) for row in rows}
        run: list[tuple[Windows, int]] = []
        for day_us, body in rollup.parts(*named, QUARTER_S, from_us, self._to_us):
            day = whole.get(day_us) if day_us not in divided else None
            if day is not None and not rollup_core.filled(body, QUARTER_S):
                day = None
            if run and (day is None or day[0] is not run[-1][0] or _start(run[-1]) + DAY_US != day_us):
                yield _picked(run)
                run = []
            if day is not None:
                run.append(day)
                continue
            found = rollup_core.decode(body, QUARTER_S).between(from_us, self._to_us)
            if len(found):
                yield found
        if run:
            yield _picked(run)

    def _day(self, day_us: int, windows: Windows | None) -> Iterator[Strides]:
        from_us, to_us = max(day_us, self._from_us), min(day_us + DAY_US, self._to_us)
        if day_us < self._known.raw_from_us:
            yield from self._old_day(day_us, from_us, to_us, windows)
            return
        raw = set((_span(self._loose, from_us, to_us)[0] // QUARTER_US * QUARTER_US).tolist())
        raw |= {start_us for start_us in self._cut if start_of(start_us, DAY_S) == day_us}
        if windows is not None:
            raw |= set(windows.start_us[windows.falls > 0].tolist())
        if not raw:
            yield from _each_window(windows)
            return
        # All readings from the first to the last window that needs them: the chunks of a day are read once.
        first_us, last_us = max(min(raw), from_us), min(max(raw) + QUARTER_US, to_us)
        yield from _each_window(windows and windows.between(from_us, min(raw)))
        yield meter.of_readings(*self._readings(first_us, last_us))
        yield from _each_window(windows and windows.between(max(raw) + QUARTER_US, to_us))

    def _old_day(self, day_us: int, from_us: int, to_us: int, windows: Windows | None) -> Iterator[Strides]:
        """Yield what is kept of a day whose readings are not; those that came late are added as sealing will."""
        t_us, v, clock = _span(self._loose, from_us, to_us)
        if len(t_us):
            step_s = DAY_S if day_us < self._known.quarter_from_us else QUARTER_S
            zeros = np.zeros(len(t_us), np.int64)
            late = rollup_core.of_rows(Rows(self._series, t_us, v, clock, zeros, ("",)), step_s)
            windows = rollup_core.added(windows, late, step_s)
        yield from _each_window(windows)

    def _readings(self, from_us: int, to_us: int) -> tuple[column.Ints, column.Values, column.Ints]:
        """Return all readings of a span, sealed or not."""
        loose = Block(*_span(self._loose, from_us, to_us))
        return _columns(_joined([*self._sealed_blocks(from_us, to_us), loose]))

    def _sealed(self, from_us: int, to_us: int) -> Block:
        return _joined(list(self._sealed_blocks(from_us, to_us)))

    def _sealed_blocks(self, from_us: int, to_us: int) -> Iterator[Block]:
        return query.sealed(self._conn, self._device_id, self._series, from_us, to_us)


def _start(day: tuple[Windows, int]) -> int:
    return int(day[0].start_us[day[1]])


def _picked(run: Sequence[tuple[Windows, int]]) -> Windows:
    return run[0][0].pick(np.array([row for _, row in run], np.int64))


def _each_window(windows: Windows | None) -> Iterator[Strides]:
    """Yield windows that hold numbers, in order; each in which the counter fell by itself."""
    if windows is None:
        return
    rows = np.flatnonzero(windows.count)
    fallen = np.flatnonzero(windows.falls[rows])
    for number, some in enumerate(np.split(rows, fallen)):
        if number:
            yield meter.of_fallen(windows, int(some[0]))
        yield meter.of_windows(windows, some[1:] if number else some)


def _joined(blocks: Sequence[Block]) -> Block:
    """Return blocks as one, by time; of one microsecond those of earlier blocks come first."""
    some = [one for one in blocks if len(one)]
    if not some:
        return Block(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))
    t_us = np.concatenate([one.t_us for one in some])
    order = np.argsort(t_us, kind="stable")
    values = column.pick(column.concatenate([one.v for one in some]), order)
    return Block(t_us[order], values, np.concatenate([one.clock for one in some])[order])


def _columns(block: Block) -> tuple[column.Ints, column.Values, column.Ints]:
    return block.t_us, block.v, block.clock


def _span(block: Block, from_us: int, to_us: int) -> tuple[column.Ints, column.Values, column.Ints]:
    """Return the columns of a block, which is sorted, within a span."""
    start, end = (int(at) for at in block.t_us.searchsorted([from_us, to_us]))
    return block.t_us[start:end], block.v[start:end], block.clock[start:end]
