"""Lines under any split, and under anything at all."""

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.core.frames import LineSplitter
from agent.core.quantity import Quantity
from agent.ports import Emit, Fault, PortSettings
from agent.protocols import lines
from agent.protocols.lines import Column, Format, LinesOptions

COLUMNS = (Column("n", Quantity("n", "1")), Column("t.top", Quantity("temp", "Cel", scale=0.1)))
FORMATS = [Format.CSV, Format.JSON, Format.KV]

soup = st.lists(
    st.sampled_from([b"1,2\n", b"-3.5,7\r\n", b'{"n": 1, "t": {"top": 5}}\n', b"n=4 t.top=2\n", b"\n", b"#x\n"])
    | st.binary(max_size=80),
    max_size=30,
).map(b"".join)


def dialogue(kind: Format) -> lines.Lines:
    found = lines.open(LinesOptions(kind, COLUMNS, max_line_bytes=64), PortSettings("/dev/x"))
    found.opened(-1.0)
    return found


def told(actions: list[Any]) -> list[Any]:
    return [action.values if isinstance(action, Emit) else action for action in actions]


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    at = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(at)]


@given(soup, st.lists(st.integers(0, 10_000), max_size=20), st.sampled_from(FORMATS))
def test_any_split_gives_the_same_readings(data: bytes, cuts: list[int], kind: Format):
    whole = told(list(dialogue(kind).feed(data, 0.0)))
    board = dialogue(kind)

    split = told([action for piece in pieces(data, cuts) for action in board.feed(piece, 0.0)])

    assert [a for a in split if not isinstance(a, Fault)] == [a for a in whole if not isinstance(a, Fault)]
    assert len(split) - split.count(board._too_long) <= len(whole)  # noqa: SLF001 - faults do not multiply


@given(st.lists(st.binary(max_size=300), max_size=40), st.sampled_from(FORMATS))
def test_garbage_never_raises_and_memory_stays_bounded(chunks: list[bytes], kind: Format):
    board = dialogue(kind)

    for i, chunk in enumerate(chunks):
        for action in board.feed(chunk, float(i)):
            assert isinstance(action, Emit | Fault)

    assert len(board._splitter._rest) <= 64  # noqa: SLF001 - that is the bound


@given(
    texts=st.lists(st.binary(max_size=20), max_size=20),
    cuts=st.lists(st.integers(0, 10_000), max_size=20),
    end=st.sampled_from([b"\n", b"\r\n", b"END"]),
    settles=st.booleans(),
)
def test_lines_are_what_stands_between_ends(texts: list[bytes], cuts: list[int], end: bytes, *, settles: bool):
    data = b"".join(text + end for text in texts)
    expected = [line for line in data.split(end)[:-1] if len(line) <= 16]
    splitter = LineSplitter(end, 16, settles=settles)
    splitter.opened(-1.0)

    found = [splitter.split(piece, 0.0) for piece in pieces(data, cuts)]

    assert [line for lines_found, _, _ in found for line in lines_found] == expected
    assert sum(too_long for _, _, too_long in found) == len(data.split(end)) - 1 - len(expected)
