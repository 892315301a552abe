"""How results look."""

import io

import pytest
from rich.console import Console

from fleet.cli import output
from fleet.cli.evidence import print_evidence
from fleet.cli.output import sparkline, table, text, value, word
from fleet.cli.reading import csv_lines
from fleet.cli.shell import printable

T = 1_800_000_000_000_000


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    printed = io.StringIO()
    monkeypatch.setattr(output, "console", lambda: Console(file=printed, width=100, highlight=False, markup=False))
    monkeypatch.setattr("fleet.cli.evidence.console", output.console)
    return printed


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], "▁▂▃▄▅▆▇█"),
        ([1.0, None, 2.0], "▁ █"),
        ([5.0, 5.0], "▄▄"),
        ([], ""),
        ([None, None], ""),
    ],
)
def test_a_sparkline_spans_least_to_greatest(values: list[float | None], drawn: str):
    assert sparkline(values) == drawn


def test_a_peak_of_one_reading_among_thousands_is_still_drawn():
    values: list[float | None] = [0.0] * 5000
    values[2500] = 9.0

    drawn = sparkline(values, width=50)

    assert len(drawn) == 50
    assert drawn.count("█") == 1


def test_text_from_a_device_steers_no_terminal():
    assert printable("\x1b[2Jgone\x9b\r\n") == "\ufffd[2Jgone\ufffd\ufffd\n"
    assert text("\x1b]0;title\x07").plain == "\ufffd]0;title\ufffd"


def test_text_from_a_device_is_no_markup(screen: io.StringIO):
    table(("a",), [("[red]x[/red]",)], empty="")

    assert "[red]x[/red]" in screen.getvalue()


def test_an_empty_table_says_so_in_a_sentence(screen: io.StringIO):
    table(("a",), [], empty="There are no devices.")

    assert screen.getvalue() == "There are no devices.\n"


def test_a_state_is_said_in_words_beside_its_colour():
    assert word("in_sync").plain == "in sync"
    assert word("critical").style == "bold red"


@pytest.mark.parametrize(
    ("reading", "unit", "said"),
    [
        (-18.200000000000003, "Cel", "-18.2 °C"),
        (7, "1", "7"),
        (True, "", "true"),
        (None, "Cel", "-"),
        ("open", "", "open"),
        (1e21, "W", "1e+21 W"),
    ],
)
def test_a_value_is_said_with_its_unit(reading: object, unit: str, said: str):
    assert value(reading, unit) == said


def test_csv_quotes_text_only():
    lines = ['{"t_us":1,"t":"x","v":-5.5}', '{"t_us":2,"t":"y","v":"a \\"b\\", c"}', '{"t_us":3,"t":"z","v":null}']

    assert list(csv_lines(lines)) == ["t_us,t,v", "1,x,-5.5", '2,y,"a ""b"", c"', "3,z,"]


EVIDENCE = {
    "taken_us": T,
    "readings": [
        {
            "series": "board.temp",
            "unit": "Cel",
            "count": 4,
            "thinned": False,
            "t_us": [T - 3_000_000, T - 2_000_000, T - 1_000_000, T],
            "v": [-18, -12, -4, -1],
        },
        {
            "series": "board.door",
            "unit": "1",
            "count": 2,
            "thinned": False,
            "t_us": [T - 1_000_000, T],
            "v": [0, 1],
        },
    ],
    "open_alarms": [{"id": 3, "rule": "too-warm", "series": "board.temp", "condition": "above -5.0"}],
    "events": [
        {"t_us": T - 7_200_000_000, "kind": "config.applied", "text": "Config 4 was applied."},
        {"t_us": T - 60_000_000, "kind": "device.online", "text": "It came online."},
    ],
    "elsewhere": [{"ticket": 2, "device": "freezer-b", "state": "resolved", "opened_us": T}],
    "config": {"desired": 4, "applied": 4},
    "device": {"serial": "FZ-1", "site": "Store 7", "agent_version": "0.1.0"},
    "gaps": [],
}


def test_evidence_shows_signal_threshold_changes_and_where_else(screen: io.StringIO):
    print_evidence(EVIDENCE, {"alarm": 3, "series": "board.temp"})

    shown = screen.getvalue()
    assert "board.temp: above -5.0" in shown
    assert "▁" in shown
    assert "  ‾‾" in shown
    assert "-18 °C … -1 °C, last -1 °C; 4 readings" in shown
    assert "2 h before" in shown
    assert "Config 4 was applied." in shown
    assert "It came online." not in shown
    assert "freezer-b: T-2, resolved" in shown
    assert "revision 4" in shown


def test_evidence_without_readings_is_still_readable(screen: io.StringIO):
    print_evidence({"readings": [], "events": [], "taken_us": T}, {"alarm": None})

    assert "The machine then" in screen.getvalue()
