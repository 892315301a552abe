"""The verdict of the demo must be able to say no."""

from firmware_sim.scenarios.verdict import Count, Frame, compare, frames

S = 1_000_000
EMITTED = [Frame(n * S, (("a", n % 7), ("b", n))) for n in range(20)]
STORED = [Frame(frame.t_us + 5, frame.values) for frame in EMITTED]


def test_all_that_was_emitted_and_stored_once_is_fine():
    assert compare(EMITTED, STORED) == Count(40, 40)


def test_a_missing_frame_is_lost():
    assert compare(EMITTED, STORED[:5] + STORED[6:]) == Count(40, 38, lost=2)
    assert compare(EMITTED, STORED[:-1]) == Count(40, 38, lost=2)
    assert compare(EMITTED, []) == Count(40, 0, lost=40)


def test_a_frame_that_was_stored_twice_is_doubled():
    assert compare(EMITTED, [*STORED[:5], STORED[4], *STORED[5:]]) == Count(40, 42, duplicated=2)
    assert compare(EMITTED, [*STORED, STORED[-1]]) == Count(40, 42, duplicated=2)


def test_a_frame_nobody_emitted_is_told():
    assert compare(EMITTED, [*STORED, Frame(0, (("a", 99),))]) == Count(40, 41, duplicated=1)


def test_a_kill_excuses_only_what_came_shortly_before():
    stored = STORED[:8] + STORED[10:]

    assert compare(EMITTED, stored, [9_200_000], excused_s=1.5) == Count(40, 36, uncommitted_at_kill=4)
    assert compare(EMITTED, stored, [9_200_000], excused_s=0.5) == Count(40, 36, lost=2, uncommitted_at_kill=2)
    assert compare(EMITTED, stored, [15_000_000], excused_s=1.5).lost == 4


def test_what_the_board_cannot_know_is_neither_produced_nor_lost():
    doubtful = [*EMITTED[:3], Frame(EMITTED[3].t_us, EMITTED[3].values, certain=False), *EMITTED[4:]]

    assert compare(doubtful, STORED[:3] + STORED[4:]) == Count(38, 38)
    assert compare(doubtful, STORED) == Count(40, 40)


def test_readings_of_one_moment_are_one_frame_and_a_second_of_the_same_moment_another():
    rows = [("a", 5, 1, True), ("a", 5, 2, True), ("a", 9, 3, True), ("b", 5, 10, True), ("b", 5, 20, False)]

    assert frames(rows) == [
        Frame(5, (("a", 1), ("b", 10))),
        Frame(5, (("a", 2), ("b", 20)), certain=False),
        Frame(9, (("a", 3),)),
    ]


def test_counts_add_up():
    assert Count(1, 2, 3, 4, 5) + Count(1, 1, 1, 1, 1) == Count(2, 3, 4, 5, 6)
