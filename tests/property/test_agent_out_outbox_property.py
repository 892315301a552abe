"""Readings into rows and back: nothing lost, nothing moved, no row beyond the contract."""

import math
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from agent.core.outbox import Columns, Moment, Row, readings_of
from agent.ports import Reading
from agent.wire import limits
from agent.wire.codec import check_batch, decode
from agent.wire.messages import Batch, Clock, ConfigOutcome, Lane, Reported, Segment

MOMENT = Moment(2_000_000_000_000_000, 5_000_000_000, "boot", Clock.FREE)
TIMES = st.integers(0, limits.MAX_TIME_US)
VALUES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=limits.MAX_VALUE_CHARS),
    st.none(),
)
READINGS = st.builds(Reading, st.sampled_from(["a.t", "a.u", "b.t"]), st.sampled_from(["Cel", "V"]), TIMES, VALUES)


def cut(readings: list[Reading], parts: int = 1) -> list[Row]:
    columns = Columns()
    for i in range(parts):
        columns.add(readings[i::parts] if parts > 1 else readings)
    return columns.cut(7, MOMENT)


def check(rows: list[Row]) -> list[Segment]:
    segments = [decode(Segment, row.body) for row in rows]
    reported = Reported(0, ConfigOutcome.SEEDED, 0, "", "")
    check_batch(Batch(1, "s", Lane.TELEMETRY, 6, 0, "b", "0", Clock.FREE, reported, tuple(segments)))
    assert all(len(row.body) <= limits.MAX_ROW_BYTES for row in rows)
    return segments


def by_series(readings: list[Reading]) -> dict[str, list[Reading]]:
    found = defaultdict(list)
    for reading in readings:
        found[reading.name].append(reading)
    return found


@given(st.lists(READINGS, max_size=60))
def test_readings_come_back_from_their_rows_in_order_within_each_series(readings: list[Reading]):
    rows = cut(readings)

    segments = check(rows)

    assert by_series([reading for segment in segments for reading in readings_of(segment)]) == by_series(readings)
    assert [row.seq for row in rows] == list(range(7, 7 + len(rows)))
    assert sum(row.count for row in rows) == len(readings)


@given(st.lists(READINGS, min_size=1, max_size=60))
def test_a_row_says_what_times_it_spans(readings: list[Reading]):
    for row in cut(readings):
        times = [reading.t_us for reading in readings_of(decode(Segment, row.body))]
        assert (row.from_us, row.to_us) == (min(times), max(times))


@given(st.integers(1, 20_000), st.integers(1, 300), st.booleans())
def test_rows_keep_to_the_limits_whatever_the_flood(count: int, series: int, text: bool):  # noqa: FBT001 - drawn
    value = "\x07" * limits.MAX_VALUE_CHARS if text else -1.2345678901234567e-300
    count = count // 8 if text else count
    readings = [Reading(f"s.{i % series}", "u", i * 10**9, value) for i in range(count)]

    rows = cut(readings)

    assert sum(len(readings_of(segment)) for segment in check(rows)) == count


@given(st.sampled_from([math.nan, math.inf, -math.inf, 2**70, -(2**63) - 1, "x" * 5000, "a\0b", "\ud800", True]), TIMES)
def test_what_a_sensor_should_not_say_is_brought_inside_the_contract(value: float | str, t_us: int):
    check(cut([Reading("a.t", "Cel", t_us, value)]))


@given(st.sampled_from([-1, -(10**18), limits.MAX_TIME_US + 1, 10**19]))
def test_a_date_outside_the_contract_is_clamped(t_us: int):
    check(cut([Reading("a.t", "Cel", t_us, 1.0), Reading("a.t", "Cel", t_us + 1, 2.0)]))


def test_a_clock_that_steps_back_starts_a_new_segment_with_its_own_monotonic_moment():
    now = MOMENT.now_us
    rows = cut([Reading("a.t", "Cel", t, 1.0) for t in (now - 1_000_000, now - 900_000, now - 2_000_000)])

    segments = check(rows)

    assert [len(segment.series[0].v) for segment in segments] == [2, 1]
    assert [segment.mono_us for segment in segments] == [4_999_000_000, 4_998_000_000]
