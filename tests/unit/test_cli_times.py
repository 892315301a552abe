"""Times as people say and read them."""

from datetime import UTC, datetime

import pytest

from fleet.cli.times import age, iso, parse_span, parse_time, span

NOW = 1_800_000_000_000_000  # 2027-01-15T08:00:00Z


@pytest.mark.parametrize(
    ("said", "t_us"),
    [
        ("now", NOW),
        ("-15m", NOW - 900_000_000),
        ("+2h", NOW + 7_200_000_000),
        ("-1.5s", NOW - 1_500_000),
        ("-1w", NOW - 604_800_000_000),
        ("2027-01-15T08:00:00Z", NOW),
        ("2027-01-15T08:00", NOW),
        ("2027-01-15", NOW - 8 * 3_600_000_000),
        ("2027-01-15T09:00:00.000001+01:00", NOW + 1),
        ("1800000000000000", NOW),
        ("0", 0),
    ],
)
def test_a_time_is_read_to_the_microsecond(said: str, t_us: int):
    assert parse_time(said, NOW) == t_us


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("yesterday", "is not a time"),
        ("", "is not a time"),
        ("1800000000", "looks like seconds"),
        ("1800000000000", "looks like milliseconds"),
        ("-15", "is not a length of time"),
        ("-15y", "is not a length of time"),
        ("-99999d", "outside the years"),
        ("1969-12-31", "outside the years"),
        ("99999999999999999999999", "outside the years"),
    ],
)
def test_what_is_no_time_is_refused_with_a_sentence(said: str, complaint: str):
    with pytest.raises(ValueError, match=complaint):
        parse_time(said, NOW)


def test_a_time_that_was_written_is_read_back_the_same():
    assert parse_time(iso(NOW + 7), NOW) == NOW + 7
    assert iso(NOW) == datetime.fromtimestamp(1_800_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")


@pytest.mark.parametrize(
    ("length_us", "said"),
    [
        (45_000_000, "45 s"),
        (119_999_999, "1 m"),
        (3_599_000_000, "59 m"),
        (47 * 3_600_000_000, "47 h"),
        (48 * 3_600_000_000, "2 d"),
    ],
)
def test_a_length_of_time_is_said_in_its_largest_unit(length_us: int, said: str):
    assert span(length_us) == said


def test_an_age_looks_both_ways():
    assert age(NOW - 180_000_000, NOW) == "3 m ago"
    assert age(NOW + 180_000_000, NOW) == "in 3 m"
    assert age(NOW, NOW) == "now"
    assert age(None, NOW) == "never"


def test_a_span_keeps_its_fraction():
    assert parse_span("1.5h") == 5_400_000_000
