"""Turnaround: how long something took, and when it is due, in the business time of a calendar.

Only facts are stored (moments, calendars, pauses); every deadline and duration is computed from them, so a pause or
a policy that changes later is never lost in a counter. Business time is a set of intervals in UTC: the calendar's
open frames, day by day in its time zone, minus holidays, minus pauses. `elapsed` measures it, `due` walks it until
the target is used up, and `counted` names the intervals, one a line: why this deadline.

A frame is said in wall-clock time. On a day when clocks change, its length in UTC changes with it: open from 00:00 to
24:00 is 23 or 25 hours, and real hours are what is counted. A frame that begins or ends in the hour that a clock
change repeats takes all of it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from agent.wire.units import US_PER_S

MAX_DAYS = 3660  # days looked ahead for open time: beyond it a target is never due
DAYS_A_WEEK = 7
MINUTES_A_DAY = 24 * 60

Interval = tuple[int, int]
"""From (inclusive) and to (exclusive), UTC µs."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Frame:
    """Open from `start_min` to `end_min`, minutes of wall-clock time since midnight; 1440 is the day's end."""

    start_min: int
    end_min: int

    def __post_init__(self) -> None:
        if not 0 <= self.start_min < self.end_min <= MINUTES_A_DAY:
            msg = f"a frame from {self.start_min} to {self.end_min} min does not lie within a day"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class Calendar:
    """When work is done: frames for Monday to Sunday, none on holidays, in one time zone (IANA name)."""

    zone: str
    week: tuple[tuple[Frame, ...], ...]
    holidays: frozenset[date] = frozenset()

    def __post_init__(self) -> None:
        if len(self.week) != DAYS_A_WEEK:
            msg = f"a week has {DAYS_A_WEEK} days, not {len(self.week)}"
            raise ValueError(msg)


def elapsed_us(calendar: Calendar, from_us: int, to_us: int, pauses: Iterable[Interval] = ()) -> int:
    """Return the business time between two moments, without the pauses, µs."""
    return sum(end - start for start, end in counted(calendar, from_us, to_us, pauses))


def due_us(calendar: Calendar, start_us: int, target_s: int, pauses: Iterable[Interval] = ()) -> int | None:
    """Return the moment at which `target_s` of business time have passed since `start_us`, without the pauses.

    None if there is no such moment: the calendar has too little open time in the next ten years.
    """
    left_us = target_s * US_PER_S
    for begin, end in _without(_open(calendar, start_us), merged(pauses)):
        if end - begin >= left_us:
            return begin + left_us
        left_us -= end - begin
    return None


def counted(calendar: Calendar, from_us: int, to_us: int, pauses: Iterable[Interval] = ()) -> Iterator[Interval]:
    """Yield the intervals of business time between two moments, in order: those that a deadline counted."""
    for begin, end in _without(_open(calendar, from_us), merged(pauses)):
        if begin >= to_us:
            return
        yield begin, min(end, to_us)


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Return intervals in order, those that touch or overlap made one, the empty ones left out."""
    result: list[Interval] = []
    for begin, end in sorted(intervals):
        if end <= begin:
            continue
        if result and begin <= result[-1][1]:
            result[-1] = (result[-1][0], max(result[-1][1], end))
        else:
            result.append((begin, end))
    return result


def _open(calendar: Calendar, from_us: int) -> Iterator[Interval]:
    """Yield the calendar's open intervals from a moment on, in order, for `MAX_DAYS`."""
    zone = ZoneInfo(calendar.zone)
    first = (_EPOCH + timedelta(microseconds=from_us)).astimezone(zone).date()
    for day in islice(_days(first), MAX_DAYS):
        if day in calendar.holidays:
            continue
        for begin, end in merged(_bounds(day, frame, zone) for frame in calendar.week[day.weekday()]):
            if end > from_us:
                yield max(begin, from_us), end


def _days(first: date) -> Iterator[date]:
    day = first
    while True:
        yield day
        day += timedelta(days=1)


def _bounds(day: date, frame: Frame, zone: ZoneInfo) -> Interval:
    return _moment(day, frame.start_min, zone, fold=0), _moment(day, frame.end_min, zone, fold=1)


def _moment(day: date, minutes: int, zone: ZoneInfo, *, fold: int) -> int:
    """Return a wall-clock time as UTC µs; of a time that comes twice, the first (`fold` 0) or the second."""
    days, rest = divmod(minutes, MINUTES_A_DAY)
    wall = datetime.combine(day + timedelta(days=days), time(rest // 60, rest % 60, fold=fold), zone)
    return (wall - _EPOCH) // timedelta(microseconds=1)


def _without(intervals: Iterator[Interval], pauses: Sequence[Interval]) -> Iterator[Interval]:
    """Yield the intervals minus the pauses; both in order, the pauses merged."""
    at = 0
    for begin, end in intervals:
        start = begin
        while at < len(pauses) and pauses[at][1] <= start:
            at += 1
        following = at
        while following < len(pauses) and pauses[following][0] < end:
            pause_begin, pause_end = pauses[following]
            if pause_begin > start:
                yield start, pause_begin
            start = max(start, pause_end)
            following += 1
        if start < end:
            yield start, end
