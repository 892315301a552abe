"""Pace, limits and rushes: slower while the server is behind, back when it is not; who sends too much is told when."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wire.codec import encode
from agent.wire.limits import MAX_NEXT_S
from agent.wire.messages import Ack, ConfigDocument, Refusal
from fleet.core.limit import BURST_S, Limit
from fleet.core.pace import CROWD_S, HOLD_S, LONGEST_S, SCATTER, SLOW_S, SPREAD, Pace, scattered
from fleet.core.rush import CALM_S, LOOK_S, MANY_S, OVER_S, PASS_S, Patience, Rush
from fleet.gateway.answer import encode_ack


def test_the_pace_of_a_server_that_keeps_up_is_its_base():
    pace = Pace(5.0)
    for second in range(100):
        pace.note(0.02, 0.1, float(second))

    assert pace.next_s == 5.0


@given(st.floats(0.05, MAX_NEXT_S), st.floats(0.0, 600.0), st.floats(0.0, 1.0))
def test_who_waited_is_told_a_time_near_the_pace_and_others_the_pace(next_s: float, waited_s: float, chance: float):
    own_s = scattered(next_s, waited_s, chance)

    assert own_s <= MAX_NEXT_S
    assert abs(own_s - next_s) <= min(SCATTER * waited_s, SPREAD * next_s) + 0.001
    assert own_s == next_s or waited_s >= CROWD_S


def test_those_that_met_a_crowd_are_scattered_by_more_than_they_waited_and_on_the_average_not_at_all():
    told = [scattered(10.0, 0.05, n / 1000) for n in range(1001)]

    assert (min(told), max(told)) == (9.5, 10.5)
    assert sum(told) / len(told) == pytest.approx(10.0)


@pytest.mark.parametrize(("waited_s", "fill"), [(2 * SLOW_S, 0.0), (0.0, 0.9)])
def test_the_pace_slows_down_while_behind_up_to_a_bound_and_comes_back(waited_s: float, fill: float):
    pace = Pace(5.0)
    seen = []
    for second in range(300):
        pace.note(waited_s, fill, float(second))
        seen.append(pace.next_s)

    assert seen == sorted(seen)
    assert seen[1] == 2 * 5.0
    assert seen[120] > 10 * 5.0
    assert seen[-1] == LONGEST_S

    for second in range(300, 360):
        pace.note(0.01, 0.0, float(second))
    assert pace.next_s == 5.0


@pytest.mark.parametrize("base_s", [1.0, 5.0, 60.0, 3600.0])
def test_nobody_is_told_to_stay_away_longer_before_those_who_were_told_could_have_come(base_s: float):
    pace = Pace(base_s)
    told = []
    for tenth in range(3000):
        pace.note(9.0, 1.0, tenth / 10)
        told.append((tenth / 10, pace.next_s))

    steps = [(at_s, before) for (_, before), (at_s, after) in pairwise(told) if after > before]
    assert all(later - at_s >= min(2 * before, HOLD_S) for (at_s, before), (later, _) in pairwise(steps))


def test_some_bad_seconds_do_not_send_devices_away_for_long():
    pace = Pace(60.0)
    for second in range(15):
        pace.note(8.0, 0.9, float(second))

    assert pace.next_s == 120.0


def test_the_pace_comes_back_though_nobody_called_for_long():
    pace = Pace(5.0, factor=100.0)
    pace.note(0.01, 0.0, 0.0)
    pace.note(0.01, 0.0, 600.0)

    assert pace.next_s == 5.0


def test_no_device_is_told_to_wait_longer_than_the_contract_allows():
    assert Pace(float(MAX_NEXT_S), factor=100.0).next_s == MAX_NEXT_S
    assert Pace(5.0, factor=1000.0).next_s == LONGEST_S


def test_who_sends_within_its_rate_never_waits():
    limit = Limit(100.0)
    for second in range(1000):
        assert limit.wait_s("d1", float(second)) == 0
        limit.spend("d1", 100, float(second))


def test_who_sends_more_owes_until_its_rate_has_paid_and_nobody_else_does():
    limit = Limit(100.0)
    limit.spend("d1", int(100 * BURST_S) + 3000, 0.0)

    assert limit.wait_s("d1", 0.0) == 30.0
    assert limit.wait_s("d1", 20.0) == 10.0
    assert limit.wait_s("d1", 30.0) == 0
    assert limit.wait_s("d2", 0.0) == 0


def test_without_a_rate_there_is_no_limit():
    limit = Limit(0.0)
    limit.spend("d1", 10**9, 0.0)

    assert limit.wait_s("d1", 0.0) == 0


acks = st.builds(
    Ack,
    st.just(1),
    st.text("0123456789abcdef", min_size=16, max_size=16),
    st.none() | st.integers(0, 2**63 - 1),
    st.integers(0, 2**60),
    st.integers(0, 2**40),
    st.floats(0.05, MAX_NEXT_S) | st.integers(1, MAX_NEXT_S).map(float),
    st.integers(0, 65535),
    st.none() | st.just(ConfigDocument(1, "h", "a = 1")),
    st.just(()) | st.just(("7",)),
    st.none() | st.just(Refusal("$", "not gzip", quarantined=True)),
)


@given(acks)
def test_an_ack_has_the_bytes_that_the_contract_gives_it(ack: Ack):
    assert encode_ack(ack) == encode(ack)


@pytest.mark.parametrize("share", [0.9, 1.1])
def test_a_rush_is_many_batches_a_second_for_a_while(share: float):
    rush, batches_s = Rush(), MANY_S * share
    for n in range(int(batches_s * 3)):
        rush.note(100.0 + n / batches_s)
        if n / batches_s < LOOK_S / 2:
            assert not rush.is_on(100.0 + n / batches_s), "too few have come to tell"

    assert rush.is_on(103.0) is (share > 1)
    assert not rush.is_on(103.0 + LOOK_S + OVER_S)


def test_a_crowd_that_comes_at_once_and_is_gone_is_no_rush():
    rush = Rush()
    for n in range(int(MANY_S * LOOK_S * 0.9)):
        rush.note(100.0 + n / 1e6)
    rush.note(100.0 + LOOK_S)
    rush.note(100.0 + 2 * LOOK_S)

    assert not rush.is_on(100.0 + 2 * LOOK_S)


def passes(rushes: list[bool], every_s: float = 5.0) -> list[bool]:
    """Look every few seconds whether to wait; `rushes` tells of each look whether there is a rush."""
    patience = Patience()
    return [patience.waits(n * every_s, is_rush=is_rush) for n, is_rush in enumerate(rushes)]


def test_a_short_rush_is_let_pass_and_one_that_lasts_is_not():
    looks = int(PASS_S / 5.0)

    assert passes([False, True, True, False]) == [False, True, True, False]
    assert passes([True] * 100) == [True] * looks + [False] * (100 - looks)


@given(st.lists(st.booleans(), min_size=200, max_size=400))
def test_whatever_comes_when_what_can_wait_has_half_of_the_time(rushes: list[bool]):
    waits = passes(rushes)

    longest = int((PASS_S + CALM_S) / 5.0)
    for start in range(len(waits) - longest):
        assert sum(waits[start : start + longest]) <= PASS_S / 5.0, "it would fall behind"
