"""Holes: every seq above the mark is in exactly one row or hole, and what is explained is never kept as found."""

from hypothesis import given
from hypothesis import strategies as st

from fleet.core.hole import Hole, Row, find_holes, subtract

SEQS = st.lists(st.integers(1, 40), unique=True, min_size=1).map(sorted)
RANGES = st.lists(
    st.tuples(st.integers(1, 40), st.integers(1, 40)).map(lambda pair: (min(pair), max(pair))), max_size=5
)


@given(SEQS)
def test_rows_and_holes_together_are_all_seqs_above_the_mark(seqs: list[int]):
    holes = find_holes(0, None, [Row(seq, seq, seq) for seq in seqs])

    missing = [seq for hole in holes for seq in range(hole.from_seq, hole.to_seq + 1)]
    assert sorted([*seqs, *missing]) == list(range(1, seqs[-1] + 1))
    assert all(hole.from_us <= hole.to_us for hole in holes)


@given(st.tuples(st.integers(1, 40), st.integers(0, 20)), RANGES)
def test_what_is_left_of_a_hole_is_what_nobody_explained(span: tuple[int, int], explained: list[tuple[int, int]]):
    hole = Hole(span[0], span[0] + span[1], 10, 20)

    left = subtract(hole, explained)

    known = {seq for low, high in explained for seq in range(low, high + 1)}
    seqs = [seq for part in left for seq in range(part.from_seq, part.to_seq + 1)]
    assert seqs == [seq for seq in range(hole.from_seq, hole.to_seq + 1) if seq not in known]
