"""The conditions beyond limits: rate, step, stuck, changed, equals, absent, and all, any, not."""

import pytest

from agent.rules.engine import Judge, RuleState, gone
from agent.rules.rule import Rule, read_rules
from agent.wire.document import DocumentError, parse_document
from agent.wire.messages import Value

S = 1_000_000
ONCE = "hold_s = 0\nclear_hold_s = 0"
COLD_ROOM = """
[[rule]]
name = "door-left-open"
hold_s = 10
clear_hold_s = 0
all = [
  { series = "room.door", equals = 1 },
  { any = [{ series = "room.top", above = 5 }, { series = "room.low", above = 5 }] },
  { not = { series = "room.defrost", equals = 1 } },
]
"""


def one(keys: str, series: str = "a.b") -> Rule:
    (rule,) = read_rules(parse_document(f'[[rule]]\nname = "r"\nseries = "{series}"\n{keys}'))
    return rule


def whole(text: str) -> Rule:
    (rule,) = read_rules(parse_document(text))
    return rule


def feed(judge: Judge, rows: list[tuple[float, Value]], series: str = "a.b") -> list[tuple[str, float]]:
    changes = [change for t, v in rows for change in judge.feed(series, int(t * S), v)]
    return [(str(change.state), change.t_us / S) for change in changes]


def tick(judge: Judge, t: float) -> list[tuple[str, float]]:
    return [(str(change.state), change.t_us / S) for change in judge.tick(int(t * S))]


# Rate of change.


def test_a_rate_is_judged_over_its_window():
    judge = Judge([one(f"rate_above = 0.5\nwindow_s = 10\n{ONCE}")])

    slow = [(t, 0.4 * t) for t in range(12)]
    assert feed(judge, slow) == []
    assert feed(judge, [(t, 4.8 + (t - 12) * 2) for t in range(12, 16)]) == [("active", 13)]


def test_a_fall_is_a_rate_below():
    judge = Judge([one(f"rate_below = -1\nwindow_s = 2\n{ONCE}")])

    assert feed(judge, [(0, 10), (1, 10), (2, 10), (3, 4)]) == [("active", 3)]


def test_a_rate_is_unknown_until_its_window_is_full_and_after_a_silence():
    judge = Judge([one(f"rate_above = 1\nwindow_s = 10\n{ONCE}")])

    assert feed(judge, [(0, 0), (5, 100)]) == []
    assert feed(judge, [(10, 100)]) == [("active", 10)]
    assert feed(judge, [(100, 100), (105, 500)]) == []


def test_a_rate_keeps_no_more_of_its_window_than_it_needs():
    judge = Judge([one("rate_above = 1000\nwindow_s = 60")])

    feed(judge, [(t / 100, float(t)) for t in range(20_000)])

    (state,) = judge.states().values()
    assert len(state.memory[1]) < 20


# Steps of a counter.


def test_a_step_is_judged_from_reading_to_reading():
    judge = Judge([one("step_above = 5\nclear_hold_s = 0")])

    assert feed(judge, [(0, 1000), (1, 1005), (2, 1011), (3, 1012)]) == [("active", 2), ("cleared", 3)]


def test_a_counter_that_rolls_over_has_not_stepped_back():
    judge = Judge([one("step_above = 5\nrollover = 65536\nclear_hold_s = 0")])

    assert feed(judge, [(0, 65_533), (1, 1)]) == []
    assert feed(judge, [(2, 4), (3, 10)]) == [("active", 3)]


def test_a_counter_that_was_reset_has_counted_from_zero():
    judge = Judge([one("step_above = 5\nrollover = 65536\nclear_hold_s = 0")])

    assert feed(judge, [(0, 30_000), (1, 4)]) == []
    assert feed(judge, [(2, 9), (3, 6)]) == [("active", 3)]


def test_steps_add_up_over_a_window_also_across_a_reset():
    judge = Judge([one(f"step_above = 10\nwindow_s = 60\n{ONCE}")])

    assert feed(judge, [(0, 100), (10, 104), (20, 0), (30, 4), (40, 8)]) == [("active", 40)]
    assert feed(judge, [(t, 8) for t in range(50, 130, 10)]) == [("cleared", 70)]


def test_too_few_steps_are_known_once_the_window_is_full():
    judge = Judge([one(f"step_below = 1\nwindow_s = 60\n{ONCE}")])

    assert feed(judge, [(t, 7) for t in range(0, 70, 10)]) == [("active", 60)]


# Stuck, changed, equals.


def test_a_value_that_does_not_move_is_stuck_and_the_alarm_starts_where_it_stopped_moving():
    judge = Judge([one("stuck_s = 30\nclear_hold_s = 0")])
    rows: list[tuple[float, Value]] = [(0, 1.0), (5, 2.0), *((t, 2.0) for t in range(10, 50, 5)), (50, 2.1)]

    changes = [change for t, v in rows for change in judge.feed("a.b", int(t * S), v)]

    assert [(str(it.state), it.t_us // S, it.first_bad_us // S) for it in changes] == [
        ("active", 35, 5),
        ("cleared", 50, 5),
    ]


def test_a_tolerance_is_how_much_a_stuck_value_may_wander():
    rows: list[tuple[float, Value]] = [(t, 2.0 + t % 2 / 10) for t in range(40)]

    assert feed(Judge([one("stuck_s = 30\ntolerance = 0.15")]), rows) == [("active", 30)]
    assert feed(Judge([one("stuck_s = 30")]), rows) == []


def test_a_silence_neither_makes_a_value_stuck_nor_frees_it():
    judge = Judge([one("stuck_s = 30\nclear_hold_s = 0")])

    assert feed(judge, [(0, 2), (40, 2), (80, 2)]) == []
    assert feed(judge, [(t, 2) for t in range(90, 120, 10)]) == [("active", 110)]
    assert feed(judge, [(200, 2), (210, 2)]) == []
    assert feed(judge, [(220, 3)]) == [("cleared", 220)]


def test_a_change_is_an_alarm_at_once():
    judge = Judge([one("changed = true\nclear_hold_s = 0")])

    assert feed(judge, [(0, "v1"), (1, "v1"), (2, "v2"), (3, "v2")]) == [("active", 2), ("cleared", 3)]


@pytest.mark.parametrize(("wanted", "bad", "good"), [("3", 3.0, 2), ('"fault"', "fault", "run"), ("true", 1, 0)])
def test_equality_is_of_value_and_kind(wanted: str, bad: Value, good: Value):
    judge = Judge([one(f"equals = {wanted}\n{ONCE}")])

    assert feed(judge, [(0, good), (1, bad), (2, good)]) == [("active", 1), ("cleared", 2)]


# Absent data.


def test_silence_raises_an_alarm_that_is_dated_by_event_time_however_late_it_is_noticed():
    for noticed in (31.5, 500):
        judge = Judge([one("absent_s = 30\nclear_hold_s = 5")])
        feed(judge, [(0, 1), (1, 1)])

        assert tick(judge, 31) == []
        assert tick(judge, noticed) == [("active", 31)]
        assert tick(judge, noticed + 100) == []


def test_the_expected_interval_makes_three_of_it_too_long():
    assert str(one("expected_s = 15").condition) == "no data for 45 s"


def test_data_that_comes_back_clears_the_alarm_after_the_clear_hold():
    judge = Judge([one("absent_s = 30\nclear_hold_s = 5")])

    assert feed(judge, [(0, 1), (100, 1), (104, 1), (105, 1)]) == [("active", 30), ("clearing", 100), ("cleared", 105)]


def test_a_reading_without_a_value_is_no_data():
    judge = Judge([one("absent_s = 30")])
    feed(judge, [(0, 1), (10, None), (20, None)])

    assert feed(judge, [(31, None)]) == [("active", 30)]


def test_a_series_that_never_came_is_absent_from_the_first_tick_on():
    judge = Judge([one("absent_s = 30")])

    assert tick(judge, 1000) == []
    assert tick(judge, 1031) == [("active", 1030)]


def test_the_first_bad_moment_of_silence_is_the_last_reading():
    judge = Judge([one("absent_s = 30")])
    judge.feed("a.b", 7 * S, 1)

    (change,) = judge.tick(60 * S)

    assert (change.first_bad_us, change.value) == (7 * S, None)


def test_whoever_begins_to_listen_counts_silence_from_there():
    judge = Judge([one("absent_s = 30")])
    feed(judge, [(0, 1)])

    restarted = Judge([one("absent_s = 30")], judge.states())
    restarted.listen(1000 * S)

    assert tick(restarted, 1029) == []
    assert tick(restarted, 1031) == [("active", 1030)]


def test_a_reading_that_is_known_to_wait_elsewhere_ends_a_silence():
    judge = Judge([one("absent_s = 30")])
    feed(judge, [(0, 1)])

    judge.hear("a.b", 100 * S, 1)

    assert tick(judge, 110) == []
    assert feed(judge, [(50, 1), (100, 1)]) == []


# The clock.


def test_a_clock_that_ran_ahead_silences_no_rule():
    judge = Judge([one(f"above = 5\n{ONCE}")])
    judge.listen(9_000 * S)
    feed(judge, [(10_000, 1)])

    judge.reset_clock(-9_500 * S, 501 * S)

    assert feed(judge, [(502, 9)]) == [("active", 502)]


def test_a_clock_that_was_behind_completes_no_hold():
    judge = Judge([one("above = 5\nhold_s = 60")])
    judge.listen(0)
    feed(judge, [(10, 9)])

    judge.reset_clock(10_000 * S, 10_011 * S)

    assert feed(judge, [(10_012, 9), (10_069, 9)]) == []
    assert feed(judge, [(10_070, 9)]) == [("active", 10_070)]


# Several series.


def test_a_condition_over_several_series_is_judged_when_time_passes_on():
    judge = Judge([whole(COLD_ROOM)])
    alarming: list[tuple[str, Value]] = [("door", 1), ("top", 8.0), ("low", 2.0), ("defrost", 0)]
    told = [change for t in range(20) for series, v in alarming for change in judge.feed(f"room.{series}", t * S, v)]
    assert [(str(it.state), it.t_us // S, it.first_bad_us) for it in told] == [("active", 10, 0)]

    judge.feed("room.defrost", 20 * S, 1)
    assert tick(judge, 20) == []
    assert tick(judge, 20.1) == [("cleared", 20)]


def test_a_part_that_is_unknown_leaves_the_whole_unknown():
    text = f'[[rule]]\nname = "r"\n{ONCE}\nall = [{{ series = "a", above = 1 }}, {{ series = "b", above = 1 }}]'
    judge = Judge([whole(text)])
    feed(judge, [(0, 5)], "a")
    assert tick(judge, 10) == []

    feed(judge, [(11, 5)], "b")
    assert tick(judge, 12) == [("active", 11)]

    feed(judge, [(13, None)], "b")
    assert tick(judge, 14) == []
    feed(judge, [(15, 0)], "a")
    assert tick(judge, 16) == [("cleared", 15)]


def test_parts_without_a_series_judge_that_of_the_rule_and_a_pattern_each_by_itself():
    judge = Judge([one(f"{ONCE}\nall = [{{ above = 5 }}, {{ not = {{ above = 10 }} }}]", "*.temp")])

    assert feed(judge, [(0, 7), (1, 12), (2, 12)], "x.temp") == [("active", 0), ("cleared", 1)]
    assert feed(judge, [(0, 7), (1, 7)], "y.temp") == [("active", 0)]


def test_silence_may_be_part_of_several_and_a_hold_ends_without_readings():
    text = """
[[rule]]
name = "r"
hold_s = 20
clear_hold_s = 0
all = [{ series = "pump.on", equals = 1 }, { series = "pump.flow", absent_s = 10 }]
"""
    judge = Judge([whole(text)])
    feed(judge, [(0, 3.5)], "pump.flow")
    feed(judge, [(1, 1)], "pump.on")

    assert tick(judge, 29) == []
    assert tick(judge, 31) == [("active", 30)]
    assert feed(judge, [(40, 3.5)], "pump.flow") == []
    assert tick(judge, 41) == [("cleared", 40)]


def test_the_alarm_of_several_is_about_the_first_series_unless_the_rule_says_otherwise():
    assert whole(COLD_ROOM).series == "room.door"
    assert whole(COLD_ROOM.replace("hold_s = 10", 'hold_s = 10\nseries = "room.low"')).series == "room.low"


def test_a_condition_over_several_reads_as_a_sentence():
    assert str(whole(COLD_ROOM).condition) == (
        "room.door equals 1 and (room.top above 5 or room.low above 5) and not room.defrost equals 1"
    )


# Rules that go.


def test_what_a_rule_that_is_gone_has_left_is_told():
    states = {("old", "a.b"): RuleState(), ("r", "a.b"): RuleState(), ("r", "a.c"): RuleState()}

    assert set(gone([one("above = 1")], states)) == {("old", "a.b"), ("r", "a.c")}


def test_what_another_condition_remembered_is_not_believed():
    judge = Judge([one("stuck_s = 30")])
    feed(judge, [(t, 2) for t in range(29)])

    changed = Judge([one("changed = true")], judge.states())

    assert feed(changed, [(40, 3)]) == []


# Reading.


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("above = 1\nequals = 1", "rule[0].equals: stands beside 'above'; a rule has one condition"),
        ("above = 1\nwindow_s = 5", "rule[0].window_s: goes with rate_above and step_above, not with 'above'"),
        ("above = 1\nrollover = 5", "rule[0].rollover: goes with step_above, not with 'above'"),
        ("absent_s = 1\nhold_s = 5", "rule[0].hold_s: absent, absent_s and expected_s say how long already"),
        ("absent_s = 9\nexpected_s = 3", "rule[0].expected_s: stands beside 'absent_s'"),
        ("stuck_s = 9\nhold_samples = 2", "rule[0].hold_samples: stuck_s says how long already"),
        ("changed = false", "rule[0].changed: false says nothing"),
        ("step_above = 9\nhold_s = 1", "rule[0].hold_s: a step is one moment"),
        ("rate_abov = 9", "is 'rate_abov' meant to be it?"),
        ("rate_above = 1\nrate_below = 2", "rule[0].rate_below: 2 is not less than rate_above = 1"),
        ("equals = [1]", "rule[0].equals: expected a number, a string or a flag, got an array"),
        ("all = []", "rule[0].all: empty"),
        ("all = [{ above = 1, hold_s = 3 }]", "rule[0].all[0].hold_s: unknown key"),
        ("all = [{ series = 'x.*', above = 1 }]", "rule[0].all[0].series: 'x.*' is a pattern"),
        ("any = [{ series = 'x.y', above = 1 }]", "rule[0].series: 'a.b' is none of the condition's series, x.y"),
        ("not = { above = 1, below = 2 }", "rule[0].not.below: 2 is not less than above = 1"),
        ("all = [{ absent_s = 1 }]\nhold_samples = 2", "rule[0].hold_samples: silence brings no samples"),
        (
            "not = { not = { not = { not = { not = { above = 1 } } } } }",
            "rule[0].not.not.not.not.not: more than 4 of all, any and not in each other",
        ),
    ],
)
def test_a_mistake_in_a_condition_names_its_key_and_its_neighbour(keys: str, message: str):
    with pytest.raises(DocumentError) as caught:
        one(keys)

    assert message in str(caught.value)


def test_a_part_without_a_series_needs_the_rules():
    with pytest.raises(DocumentError, match=r"rule\[0\]\.all\[1\]\.series: missing; name it here, or once"):
        whole('[[rule]]\nname = "r"\nall = [{ series = "a", above = 1 }, { above = 2 }]')


def test_a_rule_has_a_bounded_number_of_parts():
    parts = ", ".join(f"{{ above = {i} }}" for i in range(33))

    with pytest.raises(DocumentError, match="more than 32 conditions in one rule"):
        one(f"any = [{parts}]")
