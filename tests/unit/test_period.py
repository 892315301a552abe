"""Periods of a calendar begin where the wall clock of their place says so."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fleet.core.period import By, begin_of, edges

H_US = 3_600_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = ("UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu", "Australia/Lord_Howe", "America/New_York")


def us(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("day", "zone", "hours"),
    [
        ("2026-03-29T00:00+01:00", "Europe/Berlin", 23),
        ("2026-10-25T00:00+02:00", "Europe/Berlin", 25),
        ("2017-10-15T01:00-02:00", "America/Sao_Paulo", 23),  # clocks skip midnight itself
        ("2026-04-05T00:00+11:00", "Australia/Lord_Howe", 24.5),
    ],
)
def test_a_day_on_which_clocks_change_is_as_long_as_it_is(day: str, zone: str, hours: float):
    start = us(day)

    found = edges(start, start + 48 * H_US, By.DAY, ZoneInfo(zone), most=9)

    assert (found[1] - found[0]) / H_US == hours
    assert begin_of(found[1] - 1, By.DAY, ZoneInfo(zone)) == start


@example(602_778_600_001, "Australia/Lord_Howe", By.HOUR)  # clocks go back by half an hour
@example(504_902_400_000, "Asia/Kathmandu", By.HOUR)  # forward by a quarter, once
@given(
    st.integers(us("1971-01-01T00:00Z") // 1000, us("2099-01-01T00:00Z") // 1000),
    st.sampled_from(ZONES),
    st.sampled_from(By),
)
def test_every_moment_lies_in_the_period_that_it_begins(t_ms: int, zone: str, by: By):
    place, t_us = ZoneInfo(zone), t_ms * 1000

    begin = begin_of(t_us, by, place)
    found = edges(t_us, t_us + 40 * 24 * H_US, by, place, most=2000)

    assert begin <= t_us
    assert begin_of(begin, by, place) == begin
    assert found == sorted(set(found))
    assert all(begin_of(start, by, place) == start for start in found[1:-1])
    assert all(begin_of(end - 1, by, place) == max(start, begin) for start, end in pairwise([begin, *found[1:-1]]))


def test_more_periods_than_are_wanted_are_refused():
    with pytest.raises(ValueError, match="more than 24 periods"):
        edges(0, 25 * H_US, By.HOUR, ZoneInfo("UTC"), most=24)
