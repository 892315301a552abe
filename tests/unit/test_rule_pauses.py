"""What a rule makes of a pause, where the config says how often its source reads."""

import pytest

from agent.core.config import parse_config
from agent.protocols import find
from agent.rules.engine import Judge
from agent.rules.interval import Interval, read_intervals
from agent.rules.rule import Rule, read_rules
from agent.wire.document import DocumentError, parse_document
from agent.wire.messages import Value

S = 1_000_000
SPEAKS = '[[source]]\nname = "a"\nprotocol = "lines"\nexpected_s = 10\n'
POLLED = '[[source]]\nname = "a"\nprotocol = "modbus"\n[source.modbus]\nevery_s = 10\n'
WARM = '[[rule]]\nname = "warm"\nseries = "a.t"\nabove = 5\nhold_s = 60\nclear_hold_s = 60\n'
BOTH = (
    '[[rule]]\nname = "both"\nseries = "a.t"\nhold_s = 0\nclear_hold_s = 0\n'
    'all = [{ above = 5 }, { series = "a.door", equals = 1 }]\n'
)


def rules(text: str) -> tuple[Rule, ...]:
    return read_rules(parse_document(text))


def told(judge: Judge, rows: list[tuple[float, str, Value]]) -> list[tuple[str, float, float, Value]]:
    changes = [change for t, series, v in rows for change in judge.feed(series, int(t * S), v)]
    return [(str(it.state), it.t_us / S, it.first_bad_us / S, it.value) for it in changes]


def warm(*times: float, value: float = 9.0) -> list[tuple[float, str, Value]]:
    return [(t, "a.t", value) for t in times]


@pytest.mark.parametrize("source", [SPEAKS, POLLED])
def test_two_bad_readings_an_hour_apart_complete_no_hold(source: str):
    judge = Judge(rules(source + WARM))

    assert told(judge, warm(0, 3600)) == []
    assert told(judge, warm(3620, 3640, 3660)) == [("active", 3660, 3600, 9.0)]  # the hold began anew after the pause


def test_a_pause_that_is_none_yet_breaks_nothing():
    judge = Judge(rules(SPEAKS + WARM))

    assert told(judge, warm(0, 30, 60)) == [("active", 60, 0, 9.0)]


def test_a_clear_hold_is_not_completed_over_a_pause_either():
    judge = Judge(rules(SPEAKS + WARM))
    told(judge, warm(0, 30, 60))

    assert [state for state, *_ in told(judge, warm(70, 3600, value=1.0))] == ["clearing"]
    assert told(judge, warm(3630, 3660, value=1.0)) == [("cleared", 3660, 0, 1.0)]


def test_where_nothing_says_how_often_the_source_reads_a_hold_ends_on_readings_alone():
    judge = Judge(rules(WARM))

    assert told(judge, warm(0, 3600)) == [("active", 3600, 0, 9.0)]


def test_what_is_thinned_out_on_the_device_is_no_pause_in_the_fleet():
    sampled = SPEAKS + '[[source.sampling]]\nseries = "t"\nkeep = "change"\n'

    assert [rule.pause_us for rule in rules(sampled + WARM)] == [30 * S]
    assert [rule.pause_us for rule in rules(sampled + WARM + 'at = "fleet"')] == [0]
    assert [rule.pause_us for rule in rules(SPEAKS + WARM + 'at = "fleet"')] == [30 * S]


def test_the_longest_interval_of_what_is_polled_counts():
    text = '[[source]]\nname = "a"\nprotocol = "modbus"\n[source.modbus]\nevery_s = 1\n'
    text += "slaves = [{ id = 1, every_s = 30 }, { id = 2 }]\n"
    unsaid = '[[source]]\nname = "b"\nprotocol = "modbus"\n[source.modbus]\nslaves = [{ id = 1, every_s = 30 }]\n'

    found = read_intervals(parse_document(text + unsaid))

    assert found == {"a": Interval(30 * S, 30 * S), "b": Interval(0, 0)}


@pytest.mark.parametrize("source", [SPEAKS, POLLED])
def test_silence_is_told_by_what_the_source_says(source: str):
    (rule,) = rules(source + '[[rule]]\nname = "silent"\nseries = "a.t"\nabsent = true\n')

    assert str(rule.condition) == "no data for 30 s"
    assert rule.pause_us == 0


def test_silence_may_be_part_of_several():
    text = '[[rule]]\nname = "r"\nseries = "a.t"\nany = [{ absent = true }, { series = "a.u", above = 1 }]\n'

    assert "no data for 30 s" in str(rules(SPEAKS + text)[0].condition)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("absent = true", "nothing says how often 'b.t' is read"),
        ("absent = false", "false says nothing"),
        ("absent = true\nabsent_s = 3", "stands beside 'absent_s'"),
    ],
)
def test_an_error_says_what_is_missing(keys: str, problem: str):
    with pytest.raises(DocumentError, match=problem):
        rules(SPEAKS + f'[[rule]]\nname = "r"\nseries = "b.t"\n{keys}\n')


def test_an_alarm_over_several_series_carries_the_newest_value_of_its_own():
    judge = Judge(rules(BOTH))

    found = told(judge, [(1, "a.t", 7), (2, "a.door", 1), (3, "a.t", 8), (4, "a.door", 0), (5, "a.door", 0)])

    assert found == [("active", 2, 2, 7), ("cleared", 4, 2, 8)]


def test_a_source_says_in_the_config_how_often_it_speaks():
    text = SPEAKS + 'port = "/dev/ttyUSB0"\n[source.lines]\nformat = "csv"\ncolumns = [{ name = "t", unit = "Cel" }]\n'

    assert parse_config(text + WARM, find).rules[0].pause_us == 30 * S
    with pytest.raises(DocumentError, match="expected_s"):
        parse_config(text.replace("expected_s = 10", "expected_s = 0"), find)
