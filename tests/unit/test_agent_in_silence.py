from agent.core.silence import LEAST_S, MOST_S, Silence


def listening(at_s: float = 0.0) -> Silence:
    silence = Silence()
    silence.opened(at_s, listens=True)
    return silence


def test_a_port_that_is_listened_to_is_silent_once_nothing_has_come_for_long():
    silence = listening()

    assert silence.due() == LEAST_S
    assert not silence.tick(LEAST_S - 1)
    assert silence.tick(LEAST_S)
    assert not silence.tick(LEAST_S + 1)  # told once
    assert silence.due() is None
    assert silence.heard(LEAST_S + 2)
    assert not silence.heard(LEAST_S + 3)


def test_where_the_agent_asks_silence_counts_from_the_first_question_that_was_not_answered():
    silence = Silence()
    silence.opened(0.0, listens=False)

    assert silence.due() is None  # once an hour is often enough
    silence.asked(3600.0)
    silence.asked(3601.0)
    assert silence.due() == 3600.0 + LEAST_S
    silence.heard(3602.0)
    assert silence.due() is None


def test_a_machine_that_pauses_is_told_of_ever_more_rarely():
    silence = listening()
    told, now_s = 0, 0.0

    for _ in range(144):  # a day, speaking each ten minutes
        now_s += 600.0
        told += silence.tick(now_s)
        silence.heard(now_s)

    assert told == 1
    assert silence.due() == now_s + 1200.0


def test_a_pause_is_never_waited_for_longer_than_a_day():
    silence = listening()
    silence.tick(LEAST_S)
    silence.heard(30 * 86_400.0)

    assert silence.due() == 30 * 86_400.0 + MOST_S


def test_a_port_that_was_silent_before_it_was_lost_is_told_when_it_is_heard():
    silence = listening()
    silence.tick(LEAST_S)

    silence.opened(1000.0, listens=True)

    assert silence.is_silent
    assert silence.heard(1001.0)
