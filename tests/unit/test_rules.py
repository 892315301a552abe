"""Rules: when an alarm is raised, and when it clears."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.rules.engine import NEXT, Change, Judge, Phase
from agent.rules.phase import pack, unpack
from agent.rules.rule import Place, Rule, read_rules
from agent.wire.document import DocumentError, parse_document
from agent.wire.messages import AlarmState, Severity, Value

S = 1_000_000
FREEZER = """
[[rule]]
name = "too-warm"
series = "board.temp"
above = -5.0
hysteresis = 1.0
hold_s = 2
clear_hold_s = 2
severity = "critical"
ticket = true
"""


def _rule(text: str = FREEZER) -> Rule:
    (rule,) = read_rules(parse_document(text))
    return rule


def _changes(judge: Judge, rows: list[tuple[int, Value]], series: str = "board.temp") -> list[Change]:
    return [change for t_us, value in rows for change in judge.feed(series, t_us, value)]


def _feed(rule: Rule, values: list[tuple[float, Value]], series: str = "board.temp") -> list[tuple[str, float]]:
    changes = _changes(Judge([rule]), [(int(t * S), v) for t, v in values], series)
    return [(str(change.state), change.t_us / S) for change in changes]


def test_an_alarm_is_raised_when_the_condition_has_held():
    assert _feed(_rule(), [(0, -18), (1, -4), (2, -4), (3, -4), (4, -4)]) == [("active", 3)]


def test_a_spike_shorter_than_the_hold_raises_nothing():
    assert _feed(_rule(), [(0, -18), (1, -4), (2, -4), (2.5, -18), (4, -4), (5, -4), (5.5, -18)]) == []


def test_an_alarm_clears_after_the_clear_hold():
    warm = [(t, -4.0) for t in range(4)]

    assert _feed(_rule(), [*warm, (5, -18), (6, -18), (7, -18), (8, -18)]) == [
        ("active", 2),
        ("clearing", 5),
        ("cleared", 7),
    ]


def test_within_the_hysteresis_band_nothing_flips():
    assert _feed(_rule(), [(0, -4), (2, -4), (3, -5.5), (6, -5.5), (9, -5.9)]) == [("active", 2)]


def test_a_relapse_while_clearing_keeps_the_first_bad_reading():
    changes = _changes(Judge([_rule()]), [(t * S, v) for t, v in [(1, -4.0), (3, -4.0), (4, -18.0), (5, -4.0)]])

    assert [str(change.state) for change in changes] == ["active", "clearing", "active"]
    assert {change.first_bad_us for change in changes} == {1 * S}


def test_a_missing_value_is_neither_good_nor_bad():
    assert _feed(_rule(), [(0, -4), (1, None), (2, "error"), (3, -4)]) == [("active", 3)]
    assert _feed(_rule(), [(0, -4), (2, -4), (3, None), (60, None)]) == [("active", 2)]


def test_a_late_reading_never_moves_the_state_back():
    judge = Judge([_rule()])
    judge.feed("board.temp", 10 * S, -4.0)
    states = judge.states()

    assert not judge.feed("board.temp", 5 * S, -18.0)
    assert judge.states() == states


def test_the_default_hold_is_a_minute_and_three_readings_whichever_is_longer():
    rule = _rule('[[rule]]\nname = "r"\nseries = "a.b"\nabove = 1')

    assert _feed(rule, [(0, 2), (70, 2), (80, 2)], "a.b") == [("active", 80)]
    assert _feed(rule, [(t, 2) for t in range(62)], "a.b") == [("active", 60)]


@pytest.mark.parametrize(
    ("limits", "bad", "good"),
    [
        ("above = 5", 5.1, 4.7),
        ("below = 5", 4.9, 5.3),
        ("above = 5\nbelow = 1", 0.5, 2),
        ("above = 5\nbelow = 1", 6, 2),
    ],
)
def test_each_condition_tells_bad_from_good(limits: str, bad: float, good: float):
    rule = _rule(f'[[rule]]\nname = "r"\nseries = "a.b"\n{limits}\nhold_s = 0\nclear_hold_s = 0')

    assert _feed(rule, [(0, good), (1, bad), (2, good)], "a.b") == [("active", 1), ("cleared", 2)]


def test_a_pattern_judges_each_series_by_itself():
    rule = _rule('[[rule]]\nname = "r"\nseries = "*.temp"\nabove = 1\nhold_s = 5')
    judge = Judge([rule])
    raised: list[Change] = []
    for t, series in itertools.product(range(7), ["a.temp", "b.temp", "a.door"]):
        raised += judge.feed(series, t * S, 2.0)

    assert [(change.series, change.t_us) for change in raised] == [("a.temp", 5 * S), ("b.temp", 5 * S)]


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([-18.0, -5.5, -4.0, None])), max_size=60), st.data())
def test_any_split_of_the_readings_gives_the_same_changes(steps: list[tuple[int, float | None]], data: st.DataObject):
    times = itertools.accumulate(step for step, _ in steps)
    rows = [(t * S, value) for t, (_, value) in zip(times, steps, strict=True)]
    rule = _rule()
    whole = _changes(Judge([rule]), rows)
    judge = Judge([rule])
    parts: list[Change] = []
    while rows:
        cut = data.draw(st.integers(1, len(rows)))
        parts += _changes(judge, rows[:cut])
        judge = Judge([rule], {key: unpack(json.loads(json.dumps(pack(it)))) for key, it in judge.states().items()})
        rows = rows[cut:]

    assert parts == whole


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([-18.0, -5.5, -4.0])), max_size=80))
def test_changes_alternate_and_respect_both_holds(steps: list[tuple[int, float]]):
    times = list(itertools.accumulate(step for step, _ in steps))
    rows = [(t * S, value) for t, (_, value) in zip(times, steps, strict=True)]
    rule = _rule()

    changes = _changes(Judge([rule]), rows)

    allowed = {
        None: {"active"},
        "active": {"clearing", "cleared"},
        "clearing": {"active", "cleared"},
        "cleared": {"active"},
    }
    before: str | None = None
    for change in changes:
        assert change.state in allowed[before]
        if change.state is AlarmState.ACTIVE and before != "clearing":
            assert change.t_us - change.first_bad_us >= rule.hold_s * S
        before = str(change.state)


def test_every_phase_can_be_left():
    assert {phase for phase, _ in NEXT} == set(Phase)
    assert set(NEXT.values()) == set(Phase)


def test_a_rule_is_read_whole():
    rule = _rule()

    assert (rule.name, rule.severity, rule.ticket, rule.at) == ("too-warm", Severity.CRITICAL, True, Place.EDGE)
    assert str(rule.condition) == "above -5"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "r"\nseries = "a"', "rule[0].above: missing; a rule has one of above, below, rate_above,"),
        ('name = "r"\nseries = "a"\nabove = 1\nbelow = 2', "rule[0].below: 2 is not less than above = 1"),
        ('name = "r"\nseries = "a"\nabove = 1\nhold = 2', "rule[0].hold: unknown key; did you mean 'hold_s'?"),
        ('name = "r"\nseries = "a"\nabove = "x"', "rule[0].above: expected a number, got a string"),
        ('name = "r"\nseries = "a"\nabove = 1\nseverity = "bad"', "rule[0].severity: 'bad' is none of"),
    ],
)
def test_a_mistake_in_a_rule_names_its_key(text: str, message: str):
    with pytest.raises(DocumentError) as caught:
        _rule(f"[[rule]]\n{text}")

    assert message in str(caught.value)


def test_two_rules_of_one_name_are_refused():
    with pytest.raises(DocumentError, match="names are unique"):
        read_rules(parse_document(FREEZER + FREEZER))
