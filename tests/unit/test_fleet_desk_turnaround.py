"""Business time: the shared cases with their answers, and what holds for any of them."""

import json
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.turnaround import Calendar, Frame, counted, due_us, elapsed_us, merged

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "turnaround.json").read_text())
H_US = 3_600_000_000
MONDAY_US = 1_772_409_600_000_000  # 2026-03-02T00:00Z


def us(text: str) -> int:
    return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def minutes(text: str) -> int:
    hours, _, rest = text.partition(":")
    return int(hours) * 60 + int(rest)


def calendar(name: str) -> Calendar:
    said = VECTORS["calendars"][name]
    week = tuple(tuple(Frame(minutes(a), minutes(b)) for a, b in day) for day in said["week"])
    return Calendar(said["tz"], week, frozenset(date.fromisoformat(day) for day in said["holidays"]))


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_a_case_is_due_when_its_answer_says_and_the_time_until_then_is_its_target(case: dict[str, Any]) -> None:
    pauses = [(us(a), us(b)) for a, b in case["pauses"]]
    here, start = calendar(case["calendar"]), us(case["start"])
    assert due_us(here, start, case["target_s"], pauses) == us(case["due"])
    assert elapsed_us(here, start, us(case["due"]), pauses) == case["target_s"] * 1_000_000


def test_a_calendar_without_open_time_makes_nothing_due() -> None:
    never = Calendar("UTC", ((),) * 7)
    assert due_us(never, 0, 1) is None
    assert elapsed_us(never, 0, 10**15) == 0


def test_the_intervals_that_were_counted_are_named() -> None:
    here = calendar("be")
    start, end = us("2026-03-04T11:00:00+01:00"), us("2026-03-04T14:00:00+01:00")
    lunch = (us("2026-03-04T12:00:00+01:00"), us("2026-03-04T13:00:00+01:00"))
    assert list(counted(here, start, end)) == [(start, lunch[0]), (lunch[1], end)]


def test_a_frame_in_the_hour_that_comes_twice_takes_both() -> None:
    nightly = Calendar("Europe/Berlin", ((Frame(120, 180),),) * 7)
    assert elapsed_us(nightly, us("2026-10-25T00:00:00+02:00"), us("2026-10-26T00:00:00+01:00")) == 2 * H_US
    assert elapsed_us(nightly, us("2026-03-29T00:00:00+01:00"), us("2026-03-30T00:00:00+02:00")) == 0


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 5), (9, 8), (0, 1441)])
def test_a_frame_lies_within_a_day(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="within a day"):
        Frame(start, end)


moments = st.integers(MONDAY_US, MONDAY_US + 60 * 24 * H_US)
pauses_ = st.lists(st.tuples(moments, moments), max_size=6)


@given(st.sampled_from(sorted(VECTORS["calendars"])), moments, moments, moments, pauses_)
def test_business_time_adds_up_over_any_split(
    name: str, one: int, two: int, three: int, pauses: list[tuple[int, int]]
) -> None:
    begin, middle, end = sorted((one, two, three))
    here = calendar(name)
    parts = elapsed_us(here, begin, middle, pauses) + elapsed_us(here, middle, end, pauses)
    assert parts == elapsed_us(here, begin, end, pauses)


@given(st.sampled_from(sorted(VECTORS["calendars"])), moments, st.integers(1, 200 * 3600), pauses_)
def test_what_is_due_is_due_exactly_when_the_target_has_passed(
    name: str, start: int, target_s: int, pauses: list[tuple[int, int]]
) -> None:
    here = calendar(name)
    due = due_us(here, start, target_s, pauses)
    assert due is not None
    assert elapsed_us(here, start, due, pauses) == target_s * 1_000_000
    assert elapsed_us(here, start, due - 1, pauses) == target_s * 1_000_000 - 1


@given(pauses_)
def test_merged_intervals_are_in_order_and_apart(pauses: list[tuple[int, int]]) -> None:
    found = merged(pauses)
    assert all(begin < end for begin, end in found)
    assert all(a[1] < b[0] for a, b in pairwise(found))
