import json

import pytest

from agent.core.answers import (
    AlarmNow,
    Alarms,
    BufferReport,
    LaneDepth,
    ReadingAnswer,
    alarms_lines,
    alarms_of,
    buffer_lines,
)
from agent.core.export import Format, batched, event_line, head, reading_line
from agent.core.moment import parse_moment
from agent.rules.phase import Phase, RuleState, pack
from agent.rules.rule import read_rules
from agent.wire.codec import decode
from agent.wire.document import parse_document
from agent.wire.messages import Clock, DeviceEvent

NOW = 1_800_000_000_000_000  # 2027-01-15T08:00:00Z
RULES = read_rules(
    parse_document(
        '[[rule]]\nname = "too-warm"\nseries = "board.*"\nabove = -5.0\nseverity = "critical"\nticket = true'
    )
)


def stored(phase: Phase, first_bad_us: int) -> str:
    return json.dumps(pack(RuleState(phase, first_bad_us)))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90s", NOW - 90_000_000),
        ("2h", NOW - 7_200_000_000),
        ("1.5 d", NOW - 129_600_000_000),
        ("2027-01-15T08:00:00Z", NOW),
        ("2027-01-15T09:00:00.25+01:00", NOW + 250_000),
        ("2027-01-15", NOW - 8 * 3_600_000_000),
        ("99999999w", 0),
    ],
)
def test_a_moment_is_read_as_people_write_it(text: str, moment: int):
    assert parse_moment(text, NOW) == moment


def test_what_is_no_moment_is_told_with_what_would_be_one():
    with pytest.raises(ValueError, match="'yesterday' is no moment; write 2h"):
        parse_moment("yesterday", NOW)


def test_alarms_are_the_rules_that_are_not_content_the_oldest_first():
    values = {
        "rule/too-warm\nboard.b": stored(Phase.PENDING, NOW),
        "rule/too-warm\nboard.a": stored(Phase.ACTIVE, NOW - 5_000_000),
        "rule/too-warm\nboard.c": stored(Phase.OK, 0),
        "rule/too-warm\nboard.d": "{}",
    }

    found = alarms_of(values, RULES)

    assert [(it.series, it.phase, it.severity, it.ticket) for it in found] == [
        ("board.a", "active", "critical", True),
        ("board.b", "pending", "critical", True),
    ]


def test_a_state_whose_rule_is_gone_is_told_without_what_only_the_rule_knows():
    (found,) = alarms_of({"rule/gone\nboard.a": stored(Phase.ACTIVE, NOW)}, RULES)

    assert (found.rule, found.severity, found.condition) == ("gone", "", "")


def test_alarms_and_buffer_are_shown_to_people():
    alarm = AlarmNow("too-warm", "board.a", "active", "critical", "above -5.0", True, NOW - 600_000_000, None)  # noqa: FBT003
    lane = LaneDepth("telemetry", 3, 4096, 180, NOW, "2027-01-15T08:00:00.000Z", 2.0, 40)
    report = BufferReport(1, False, "/s/buffer.db", 1_500_000, (lane,), "")  # noqa: FBT003

    assert list(alarms_lines(Alarms(1, True, NOW, None, (alarm,)))) == [  # noqa: FBT003
        "ACTIVE    critical  too-warm on board.a (above -5.0), for 10 min"
    ]
    assert list(buffer_lines(report))[1:] == [
        "/s/buffer.db  1.5 MB",
        "telemetry  180 readings wait (4 kB), the oldest since 2027-01-15T08:00:00.000Z; 40 acked rows are kept",
    ]


@pytest.mark.parametrize(
    ("value", "csv", "ndjson"),
    [
        (-18.25, "-18.25", "-18.25"),
        (3, "3", "3"),
        (None, "", "null"),
        ('open, "wide"', '"open, ""wide"""', r'"open, \"wide\""'),
    ],
)
def test_a_reading_is_a_line_of_csv_and_of_ndjson(value: float | str | None, csv: str, ndjson: str):
    reading = ReadingAnswer("board.temp", "Cel", NOW, "2027-01-15T08:00:00.000Z", value)

    assert reading_line(Format.CSV, reading, Clock.SYNCED) == (
        f"2027-01-15T08:00:00.000Z,{NOW},board.temp,{csv},Cel,synced\r\n"
    )
    assert reading_line(Format.NDJSON, reading, Clock.SYNCED) == (
        f'{{"t":"2027-01-15T08:00:00.000Z","t_us":{NOW},"series":"board.temp","v":{ndjson},"unit":"Cel","clock":"synced"}}\n'
    )


def test_an_event_in_ndjson_is_the_contracts_with_its_date_before_it():
    event = DeviceEvent(7, NOW, "boot", 1, Clock.FREE, "port.lost", "board", "The port is gone.")
    line = event_line(Format.NDJSON, event)

    assert decode(DeviceEvent, line.encode()) == event
    assert json.loads(line)["t"] == "2027-01-15T08:00:00.000Z"
    assert event_line(Format.CSV, event).endswith(",port.lost,board,The port is gone.\r\n")


def test_ndjson_has_no_head_and_lines_are_joined_to_large_pieces():
    assert head(Format.NDJSON, ("t",)) == ""
    assert head(Format.CSV, ("t", "v")) == "t,v\r\n"
    assert list(batched(iter(["ab", "cd", "ef"]), 4)) == ["abcd", "ef"]
