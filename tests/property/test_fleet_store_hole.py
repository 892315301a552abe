"""Holes: every seq above the mark is in exactly one row or hole, and what is explained is never kept as found."""

from hypothesis import given
from hypothesis import strategies as st

from fleet.core.hole import Hole, Row, bounded, find_holes, uncovered

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

    left = list(uncovered([hole], sorted(explained)))

    known = {seq for low, high in explained for seq in range(low, high + 1)}
    seqs = [seq for part in left for seq in range(part.from_seq, part.to_seq + 1)]
    assert seqs == [seq for seq in range(hole.from_seq, hole.to_seq + 1) if seq not in known]


@given(SEQS, RANGES)
def test_one_pass_over_holes_and_ranges_leaves_what_nobody_explained(seqs: list[int], explained: list[tuple[int, int]]):
    holes = find_holes(0, None, [Row(seq, seq, seq) for seq in seqs])

    left = list(uncovered(iter(holes), iter(sorted(explained))))  # iterators: neither can be gone through again

    known = {*seqs, *(seq for low, high in explained for seq in range(low, high + 1))}
    missing = [seq for part in left for seq in range(part.from_seq, part.to_seq + 1)]
    assert missing == [seq for seq in range(1, seqs[-1] + 1) if seq not in known]


@given(SEQS, st.integers(1, 5))
def test_bounded_holes_span_all_that_is_missing_and_say_how_much(seqs: list[int], most: int):
    holes = find_holes(0, None, [Row(seq, seq, seq) for seq in seqs])

    found = bounded(holes, most)

    assert len(found) == min(len(holes), most)
    assert sum(one.holes for one in found) == len(holes)
    assert sum(one.rows for one in found) == sum(hole.to_seq - hole.from_seq + 1 for hole in holes)
    assert [one.hole for one in found if one.holes == 1] == holes[: sum(one.holes == 1 for one in found)]
    assert [one.hole.from_seq for one in found[:1]] == [hole.from_seq for hole in holes[:1]]
    assert [one.hole.to_seq for one in found[-1:]] == [hole.to_seq for hole in holes[-1:]]
