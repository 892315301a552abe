"""IEC 62056-21: read-outs in modes A, B and C, changes of speed, and what a bad line does."""

from collections.abc import Sequence
from functools import reduce
from operator import xor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.config import parse_config
from agent.ports import Action, Emit, Fault, Reopen, Write
from agent.protocols import find, iec62056
from agent.wire.document import DocumentError

HEAD = '[[source]]\nname = "m"\nport = "/dev/x"\nprotocol = "iec62056"\n[source.iec62056]\nevery_s = 60\n'
VALUES = """values = [
  { code = "1-0:1.8.0", name = "energy", unit = "kW.h" },
  { code = "0.0.0", name = "serial", unit = "1", type = "text" },
  { code = "1.6.1", name = "peak", unit = "kW" },
]
"""
LINES = (  # full and reduced codes, a value with a time, several on a line
    "F.F(00)\r\n0.0.0(00283765)\r\n1-0:1.8.0*255(000438.712*kWh)\r\n1-0:1.8.0*01(000410.100*kWh)"
    "1-0:2.8.0*255(000000.000*kWh)\r\n1.6.1(04.28*kW)(0402120030)\r\n"
)
EMITTED = (("energy", "kW.h", 438.712), ("serial", "1", "00283765"), ("peak", "kW", 4.28))


def read_out(lines: str = LINES) -> bytes:
    body = lines.encode() + b"!\r\n\x03"
    return b"\x02" + body + bytes([reduce(xor, body)])


def reader(table: str = VALUES, line: str = "") -> iec62056.Iec62056:
    (source,) = parse_config(HEAD.replace("protocol", line + "protocol", 1) + table, find).sources
    assert isinstance(source.options, iec62056.Iec62056Options)
    found = iec62056.open(source.options, source.settings)
    found.opened(0.0)
    return found


def ask(it: iec62056.Iec62056) -> float:
    """Send the request; returns when."""
    now_s = it.due()
    assert now_s is not None
    assert list(it.tick(now_s)) == [Write(b"/?!\r\n")]
    return now_s


def problems(actions: Sequence[Action]) -> list[str]:
    return [action.problem for action in actions if isinstance(action, Fault)]


def test_the_line_is_300_baud_7e1_unless_the_source_says_otherwise():
    plain, other = (
        parse_config(HEAD.replace("protocol", line + "protocol", 1) + VALUES, find).sources[0].settings
        for line in ("", "baudrate = 9600\nbytesize = 8\n")
    )

    assert (plain.baudrate, plain.bytesize, plain.parity, plain.stopbits) == (300, 7, "even", 1.0)
    assert (other.baudrate, other.bytesize, other.parity) == (9600, 8, "even")


def test_mode_c_acknowledges_changes_over_reads_and_goes_back():
    it = reader()
    ask(it)

    assert it.feed(b"/ISK5ME162-0033\r\n", 1.0) == ()
    assert it.due() == 1.3
    assert it.tick(1.3) == (Write(b"\x06050\r\n"), Reopen(9600))
    assert it.feed(read_out()[:40], 2.0) == ()
    assert it.feed(read_out()[40:], 2.5) == (Reopen(300), Emit(EMITTED, 2.0))
    assert it.due() == 60.0
    assert not it.waiting()


def test_a_recorded_meter_is_read_by_its_own_check_character():
    """An Iskraemeco MT174, as somebody recorded it on 27 January 2022, block check character (0x19) and all."""
    table = """values = [
      { code = "1-0:1.8.0", name = "import", unit = "kW.h" },
      { code = "1-0:2.8.0", name = "export", unit = "kW.h" },
      { code = "1-0:0.9.1", name = "time", unit = "1", type = "text" },
    ]
    """
    block = (
        b"\x021-0:0.9.2*255(0220127)\r\n1-0:0.9.1*255(105644)\r\n1-0:1.8.0*255(0000502.853*kWh)\r\n"
        b"1-0:2.8.0*255(0098697.318*kWh)\r\n!\r\n\x03\x19"
    )
    it = reader(table)
    ask(it)
    it.feed(b"/ISk5MT174-0002\r\n", 1.0)
    it.tick(1.3)  # at 9600 from here on

    values = (("import", "kW.h", 502.853), ("export", "kW.h", 98697.318), ("time", "1", "105644"))
    assert it.feed(block, 2.0) == (Reopen(300), Emit(values, 2.0))


def test_mode_b_changes_over_by_itself():
    it = reader()
    ask(it)

    assert it.feed(b"/ABCEmeter\r\n", 1.0) == (Reopen(9600),)
    assert it.feed(read_out(), 2.0) == (Reopen(300), Emit(EMITTED, 2.0))


def test_mode_a_stays_and_may_follow_at_once():
    it = reader()
    ask(it)

    assert it.feed(b"/ELS gas V1.0\r\n" + read_out(), 1.0) == (Emit(EMITTED, 1.0),)


def test_mode_a_without_a_check_character():
    it = reader("bcc = false\n" + VALUES)
    ask(it)

    assert it.feed(b"/ELS gas V1.0\r\n" + LINES.encode() + b"!\r", 1.0) == ()
    assert it.feed(b"\n", 1.5) == (Emit(EMITTED, 1.0),)


def test_a_meter_that_is_too_fast_for_the_head_stays_at_300():
    it = reader("max_baudrate = 4800\n" + VALUES)
    ask(it)
    it.feed(b"/ISK5ME162\r\n", 1.0)

    assert it.tick(1.3) == (Write(b"\x06000\r\n"),)


def test_a_head_that_echoes_and_hands_on_the_parity_bit_is_understood():
    it = reader()
    ask(it)
    with_parity = bytes(byte | (0x80 if byte.bit_count() % 2 else 0) for byte in b"/?!\r\n/ISK5ME162\r\n")

    it.feed(with_parity, 1.0)

    assert it.tick(1.3)[:1] == (Write(b"\x06050\r\n"),)


def test_a_damaged_read_out_is_not_believed_and_asked_for_again():
    it = reader()
    ask(it)
    it.feed(b"/ISK5ME162\r\n", 1.0)
    it.tick(1.3)

    found = it.feed(read_out().replace(b"438.712", b"438.713"), 2.0)

    assert problems(found)[0].startswith("BCC ")
    assert Reopen(300) in found
    assert it.waiting()
    assert ask(it) == 4.0  # after a pause


def test_silence_is_given_up_three_times_then_left_for_the_next_turn():
    it = reader()
    asked: list[float] = []
    now_s = 0.0
    while now_s < 200:
        asked += [now_s for action in it.tick(now_s) if isinstance(action, Write)]
        due_s = it.due()
        assert due_s is not None
        assert due_s > now_s
        now_s = due_s

    assert [round(at_s) for at_s in asked] == [0, 4, 8, 60, 120, 180]


def test_a_read_out_that_breaks_off_says_so_and_goes_back():
    it = reader()
    ask(it)
    it.feed(b"/ISK5ME162\r\n", 1.0)
    it.tick(1.3)
    it.feed(read_out()[:50], 2.0)
    due_s = it.due()
    assert due_s == 4.0

    assert it.tick(4.0) == (Fault("the read-out broke off after 50 bytes: silence for 2 s"), Reopen(300))


def test_a_meter_that_never_ends_is_bounded():
    it = reader()
    ask(it)
    it.feed(b"/ISK5ME162\r\n", 1.0)
    it.tick(1.3)
    found: list[Action] = []
    for _ in range(100):
        found += it.feed(b"\x021.8.0(1)" * 100, 2.0)

    assert problems(found) == ["a read-out of more than 65536 bytes or 600 s"]


def test_what_is_not_there_or_in_another_unit_is_told_and_the_rest_counts():
    text = LINES.replace("1.6.1(", "1.6.2(").replace("000438.712*kWh", "438712*Wh")

    values, told = iec62056.take(text, reader()._options.entries)  # noqa: SLF001 - as read from the config

    assert values == (("serial", "1", "00283765"),)
    assert told == ["1-0:1.8.0 is in Wh, the config says kW.h and no scale", "1.6.1 is not in the read-out"]


def test_an_index_finds_the_time_behind_a_value():
    it = reader('values = [{ code = "1.6.1", index = 1, name = "when", unit = "1", type = "text" }]')
    ask(it)

    found = it.feed(b"/ELS gas V1.0\r\n" + read_out(), 1.0)

    assert found == (Emit((("when", "1", "0402120030"),), 1.0),)


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        ((VALUES, ""), r"iec62056\.values: missing"),
        (('"1-0:1.8.0"', '"1-0:1.8.0()"'), r"values\[0\]\.code: .* is no OBIS code"),
        (('"kW.h"', '"kWh"'), r"values\[0\]\.unit: 'kWh' is not UCUM; did you mean 'kW\.h'"),
        ((VALUES, 'address = "1/2"\n' + VALUES), r"iec62056\.address: '1/2' is not"),
    ],
)
def test_a_mistake_names_its_place(mistake: tuple[str, str], told: str):
    with pytest.raises(DocumentError, match=told):
        reader(VALUES.replace(*mistake))


@given(st.lists(st.integers(1, 200), max_size=20), st.sampled_from("5E@"))
def test_any_split_gives_the_same(cuts: list[int], sign: str):
    it = reader()
    ask(it)
    found: list[Action] = list(it.feed(f"/ISK{sign}ME162\r\n".encode(), 1.0))
    found += it.tick(1.3)
    data = read_out()
    pieces = [data[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True)]

    for piece in pieces:
        found += it.feed(piece, 2.0)

    assert [action for action in found if isinstance(action, Emit)] == [Emit(EMITTED, 2.0)]


@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"/ISK5ME162\r\n", read_out(), b"\x02", b"!\r\n\x03"])))
def test_garbage_never_raises(pieces: list[bytes]):
    it = reader()
    now_s = 0.0
    for piece in pieces:
        it.tick(now_s)
        for action in it.feed(piece, now_s):
            assert isinstance(action, Emit | Fault | Reopen)
        now_s += 0.4
