"""From readings to rows of the outbox: what was read between two commits of the buffer, in columns.

A row is encoded once, here; from then on it is bytes that the buffer keeps and a batch joins, and no part of the
agent parses it again.

    readings → Columns.add → Columns.cut → segments → rows
    events                               → row each

Invariants:

- Each row keeps to `agent.wire.limits`: a full column, a 257th series or a row that grows too large starts the next
  segment.
- Within a segment no series steps back in time. A negative step of the clock starts a new segment, since a segment
  ties one moment of UTC to one of the monotonic clock and only one of the two sides of a step can be right.
- Nothing that a sensor says can make a row that the fleet refuses: a value outside the contract is brought inside it
  (`clean`), a date outside it is clamped.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from agent.ports import Reading
from agent.wire import limits
from agent.wire.codec import encode
from agent.wire.messages import Clock, DeviceEvent, Lane, Segment, Series, Value

READING_BYTES = 44  # of a numeric reading in a row at most: 24 of value, 16 of dt, two commas
SERIES_BYTES = 64 + 4 * (limits.MAX_NAME_CHARS + limits.MAX_UNIT_CHARS)  # of a series' name, unit and keys
SEGMENT_BYTES = 1024  # of a segment's own keys
FULL_BYTES = limits.MAX_ROW_BYTES - SEGMENT_BYTES - SERIES_BYTES - READING_BYTES - 6 * limits.MAX_VALUE_CHARS
"""A row of this many bytes may not take one more reading of one more series."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the outbox: a segment or an event, encoded.

    `from_us` … `to_us` are the event times that it spans and `count` the readings or events in it, so that a gap
    record can say what was lost with the row.
    """

    lane: Lane
    seq: int
    body: bytes
    from_us: int
    to_us: int
    count: int
    is_dated: bool = True  # False: by a guess (`agent.core.dating`)


@dataclass(frozen=True, slots=True)
class Moment:
    """Where the clocks stood, to date a row: UTC and monotonic µs of one instant, and how far UTC is trusted."""

    now_us: int
    mono_us: int
    boot_id: str
    clock: Clock


class _Column:
    """One series under construction."""

    __slots__ = ("dt", "last_us", "t0_us", "unit", "v")

    def __init__(self, unit: str, t_us: int) -> None:
        self.unit = unit
        self.t0_us = self.last_us = t_us
        self.dt: list[int] = []
        self.v: list[Value] = []


class Columns:
    """Readings in the order they came, gathered into segments of columns."""

    def __init__(self) -> None:
        self._open: dict[str, _Column] = {}
        self._closed: list[dict[str, _Column]] = []
        self._bytes = 0

    def add(self, readings: Iterable[Reading]) -> None:
        """Take readings; cheap, nothing is encoded."""
        for reading in readings:
            t_us, v = reading.t_us, reading.v
            if not limits.MIN_TIME_US <= t_us <= limits.MAX_TIME_US:
                t_us = min(max(t_us, limits.MIN_TIME_US), limits.MAX_TIME_US)
            column = self._open.get(reading.name)
            if (
                column is None
                or t_us < column.last_us
                or self._bytes >= FULL_BYTES
                or len(column.v) >= limits.MAX_READINGS
                or column.unit != reading.unit
            ):
                column = self._start(reading, t_us)
            if type(v) is not float or v - v != 0.0:  # of infinity and NaN, the difference is NaN
                v = clean(v)
                self._bytes += 6 * len(v) if isinstance(v, str) else 0  # as \u0007 at the longest
            column.dt.append(t_us - column.last_us)
            column.v.append(v)
            column.last_us = t_us
            self._bytes += READING_BYTES

    def cut(self, first_seq: int, moment: Moment) -> list[Row]:
        """Return what was gathered as rows `first_seq`, `first_seq + 1`, …, and start anew."""
        groups = [*self._closed, self._open] if self._open else self._closed
        self._open, self._closed, self._bytes = {}, [], 0
        return [_row(columns, seq, moment) for seq, columns in enumerate(groups, first_seq)]

    def _start(self, reading: Reading, t_us: int) -> _Column:
        """Start the column of a series, in a segment of its own where the present one cannot hold it."""
        if reading.name in self._open or len(self._open) >= limits.MAX_SERIES or self._bytes >= FULL_BYTES:
            self._closed.append(self._open)
            self._open, self._bytes = {}, 0
        self._bytes += SERIES_BYTES
        column = self._open[reading.name] = _Column(reading.unit, t_us)
        return column


def event_row(event: DeviceEvent) -> Row:
    """Return an event as a row of its lane; text beyond the contract's length is cut."""
    event = replace(
        event,
        text=event.text.replace("\0", "")[: limits.MAX_TEXT_CHARS],
        subject=event.subject.replace("\0", "")[: limits.MAX_NAME_CHARS],
    )
    is_dated = event.clock is not Clock.UNKNOWN
    return Row(Lane.EVENTS, event.seq, encode(event), event.t_us, event.t_us, 1, is_dated)


def clean(value: Value) -> Value:
    """Bring a value inside the contract: no NaN or infinity, 64-bit integers, text of bounded length without NUL."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return value if -limits.MAX_INTEGER - 1 <= value <= limits.MAX_INTEGER else float(value)
    if isinstance(value, str):
        return value.replace("\0", "").encode(errors="replace").decode()[: limits.MAX_VALUE_CHARS]
    return value


def readings_of(segment: Segment) -> list[Reading]:
    """Return a segment's readings, series by series: the inverse of what `Columns` does."""
    readings: list[Reading] = []
    for series in segment.series:
        t_us = series.t0_us
        for dt, v in zip(series.dt, series.v, strict=True):
            t_us += dt
            readings.append(Reading(series.name, series.unit, t_us, v))
    return readings


def _row(columns: dict[str, _Column], seq: int, moment: Moment) -> Row:
    from_us = min(column.t0_us for column in columns.values())
    to_us = max(column.last_us for column in columns.values())
    segment = Segment(
        seq=seq,
        boot_id=moment.boot_id,
        mono_us=max(0, moment.mono_us - (moment.now_us - from_us)),
        clock=moment.clock,
        series=tuple(
            Series(name, column.unit, column.t0_us, tuple(column.dt), tuple(column.v))
            for name, column in columns.items()
        ),
    )
    count = sum(len(column.v) for column in columns.values())
    is_dated = moment.clock is not Clock.UNKNOWN
    return Row(Lane.TELEMETRY, seq, encode(segment), from_us, to_us, count, is_dated)
