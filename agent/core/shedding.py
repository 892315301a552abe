"""What the buffer lets go of when its room is used up, and how that is told.

    acked rows          first, oldest first: the fleet has them, they are only kept for a fleet restored from a backup
    telemetry, thinned  then the oldest rows that no batch has carried yet become one row of a minute's extremes
    telemetry, dropped  then the oldest
    events              last

Thinning keeps, of each series and minute, the least and the greatest reading as they were read, at their own times, so
that each threshold that was crossed is still crossed in the fleet; the mean of the minute is no reading, and so goes to
a series of its own, `<name>.mean`. Text and empty readings are kept where they change.

A row that a batch has carried is never thinned: the fleet may have stored it, and thinned copies of stored readings
would be readings stored twice.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from agent.core.outbox import Columns, Moment, Row, readings_of
from agent.ports import Reading
from agent.wire.limits import MAX_NAME_CHARS
from agent.wire.messages import Gap, Lane, Segment

MIB = 1024 * 1024
MINUTE_US = 60_000_000
KEPT_A_MINUTE = 2  # readings of a series: the least and the greatest
SAME_CLOCK_US = 1_000_000  # rows whose UTC and monotonic clock agree this well were dated by one setting of the clock
WORTHWHILE = 0.7  # thinned rows that are not smaller than this share of what they replace are left as they are
MEAN = ".mean"


@dataclass(frozen=True, slots=True)
class Budget:
    """How much room the buffer may take; all in bytes but `keep_acked_s`."""

    max_bytes: int = 512 * MIB  # of the file and its log
    min_free_bytes: int = 64 * MIB  # of the disk that the buffer leaves to others
    keep_acked_s: int = 7 * 86_400  # acked rows are kept for this long at most
    least_bytes: int = 4 * MIB  # the buffer may take these however full the disk is
    most_log_bytes: int = 8 * MIB  # of `max_bytes`, for the write-ahead log

    @property
    def log_bytes(self) -> int:
        """Return how large the write-ahead log may become."""
        return min(self.most_log_bytes, self.max_bytes // 4)

    @property
    def keep_acked_bytes(self) -> int:
        """Return how many bytes of acked rows are kept at most, a lane."""
        return self.max_bytes // 4


@dataclass(frozen=True, slots=True)
class Fill:
    """How full the file and its disk are, bytes."""

    file_bytes: int
    unused_bytes: int  # of the file: pages that are free to be used again
    disk_free_bytes: int


@dataclass(frozen=True, slots=True)
class Shed:
    """What one step takes away: the rows `first_seq` … `last_seq`; `put` takes the place of the last where thinned."""

    lane: Lane
    first_seq: int
    last_seq: int
    put: Row | None
    gap: Gap
    rows: int  # fewer in the lane
    bytes: int  # fewer in the lane
    readings: int  # fewer in the lane; a mean that thinning added counts as one


def excess_bytes(budget: Budget, fill: Fill) -> int:
    """Return how many bytes have to go for the next transactions to have room; 0 or less: none."""
    may_grow_to = max(budget.least_bytes, fill.file_bytes + max(0, fill.disk_free_bytes - budget.min_free_bytes))
    limit = min(budget.max_bytes - budget.log_bytes, may_grow_to)
    return fill.file_bytes - fill.unused_bytes + min(2 * MIB, limit // 4) - limit


def thin(rows: Sequence[tuple[Segment, int]]) -> Shed | None:
    """Thin consecutive rows (decoded, and the bytes of each) into one; None if that is not worthwhile.

    As many rows from the first on are taken as were dated by one setting of the clock and fit one row.
    """
    group = list(_alike(rows))
    while group:
        made = _thin_group(group)
        if made is not None:
            return made if made.bytes > (1 - WORTHWHILE) * sum(size for _, size in group) else None
        group = group[: len(group) // 2]  # it did not fit one row
    return None


def drop(lane: Lane, first_seq: int, last_seq: int, what: "Lot") -> Shed:
    """Let go of rows altogether."""
    noun = "readings" if lane is Lane.TELEMETRY else "events"
    gap = Gap(
        lane=lane,
        from_seq=first_seq,
        to_seq=last_seq,
        from_us=what.from_us,
        to_us=what.to_us,
        count=what.readings,
        reason=f"dropped: the buffer's room was used up, and these {noun} were the oldest",
    )
    return Shed(lane, first_seq, last_seq, None, gap, what.rows, what.bytes, what.readings)


@dataclass(frozen=True, slots=True)
class Lot:
    """Some consecutive rows of a lane."""

    rows: int
    bytes: int
    readings: int
    from_us: int
    to_us: int


def _alike(rows: Sequence[tuple[Segment, int]]) -> Iterator[tuple[Segment, int]]:
    """Yield rows for as long as seq, boot and clock go on from one to the next."""
    first: Segment | None = None
    before = 0
    for row in rows:
        segment = row[0]
        if first is not None and (
            segment.seq != before + 1
            or (segment.boot_id, segment.clock) != (first.boot_id, first.clock)
            or abs(_offset_us(segment) - _offset_us(first)) > SAME_CLOCK_US
        ):
            return
        first = first or segment
        before = segment.seq
        yield row


def _offset_us(segment: Segment) -> int:
    return _from_us(segment) - segment.mono_us


def _from_us(segment: Segment) -> int:
    return min(series.t0_us for series in segment.series)


def _thin_group(group: Sequence[tuple[Segment, int]]) -> Shed | None:
    segments = [segment for segment, _ in group]
    size = sum(size for _, size in group)
    series: dict[str, list[Reading]] = {}
    for segment in segments:
        for reading in readings_of(segment):
            series.setdefault(reading.name, []).append(reading)
    before = sum(map(len, series.values()))
    columns, kept = Columns(), 0
    for readings in series.values():
        left, means = _thin_series(readings)
        kept += len(left)
        columns.add(left)
        columns.add(means)
    first, last = segments[0], segments[-1]
    moment = Moment(_from_us(first), first.mono_us, first.boot_id, first.clock)
    made = columns.cut(last.seq, moment)
    if len(made) != 1:
        return None
    row = made[0]
    gap = Gap(
        lane=Lane.TELEMETRY,
        from_seq=first.seq,
        to_seq=last.seq,
        from_us=row.from_us,
        to_us=row.to_us,
        count=before - kept,
        reason="thinned to the least, the greatest and the mean of each minute: the buffer's room was used up",
    )
    return Shed(Lane.TELEMETRY, first.seq, last.seq, row, gap, len(group) - 1, size - len(row.body), before - row.count)


def _thin_series(readings: Sequence[Reading]) -> tuple[list[Reading], list[Reading]]:
    """Return what is left of a series' readings, and their means."""
    left: list[Reading] = []
    means: list[Reading] = []
    for minute in _minutes(readings):
        numbers = [reading for reading in minute if isinstance(reading.v, int | float)]
        others = [reading for reading in minute if not isinstance(reading.v, int | float)]
        changes = [it for i, it in enumerate(others) if i == 0 or it.v != others[i - 1].v]
        if len(numbers) > KEPT_A_MINUTE:
            mean = math.fsum(_number(it) / len(numbers) for it in numbers)
            numbers = sorted({min(numbers, key=_number), max(numbers, key=_number)}, key=_time)
            name = numbers[0].name + MEAN
            if len(name) <= MAX_NAME_CHARS:
                means.append(Reading(name, numbers[0].unit, numbers[-1].t_us, float(f"{mean:.9g}")))
        left += sorted(numbers + changes, key=_time)
    return left, means


def _minutes(readings: Iterable[Reading]) -> Iterator[list[Reading]]:
    """Yield the readings of a minute each, in the order they came; a clock that steps back starts another one."""
    minute: list[Reading] = []
    for reading in readings:
        if minute and (reading.t_us // MINUTE_US != minute[0].t_us // MINUTE_US or reading.t_us < minute[-1].t_us):
            yield minute
            minute = []
        minute.append(reading)
    if minute:
        yield minute


def _number(reading: Reading) -> float:
    return float(reading.v or 0)


def _time(reading: Reading) -> int:
    return reading.t_us
