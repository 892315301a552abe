"""A tally of columns is that of their readings; parts add up; the order does not matter; a mistake shows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.column import values_of
from fleet.core.tally import Tally

TIMES = st.integers(0, 4_102_444_800_000_000)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
SAME_KIND = st.one_of(*(st.lists(st.tuples(TIMES, kind), min_size=1, max_size=30) for kind in (FLOATS, INTEGERS)))
ANY = st.lists(st.tuples(TIMES, FLOATS | INTEGERS | st.text(max_size=5) | st.none()), min_size=1, max_size=30)


def tally(readings: list[tuple[int, object]]) -> Tally:
    made = Tally()
    made.add(readings)  # type: ignore[arg-type] # of either kind
    return made


@given(SAME_KIND | ANY)
def test_columns_count_as_their_readings_do(readings: list[tuple[int, object]]):
    columns = Tally()

    columns.add_columns(np.array([t for t, _ in readings], np.int64), values_of([v for _, v in readings]))  # type: ignore[misc]

    assert columns == tally(readings)


@given(ANY, st.integers(0, 30))
def test_parts_in_any_order_make_the_same_whole(readings: list[tuple[int, object]], at: int):
    parts = tally(readings[at:])

    parts.add(readings[:at])  # type: ignore[arg-type] # of either kind

    assert parts == tally(readings)


@given(SAME_KIND, st.data())
def test_a_reading_moved_by_a_microsecond_shows(readings: list[tuple[int, object]], data: st.DataObject):
    at = data.draw(st.integers(0, len(readings) - 1))
    t_us, value = readings[at]

    assert tally([*readings[:at], (t_us + 1, value), *readings[at + 1 :]]) != tally(readings)
