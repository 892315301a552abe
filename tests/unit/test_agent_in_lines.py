"""Lines: what is read from them, and what is refused."""

from collections.abc import Sequence
from typing import Any

import pytest

from agent.core.config import parse_config
from agent.ports import Action, Emit, Fault, PortSettings
from agent.protocols import find, lines


def dialogue(table: str, opened_s: float = -1.0) -> lines.Lines:
    text = f'[[source]]\nname = "b"\nport = "/dev/x"\nprotocol = "lines"\n[source.lines]\n{table}'
    found = lines.open(parse_config(text, find).sources[0].options, PortSettings("/dev/x"))
    found.opened(opened_s)
    return found


def values(actions: Sequence[Action]) -> list[Any]:
    return [
        tuple(value for _, _, value in action.values) if isinstance(action, Emit) else "fault" for action in actions
    ]


CSV = 'format = "csv"\ncolumns = [{ name = "n", unit = "1" }, { name = "temp", unit = "Cel" }]'


@pytest.mark.parametrize(
    ("printed", "read"),
    [
        (b"7,-18.20\n", [(7, -18.2)]),
        (b" 7 , -18.2 \r\n", [(7, -18.2)]),
        (b"7,\n", [(7, None)]),
        (b"7,nan\n", [(7, None)]),
        (b"7,1e3\n", [(7, 1000.0)]),
        (b"7,1e999\n", [(7, None)]),
        (b"99999999999999999999,0\n", [(1e20, 0)]),
        (b"# a comment\n\n7,1\n", [(7, 1)]),
        (b"n,temp\n7,1\n", [(7, 1)]),
        (b"7\n", ["fault"]),
        (b"7,1,2\n", ["fault"]),
        (b"7,1_0\n", ["fault"]),
        (b"7,1x\n", ["fault"]),
        (b"\xff\xfe\n8,2\n", ["fault", (8, 2)]),
    ],
)
def test_csv(printed: bytes, read: list[Any]):
    assert values(dialogue(CSV).feed(printed, 0.0)) == read


def test_whole_numbers_stay_whole_and_a_scale_of_tenths_is_exact():
    table = 'format = "csv"\ncolumns = [{ name = "a", unit = "1", scale = 0.1 }, {}, { name = "c", unit = "1" }]'

    (action,) = dialogue(table).feed(b"183,ignored,5\n", 0.0)

    assert repr(action.values) == "(('a', '1', 18.3), ('c', '1', 5))"


def test_flags_and_texts():
    table = """format = "csv"
columns = [{ name = "door", unit = "1", type = "flag" }, { name = "mode", unit = "1", type = "text" }]"""

    read = dialogue(table).feed("open,x\non,kühlt\nFALSE,\n".encode(), 0.0)

    assert values(read) == ["fault", (1, "kühlt"), (0, None)]


def test_json_flat_dotted_and_partial():
    table = """format = "json"
columns = [
  { name = "top", key = "t.top", unit = "Cel" }, { name = "door", unit = "1" }, { name = "n", key = "a.b", unit = "1" },
]"""
    text = b'{"t": {"top": -18.20}, "door": true}\n{"door": null, "a.b": 3}\n{"x": 1}\n[1]\n{"door": {}}\n{]\nnull\n'

    read = dialogue(table).feed(text + b"[" * 900 + b"\n", 0.0)

    assert values(read) == [(-18.2, 1), (None, 3), *["fault"] * 6]


def test_kv_with_any_of_the_separators():
    table = 'format = "kv"\ncolumns = [{ name = "temp", unit = "Cel" }, { name = "door", key = "D", unit = "1" }]'

    read = dialogue(table).feed(b"temp=-18.2 D=0\ntemp: -18.2, D: 1\nD=1;x=9\ntemp=\nhello\n", 0.0)

    assert values(read) == [(-18.2, 0), (-18.2, 1), (1,), (None,), "fault"]


def test_two_kv_lines_that_ran_together_are_not_believed():
    table = 'format = "kv"\ncolumns = [{ name = "n", unit = "1" }, { name = "temp", unit = "Cel" }]'

    read = dialogue(table).feed(b"n=7 temp=2n=8 temp=21.5\nn=9 door=0 temp=21.6 door=1\n", 0.0)

    assert values(read) == ["fault", (9, 21.6)]


def test_regex_with_named_groups_and_lines_to_skip():
    table = r"""format = "regex"
pattern = 'T=(?P<temp>\S+)( F=(?P<fan>\d+))?'
skip = "^boot"
columns = [{ name = "temp", unit = "Cel" }, { name = "rpm", key = "fan", unit = "/min" }]"""

    read = dialogue(table).feed(b"boot ok\nT=-18.2 F=900\n>> T=4 end\nelse\n", 0.0)

    assert values(read) == [(-18.2, 900), (4,), "fault"]


def test_a_regex_without_the_group_that_a_column_names_is_refused():
    with pytest.raises(ValueError, match=r"columns\[0\]\.key: the pattern has no group 'tmp'; it has: temp"):
        dialogue('format = "regex"\npattern = \'(?P<temp>.)\'\ncolumns = [{ name = "tmp", unit = "1" }]')


def test_a_line_is_dated_by_its_first_byte():
    board = dialogue(CSV)

    assert board.feed(b"1,", 10.0) == []
    first, second = board.feed(b"2\n3,4\n5", 11.0)
    (third,) = board.feed(b",6\n", 12.0)

    assert (first.at_s, second.at_s, third.at_s) == (10.0, None, 11.0)


def test_the_rest_of_a_line_that_was_begun_before_the_opening_is_not_believed():
    board = dialogue(CSV, opened_s=5.0)

    assert values(board.feed(b"23,-18.2\n24,1\n", 5.001)) == [(24, 1)]


def test_after_a_silence_the_first_line_counts():
    board = dialogue(CSV, opened_s=5.0)

    assert values(board.feed(b"23,-18.2\n", 5.5)) == [(23, -18.2)]


def test_a_flood_without_an_end_is_one_fault_and_no_memory():
    board = dialogue(CSV + "\nmax_line_bytes = 64")

    faults = [action for _ in range(1000) for action in board.feed(b"x" * 100, 0.0)]

    assert len(faults) == 1
    assert isinstance(faults[0], Fault)
    assert values(board.feed(b"x\n1,2\n", 0.0)) == [(1, 2)]
