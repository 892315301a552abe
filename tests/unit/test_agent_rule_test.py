"""`fleet-agent rule test`: rules on recorded readings, in each form that they are recorded in."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.cli.rule import command
from agent.core.recorded import Recorded, Unreadable, read_recording
from agent.errors import Misconfigured

S = 1_000_000
T0_US = 1_780_000_000 * S
RULES = """
[[rule]]
name = "too-warm"
series = "board.temp"
above = -5.0
hold_s = 2
clear_hold_s = 2
severity = "critical"

[[rule]]
name = "silent"
series = "board.temp"
absent_s = 60
"""
TEMPS = [-18.0, -4.0, -4.0, -4.0, -18.0, -18.0, -18.0]


def ndjson(*, named: bool = True) -> str:
    series = {"series": "board.temp"} if named else {}
    rows = [{"t_us": T0_US + i * S, "t": "…", "v": v, **series} for i, v in enumerate(TEMPS)]
    return "".join(json.dumps(row) + "\n" for row in rows)


def run(tmp_path: Path, recording: str, *options: str, rules: str = RULES) -> tuple[list[str], str]:
    (tmp_path / "rules.toml").write_text(rules)
    (tmp_path / "recording").write_text(recording)
    args = ["test", str(tmp_path / "rules.toml"), "--replay", str(tmp_path / "recording"), *options]
    result = CliRunner().invoke(command, args, catch_exceptions=False, standalone_mode=False)
    return result.stdout.splitlines(), result.stderr


def test_it_shows_what_would_have_fired_and_when(tmp_path: Path):
    lines, summary = run(tmp_path, ndjson())

    assert lines == [
        (
            "2026-05-28T20:26:43.000Z  active    critical  too-warm  board.temp is -4.0 "
            "(above -5, bad since 2026-05-28T20:26:41.000Z)"
        ),
        (
            "2026-05-28T20:26:44.000Z  clearing  critical  too-warm  board.temp is -18.0 "
            "(above -5, bad since 2026-05-28T20:26:41.000Z)"
        ),
        (
            "2026-05-28T20:26:46.000Z  cleared   critical  too-warm  board.temp is -18.0 "
            "(above -5, bad since 2026-05-28T20:26:41.000Z)"
        ),
    ]
    assert summary.startswith("7 readings of 1 series, 2026-05-28T20:26:40.000Z … 2026-05-28T20:26:46.000Z: 3 changes.")


def test_json_says_the_same_for_programs(tmp_path: Path):
    lines, _ = run(tmp_path, ndjson(), "--json")

    first = json.loads(lines[0])
    assert (first["state"], first["rule"], first["t_us"], first["first_bad_us"]) == (
        "active",
        "too-warm",
        T0_US + 3 * S,
        T0_US + S,
    )


def test_readings_of_one_series_without_a_name_are_named_by_an_option(tmp_path: Path):
    assert run(tmp_path, ndjson(named=False), "--series", "board.temp")[0] == run(tmp_path, ndjson())[0]

    with pytest.raises(Misconfigured, match="line 1 names no series") as caught:
        run(tmp_path, ndjson(named=False))
    assert "--series" in caught.value.hint


@pytest.mark.parametrize(
    "form",
    [
        "t_us,t,v\n" + "".join(f"{T0_US + i * S},…,{v}\n" for i, v in enumerate(TEMPS)),
        "t,t_us,series,value,unit,clock\r\n"
        + "".join(f"…,{T0_US + i * S},board.temp,{v},Cel,synced\r\n" for i, v in reversed(list(enumerate(TEMPS)))),
    ],
)
def test_csv_of_fleet_and_agent_says_the_same(tmp_path: Path, form: str):
    assert run(tmp_path, form, "--series", "board.temp")[0] == run(tmp_path, ndjson())[0]


def test_a_rule_that_heard_nothing_is_named(tmp_path: Path):
    rules = '[[rule]]\nname = "r"\nseries = "bord.temp"\nabove = 1'

    assert "The rule r had nothing to judge of bord.temp." in run(tmp_path, ndjson(), rules=rules)[1]


def test_silence_between_readings_is_seen(tmp_path: Path):
    rows = [{"t_us": T0_US + s * S, "series": "board.temp", "v": -18.0} for s in (0, 30, 300)]

    lines, _ = run(tmp_path, "".join(json.dumps(row) + "\n" for row in rows))

    assert [line.split()[:4] for line in lines] == [
        ["2026-05-28T20:28:10.000Z", "active", "major", "silent"],
        ["2026-05-28T20:31:40.000Z", "clearing", "major", "silent"],
    ]


def test_values_of_a_csv_are_numbers_texts_and_nothing():
    text = 't_us,v\n1,4\n2,4.5\n3,"fault, hot"\n4,\n5,true\n'

    assert read_recording(text.splitlines(keepends=True), "a.b") == [
        Recorded(t_us, "a.b", v) for t_us, v in enumerate((4, 4.5, "fault, hot", None, 1), 1)
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,value\n1,2\n", "names no column t_us"),
        ('{"t_us": 1, "v": 2}\nnonsense\n', "line 2 is no JSON"),
        ('{"v": 2}\n', "line 1: t_us is None"),
        ('{"t_us": 1, "v": [2]}\n', "line 1: v is neither a number nor a text"),
        ("t_us,v\nyesterday,2\n", "line 2: t_us is 'yesterday'"),
    ],
)
def test_a_line_that_is_no_reading_is_named(text: str, message: str):
    with pytest.raises(Unreadable, match=message):
        read_recording(text.splitlines(keepends=True), "a.b")


def test_an_empty_recording_fires_nothing(tmp_path: Path):
    with pytest.raises(Misconfigured, match="names no column"):
        run(tmp_path, "")
    assert run(tmp_path, "t_us,v\n")[0] == []


def test_a_mistake_in_the_rules_is_told_with_its_place(tmp_path: Path):
    with pytest.raises(Misconfigured, match=r"rule\[0\]\.hold: unknown key; did you mean 'hold_s'"):
        run(tmp_path, ndjson(), rules=RULES.replace("hold_s", "hold", 1))
