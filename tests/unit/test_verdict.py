"""The verdict of the demo must be able to say no."""

from firmware_sim.scenarios.verdict import Count, compare

EMITTED = [(n * 1_000_000, n % 7) for n in range(20)]


def test_all_that_was_emitted_and_stored_once_is_fine():
    assert compare(EMITTED, [(t + 5, v) for t, v in EMITTED]) == Count(20, 20)


def test_a_missing_reading_is_lost():
    assert compare(EMITTED, EMITTED[:5] + EMITTED[6:]) == Count(20, 19, lost=1)
    assert compare(EMITTED, EMITTED[:-1]) == Count(20, 19, lost=1)
    assert compare(EMITTED, []) == Count(20, 0, lost=20)


def test_a_reading_that_was_stored_twice_is_doubled():
    assert compare(EMITTED, [*EMITTED[:5], EMITTED[4], *EMITTED[5:]]).duplicated > 0
    assert compare(EMITTED, [*EMITTED, EMITTED[-1]]) == Count(20, 21, duplicated=1)


def test_a_reading_nobody_emitted_is_told():
    assert compare(EMITTED, [*EMITTED, (0, 99)]).duplicated == 1


def test_a_kill_excuses_only_what_came_shortly_before():
    stored = EMITTED[:8] + EMITTED[10:]

    assert compare(EMITTED, stored, [9_200_000], excused_s=1.5) == Count(20, 18, uncommitted_at_kill=2)
    assert compare(EMITTED, stored, [9_200_000], excused_s=0.5) == Count(20, 18, lost=1, uncommitted_at_kill=1)
    assert compare(EMITTED, stored, [15_000_000], excused_s=1.5).lost == 2


def test_counts_add_up():
    assert Count(1, 2, 3, 4, 5) + Count(1, 1, 1, 1, 1) == Count(2, 3, 4, 5, 6)
