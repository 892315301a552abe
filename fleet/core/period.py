"""Periods of a calendar: hours, days, months and years as a place on earth counts them.

A period begins where the wall clock of its zone says so, and ends where the next one begins: a day on which clocks
change has 23 or 25 hours, and an hour that is repeated is two hours. Times are UTC microseconds.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR_US = 3_600_000_000


class By(StrEnum):
    """How long a period is."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    YEAR = "year"


def begin_of(t_us: int, by: By, zone: tzinfo) -> int:
    """Return when the period of a moment begins."""
    local = _local(t_us, zone)
    if by is By.HOUR:
        offset_us = _us(local.utcoffset() or timedelta())
        begin = t_us - (t_us + offset_us) % _HOUR_US
        is_cut = begin < t_us and _local(begin, zone).utcoffset() != local.utcoffset()
        # An hour in which clocks change by a part of one (Lord Howe) goes on until the next full hour.
        return begin_of(begin, by, zone) if is_cut else begin
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if by is By.MONTH:
        midnight = midnight.replace(day=1)
    elif by is By.YEAR:
        midnight = midnight.replace(month=1, day=1)
    return _utc(midnight)


def edges(from_us: int, to_us: int, by: By, zone: tzinfo, *, most: int) -> list[int]:
    """Return `from_us`, every beginning of a period between, and `to_us`; ValueError if those are over `most` periods.

    `from_us` < `to_us`; the first and the last period are cut where the span does not begin or end with one.
    """
    found = [from_us]
    for begin in _beginnings(from_us, by, zone):
        if begin >= to_us:
            break
        found.append(begin)
        if len(found) > most:
            msg = f"that is more than {most} periods"
            raise ValueError(msg)
    return [*found, to_us]


def _beginnings(after_us: int, by: By, zone: tzinfo) -> Iterator[int]:
    """Yield the beginnings of periods after a moment."""
    begin = begin_of(after_us, by, zone)
    if by is By.HOUR:
        while True:
            later = begin + _HOUR_US
            while (following := begin_of(later, by, zone)) <= begin:
                later += _HOUR_US // 4  # offsets are whole quarters
            begin = following
            yield begin
    local = _local(begin, zone)
    year, month, day = local.year, local.month, local.day
    while True:
        if by is By.DAY:
            following_day = datetime(year, month, day, tzinfo=UTC) + timedelta(days=1)
            year, month, day = following_day.year, following_day.month, following_day.day
        else:
            year, month = (year, month + 1) if by is By.MONTH and month < 12 else (year + 1, 1)  # noqa: PLR2004 - months
        begin = _utc(datetime(year, month, day, tzinfo=zone))
        if begin > after_us:
            yield begin


def _local(t_us: int, zone: tzinfo) -> datetime:
    return (_EPOCH + timedelta(microseconds=t_us)).astimezone(zone)


def _utc(moment: datetime) -> int:
    """Return the moment of a wall clock; one that clocks skip is as long after the change as it is after its hour."""
    return _us(moment.astimezone(UTC) - _EPOCH)


def _us(length: timedelta) -> int:
    return length // timedelta(microseconds=1)
