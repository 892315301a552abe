"""COBS: the paper's examples, structs, CRC, and commands that wait for their frames."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.config import parse_config
from agent.ports import Action, Emit, Fault, PortSettings, Write
from agent.protocols import cobs, find
from agent.wire.document import DocumentError
from firmware_sim.protocols.cobs import crc16, frame, stuff

HEAD = '[[source]]\nname = "b"\nport = "/dev/x"\nbaudrate = 115200\nprotocol = "cobs"\n[source.cobs]\n'
STATUS = """[[source.cobs.frames]]
head = "01"
fields = [
  { name = "temp", type = "i16", scale = 0.01, unit = "Cel" },
  { skip = 1 },
  { name = "door", type = "bool", bit = 3 },
  { name = "flow", type = "f32", unit = "L/min" },
  { name = "serial", type = "text", bytes = 6 },
]
"""
ASKED = """[[source.cobs.frames]]
head = "82"
command = "02 00"
every_s = 2
fields = [{ name = "level", type = "u8", unit = "%" }]
"""
RECORD = struct.pack("<BhxBf6s", 1, -1824, 0b1000, 1.5, b"AB12")
VALUES = (("temp", "Cel", -18.24), ("door", "1", 1), ("flow", "L/min", 1.5), ("serial", "1", "AB12"))
BARE = cobs.CobsOptions((cobs.FrameKind(b"", "<", ()),), crc=cobs.Crc.NONE)

PAPER = [  # as tabled for the paper's encoding: data, stuffed
    ("00", "01 01"),
    ("00 00", "01 01 01"),
    ("00 11 00", "01 02 11 01"),
    ("11 22 00 33", "03 11 22 02 33"),
    ("11 22 33 44", "05 11 22 33 44"),
    ("11 00 00 00", "02 11 01 01 01"),
    (bytes(range(1, 255)).hex(), "ff" + bytes(range(1, 255)).hex()),
    (bytes(range(255)).hex(), "01 ff" + bytes(range(1, 255)).hex()),
    (bytes(range(1, 256)).hex(), "ff" + bytes(range(1, 255)).hex() + "02 ff"),
    ((bytes(range(2, 256)) + b"\0").hex(), "ff" + bytes(range(2, 256)).hex() + "01 01"),
    ((bytes(range(3, 256)) + b"\0\1").hex(), "fe" + bytes(range(3, 256)).hex() + "02 01"),
]


def options(table: str) -> cobs.CobsOptions:
    found = parse_config(HEAD + table, find).sources[0].options
    assert isinstance(found, cobs.CobsOptions)
    return found


def board(table: str = STATUS) -> cobs.Cobs:
    found = cobs.open(options(table), PortSettings("/dev/x", 115200))
    found.opened(0.0)
    return found


def problems(actions: object) -> list[str]:
    assert isinstance(actions, list | tuple)
    return [action.problem for action in actions if isinstance(action, Fault)]


@pytest.mark.parametrize(("data", "stuffed"), PAPER)
def test_the_papers_examples(data: str, stuffed: str):
    assert cobs.encode(bytes.fromhex(data), BARE) == bytes.fromhex(stuffed) + b"\0"
    assert cobs.decode(bytes.fromhex(stuffed), BARE) == bytes.fromhex(data)
    assert stuff(bytes.fromhex(data)) == bytes.fromhex(stuffed)


@given(
    st.binary(min_size=1, max_size=700) | st.binary(min_size=250, max_size=600).map(lambda d: d.replace(b"\0", b"x"))
)
def test_what_another_encoder_frames_is_read_back_and_framed_alike(data: bytes):
    framed = cobs.CobsOptions(BARE.frames)

    assert cobs.decode(frame(data)[:-1], framed) == data
    assert cobs.encode(data, framed) == frame(data)


def test_the_crcs_check_value():
    assert crc16(b"123456789") == 0x29B1
    assert cobs.encode(b"123456789", cobs.CobsOptions(BARE.frames))[-3:] == b"\x29\xb1\0"


def test_a_frame_gives_its_values_dated_by_its_first_byte():
    it = board()
    data = frame(RECORD)

    assert it.feed(data[:5], 1.0) == []
    assert it.feed(data[5:], 1.5) == [Emit(VALUES, 1.0)]


def test_a_crc_may_be_low_byte_first_and_numbers_high_byte_first():
    it = board('crc_order = "little"\nbyte_order = "big"\n' + STATUS)
    record = struct.pack(">BhxBf6s", 1, -1824, 0b1000, 1.5, b"AB12")
    data = stuff(record + crc16(record).to_bytes(2, "little")) + b"\0"

    assert it.feed(data, 1.0) == [Emit(VALUES, 1.0)]


def test_other_frames_are_passed_over_and_damaged_ones_told():
    it = board()
    damaged = bytearray(frame(RECORD))
    damaged[3] ^= 0x10
    found = it.feed(frame(b"\x07hello") + bytes(damaged) + frame(RECORD[:-1]) + b"\x09\x01\0\0\0" + frame(RECORD), 1.0)

    assert [type(action) for action in found] == [Fault, Fault, Fault, Emit]
    assert [word in text for word, text in zip(["CRC", "instead of 14", "beyond"], problems(found), strict=True)] == [
        True,
        True,
        True,
    ]


def test_a_frame_without_end_is_bounded_and_counted_once():
    it = board()

    found = [action for _ in range(100) for action in it.feed(b"\x05" * 100, 1.0)]

    assert problems(found) == ["a frame of more than 512 bytes was dropped"]
    assert it.feed(b"\0" + frame(RECORD), 2.0) == [Emit(VALUES, 2.0)]


def test_without_a_crc_the_rest_of_a_frame_is_not_taken_for_a_whole_one():
    it = board('crc = "none"\n' + STATUS)

    assert it.feed(b"\x03\x01\0", 0.001) == []
    assert it.feed(stuff(RECORD) + b"\0", 0.002) == [Emit(VALUES, 0.002)]


def test_a_command_is_sent_on_its_grid_and_its_frame_awaited():
    it = board(STATUS + ASKED)
    assert isinstance(it, cobs.CobsAsking)

    assert it.tick(0.0) == (Write(frame(b"\x02\x00")),)
    assert it.waiting()
    assert it.feed(frame(RECORD), 0.1) == [Emit(VALUES, 0.1)]  # comes unasked, ends no wait
    assert it.waiting()
    assert it.feed(frame(b"\x82\x2a"), 0.2) == [Emit((("level", "%", 42),), 0.2)]
    assert not it.waiting()
    assert it.due() == 2.0


def test_a_board_that_does_not_answer_is_asked_again_then_ever_more_rarely():
    it = board(ASKED)
    asked: list[float] = []
    faults = 0
    now_s = 0.0
    while now_s < 60:
        actions: list[Action] = list(it.tick(now_s))
        asked += [now_s for action in actions if isinstance(action, Write)]
        faults += len(problems(actions))
        due_s = it.due()
        assert due_s is not None
        assert due_s > now_s
        now_s = due_s

    assert [round(at_s) for at_s in asked] == [0, 1, 2, 6, 14, 30]
    assert faults == len(asked)


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        ((STATUS, ""), r"cobs\.frames: missing"),
        (('"01"', '"0x1"'), r"frames\[0\]\.head: '0x1' is not hex"),
        (('"i16"', '"s16"'), r"fields\[0\]\.type: 's16' is none of"),
        (('unit = "Cel"', 'unit = "°C"'), r"fields\[0\]\.unit: '°C' is not UCUM"),
        (("skip = 1", "skip = 1, of = 2"), r"fields\[1\]\.of: unknown key"),
        (("bit = 3", "bit = 8"), r"fields\[2\]\.bit: 8 is not within 0…7"),
        (("bytes = 6", "bytes = 600"), r"fields\[4\]\.bytes: 600 is not within"),
        ((STATUS, STATUS + STATUS.replace('"01"', '"0102"')), r"frames: 'temp' is there twice"),
        ((STATUS, STATUS + ASKED.replace("82", "0102")), r"frames\[1\]\.head: '0102' and '01' begin alike"),
        (("skip = 1", "skip = 1000"), r"frames\[0\]\.fields: make a frame of more than max_frame_bytes = 512"),
    ],
)
def test_a_mistake_in_the_layout_names_its_place(mistake: tuple[str, str], told: str):
    with pytest.raises(DocumentError, match=told):
        options(STATUS.replace(*mistake))


@given(st.lists(st.sampled_from([frame(RECORD), frame(b"\x82\x2a"), frame(b"\7"), b"\0"]) | st.binary(max_size=40)))
def test_any_split_gives_the_same(pieces: list[bytes]):
    data = b"".join(pieces)
    whole = board(STATUS + ASKED).feed(data, 0.0)
    it = board(STATUS + ASKED)

    found = [action for at in range(len(data)) for action in it.feed(data[at : at + 1], 0.0)]

    assert [a.values if isinstance(a, Emit) else a for a in found] == [
        a.values if isinstance(a, Emit) else a for a in whole
    ]
