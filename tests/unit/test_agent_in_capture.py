"""Captures: the file, and what is guessed from bytes."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.capture import Capture, Entry, Header, Unreadable, entry_line, header_line, read_capture
from agent.core.config import parse_config
from agent.ports import PortSettings
from agent.protocols import find
from agent.protocols.ask import crc16_modbus, questions
from agent.protocols.guess import guess, seven_bits
from firmware_sim.protocols.cobs import frame
from firmware_sim.protocols.nmea import sentence

HEADER = Header(PortSettings("usb:0403:6001", 300, 7, "even", 1.5), 1_763_791_200_000_000, -1.0)
entries = st.builds(
    Entry, st.floats(0, 1e6), st.binary(max_size=9), st.binary(max_size=9), st.integers(0, 9600), st.text(max_size=9)
)


@given(st.lists(entries, max_size=9))
def test_what_is_written_is_read_back(found: list[Entry]):
    rounded = [
        Entry(round(one.s, 6), one.rx, one.tx, one.baudrate, one.lost) for one in sorted(found, key=lambda one: one.s)
    ]
    lines = [header_line(HEADER), *map(entry_line, rounded)]

    assert read_capture(line + "\n" for line in lines) == Capture(HEADER, tuple(rounded))


@given(st.lists(st.text(max_size=40), max_size=5), st.booleans())
def test_any_text_is_a_capture_or_an_error_that_names_the_line(lines: list[str], headed: bool):  # noqa: FBT001
    told = "line "
    try:
        read_capture([header_line(HEADER) + "\n", *lines] if headed else lines)
    except Unreadable as error:
        told = str(error)

    assert told.startswith("line ")


def test_a_last_line_that_was_cut_off_is_passed_over():
    whole = [header_line(HEADER) + "\n", '{"s":1,"rx":"0a"}\n']

    assert read_capture([*whole, '{"s":2,"rx":"0']).entries == (Entry(1.0, b"\n"),)
    with pytest.raises(Unreadable, match="line 3: no entry"):
        read_capture([*whole, '{"s":2,"rx":"0\n'])


def test_time_does_not_fall():
    with pytest.raises(Unreadable, match=r"line 3: 1\.0 s, after 2\.0 s"):
        read_capture([header_line(HEADER), '{"s":2}\n', '{"s":1}\n'])


def test_a_later_version_is_told():
    with pytest.raises(Unreadable, match="a capture of version 2"):
        read_capture([header_line(HEADER).replace('ture":1', 'ture":2')])


HEARD = {
    "csv": (b"5\n7,-18.2,1\n8,-18.3,0\n9,-18.1,1\n10,", "lines", '"csv"'),
    "tabs": (b"5\n7\t-18.2\n8\t-18.3\n9\t-18.1\n10,", "lines", r"delimiter = \"\\t\"".replace("\\\\", "\\")),
    "kv": (b"x\ntemp=-18.2 door=0\ntemp=-18.3 door=0\nte", "lines", '"kv"'),
    "json": (b'}\n{"t": {"top": -18.2}, "n": 1}\n{"t": {"top": -18.3}, "n": 2}\n{"t', "lines", 'key = "t.top"'),
    "nmea": (b"x\n" + 3 * sentence("GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,"), "nmea", ""),
    "cobs": (b"\x01\0" + 3 * frame(struct.pack("<Bhf", 5, -1824, 0.5)), "cobs", 'head = "05"'),
}


@pytest.mark.parametrize("name", HEARD)
def test_what_was_heard_is_made_out_and_its_config_reads_it(name: str):
    data, protocol, in_config = HEARD[name]

    best = guess(data)[0]

    assert (best.protocol, best.share) == (protocol, 1.0)
    assert in_config.replace('\\"', '"') in best.config
    text = f'[[source]]\nname = "b"\nport = "/dev/x"\nprotocol = "{protocol}"\n{best.config}'
    (source,) = parse_config(text, find).sources
    dialogue = find(protocol).open(source.options, source.settings)
    dialogue.opened(-1.0)
    assert len([action for action in dialogue.feed(data, 0.0) if hasattr(action, "values")]) >= 2


@given(st.binary(max_size=300))
def test_any_bytes_are_guessed_at_without_an_error(data: bytes):
    guess(data)
    seven_bits(data)


def test_seven_bits_with_parity_are_told_from_eight():
    text = b"/?!\r\n"

    assert seven_bits(bytes(byte | (byte.bit_count() % 2) << 7 for byte in text))
    assert not seven_bits(text.replace(b"/", b"a"))
    assert not seven_bits(b"\xff\xfe\xfd")


def test_what_is_asked_is_answered_by_what_would_answer_it():
    asked = {(one.protocol, one.data): one for _, many in questions("/dev/x") for one in many}
    modbus = asked["modbus", b"\x01\x03\x00\x00\x00\x01\x84\x0a"]  # the CRC of many a manual
    answer = bytes([1, 3, 2, 0, 5])

    assert modbus.answer(b"\xff" + answer + struct.pack("<H", crc16_modbus(answer))) == "slave 1: 01 03 02 00 05 78 47"
    assert modbus.answer(modbus.data) is None  # an echo is no answer
    assert asked["sdi12", b"?!"].answer(b"?!3\r\n") == "a probe with the address 3"
    assert asked["iec62056", b"/?!\r\n"].answer(b"/?!\r\n/ISK5ME162\r\n") == "/ISK5ME162"
    for one in asked.values():
        text = f'[[source]]\nname = "b"\nport = "/dev/x"\nprotocol = "{one.protocol}"\n{one.config}'
        assert parse_config(text, find).sources


def test_the_documented_example_is_a_capture():
    from pathlib import Path  # noqa: PLC0415 - of this test alone

    page = (Path(__file__).parents[2] / "docs" / "reference" / "capture.md").read_text()
    lines = page.split("```\n")[1].splitlines(keepends=True)

    assert len(read_capture(lines).entries) == 4
    assert json.loads(lines[0])["listening_s"] == 0.0
