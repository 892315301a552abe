"""What a satellite receiver says of the time, and when it is believed."""

import pytest

from agent.core.receiver import DELAY_US, ERA_US, ERROR_US, Receiver
from agent.core.reckoning import Witness
from agent.wire.messages import Clock

S = 1_000_000
OFFSET_US = 1_795_339_815 * S  # UTC when the machine booted


def heard(*said: tuple[float, float]) -> list[Witness]:
    """Let a receiver tell at monotonic seconds what it takes them for; returns what came of it."""
    it = Receiver()
    found = [it.hear(OFFSET_US + round(told_s * S), round(at_s * S)) for at_s, told_s in said]
    return [witness for witness in found if witness is not None]


def test_a_sentence_alone_is_not_believed():
    assert heard((100.2, 100)) == []


def test_five_seconds_of_them_are_and_the_promptest_counts():
    said = [(100.4, 100), (101.1, 101), (102.6, 102), (103.3, 103), (104.2, 104), (105.4, 105)]

    (witness,) = heard(*said)

    assert witness == Witness(Clock.GNSS, OFFSET_US - 100_000 + DELAY_US, ERROR_US, 105_400_000)


def test_a_receiver_that_speaks_all_the_time_is_a_witness_every_five_seconds():
    assert len(heard(*((s + 0.2, float(s)) for s in range(61)))) == 12


def test_what_waited_in_the_ports_buffer_is_not_believed():
    stale = [(100.0, told_s) for told_s in range(40, 60)]

    (witness,) = heard(*stale, *((s + 0.1, float(s)) for s in range(101, 107)))

    assert witness.offset_us == OFFSET_US - 100_000 + DELAY_US


def test_a_sentence_between_that_is_wrong_begins_it_anew():
    assert heard((100, 100), (103, 103), (104, 104 + 86_400), (105, 105), (109, 109)) == []


def test_what_was_said_before_a_long_silence_does_not_count():
    assert heard((100, 100), (161, 161)) == []


@pytest.mark.parametrize("edge_us", [ERA_US.start - 1, ERA_US.stop])
def test_a_date_before_this_release_or_a_whole_count_of_weeks_after_it_is_never_believed(edge_us: int):
    it = Receiver()

    assert [it.hear(edge_us, s * S) for s in range(20)] == [None] * 20
