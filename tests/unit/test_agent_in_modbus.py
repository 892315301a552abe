"""The Modbus master, sans IO: what it asks, what it takes for an answer, and whom it waits for."""

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.bus import Bus
from agent.core.config import parse_config
from agent.ports import Action, Emit, Fault, PortSettings, Write, Written
from agent.protocols import find, modbus
from agent.protocols.modbus_write import Order
from agent.wire.document import DocumentError
from agent.wire.messages import SlaveHealth

HEAD = '[[source]]\nname = "m"\nport = "/dev/x"\nbaudrate = 19200\nprotocol = "modbus"\n[source.modbus]\n'
ONE = """[[source.modbus.slaves]]
id = 17
registers = [{ name = "t", address = 107, type = "i16", scale = 0.1, unit = "Cel" }]
"""


def options(table: str) -> modbus.ModbusOptions:
    found = parse_config(HEAD + table, find).sources[0].options
    assert isinstance(found, modbus.ModbusOptions)
    return found


def master(table: str = ONE) -> modbus.Modbus:
    found = modbus.open(options(table), PortSettings("/dev/x", 19200))
    found.opened(0.0)
    return found


def crc(frame: bytes) -> bytes:
    """Compute the CRC by its definition (Serial Line V1.02, 6.2.2), apart from the library under test."""
    value = 0xFFFF
    for byte in frame:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return frame + struct.pack("<H", value)


def words(slave: int, *registers: int, function: int = 3) -> bytes:
    data = struct.pack(f">{len(registers)}H", *registers)
    return crc(bytes([slave, function, len(data)]) + data)


def written(actions: Sequence[Action]) -> bytes:
    (action,) = actions
    assert isinstance(action, Write)
    return action.data


def emitted(actions: Sequence[Action]) -> dict[str, object]:
    (action,) = actions
    assert isinstance(action, Emit), action
    return {name: value for name, _, value in action.values}


def test_a_register_is_asked_for_and_its_answer_scaled():
    bus = master()

    assert bus.due() == 0.0
    assert written(bus.tick(0.0)) == crc(bytes([17, 3, 0, 107, 0, 1]))
    assert bus.feed(words(17, 0xFF4A)[:4], 0.01) == ()
    assert bus.feed(words(17, 0xFF4A)[4:], 0.02) == (Emit((("t", "Cel", -18.2),), 0.01),)


def test_turns_keep_to_their_grid_and_missed_ones_are_not_made_up_for():
    bus = master("every_s = 2.0\n" + ONE)
    bus.tick(0.0)
    bus.feed(words(17, 1), 0.1)
    quiet_s = bus.due()
    assert quiet_s is not None
    assert bus.tick(quiet_s) == ()
    assert bus.due() == 2.0

    bus.tick(7.1)
    bus.feed(words(17, 1), 7.2)
    bus.tick(7.3)

    assert bus.due() == 8.0


def test_the_bus_is_quiet_for_three_and_a_half_characters_between_two_requests():
    bus = master(ONE.replace("}]", '}, { name = "u", address = 300, unit = "1" }]'))
    bus.tick(0.0)
    bus.feed(words(17, 1), 0.1)

    assert bus.due() == pytest.approx(0.1 + 3.5 * 10 / 19200)
    assert written(bus.tick(0.11)) == crc(bytes([17, 3, 1, 44, 0, 1]))


def test_neighbours_share_a_request_and_a_gap_is_bridged_only_if_asked():
    table = """{gap}[[source.modbus.slaves]]
id = 1
registers = [
  {{ name = "a", address = 0, type = "f32", unit = "1" }}, {{ name = "b", address = 2, unit = "1" }},
  {{ name = "c", address = 5, unit = "1" }}, {{ name = "d", address = 6, function = 4, unit = "1" }},
  {{ name = "e", address = 9, type = "bool" }}, {{ name = "f", address = 12, type = "bool" }},
]"""

    def spans(gap: str) -> list[tuple[int, int, int]]:
        (slave,) = options(table.format(gap=gap)).slaves
        return [(block.function, block.address, block.count) for block in slave.blocks]

    assert spans("") == [(1, 9, 1), (1, 12, 1), (3, 0, 3), (3, 5, 1), (4, 6, 1)]
    assert spans("max_gap = 2\n") == [(1, 9, 4), (3, 0, 6), (4, 6, 1)]


@given(st.lists(st.integers(0, 600), min_size=1, max_size=60, unique=True), st.integers(0, 10))
def test_every_register_is_in_one_block_and_no_block_is_too_long(addresses: list[int], max_gap: int):
    registers = [
        modbus.Register(modbus.Quantity(f"r{n}", "1"), n, modbus.Kind.U64, 3, modbus.End.BIG, modbus.End.BIG, bit=0)
        for n in addresses
    ]

    blocks = modbus.group(registers, max_gap)

    assert sorted(r.address for block in blocks for r in block.registers) == sorted(addresses)
    for block in blocks:
        assert block.count <= 125
        assert all(block.address <= r.address and r.end <= block.address + block.count for r in block.registers)


@pytest.mark.parametrize(
    ("keys", "registers", "value"),
    [
        ('type = "u16"', [0xFFFE], 65534),
        ('type = "i16"', [0xFFFE], -2),
        ('type = "u32"', [0x1234, 0x5678], 0x12345678),
        ('type = "u32", word_order = "little"', [0x5678, 0x1234], 0x12345678),
        ('type = "u32", byte_order = "little"', [0x3412, 0x7856], 0x12345678),
        ('type = "u32", byte_order = "little", word_order = "little"', [0x7856, 0x3412], 0x12345678),
        ('type = "i32"', [0xFFFF, 0xFFFE], -2),
        ('type = "f32"', [0xC191, 0x999A], struct.unpack(">f", b"\xc1\x91\x99\x9a")[0]),
        ('type = "f32"', [0x7FC0, 0], None),
        ('type = "u64"', [0, 0, 1, 0], 65536),
        ('type = "u64"', [0xFFFF] * 4, 2.0**64),
        ('type = "i64"', [0xFFFF] * 4, -1),
        ('type = "f64"', [0x3FF8, 0, 0, 0], 1.5),
        ('type = "bool", function = 3, bit = 2', [4], 1),
        ('type = "bool", function = 3, bit = 3', [4], 0),
        ('type = "u16", scale = 0.01, offset = -40', [6520], 25.2),
    ],
)
def test_types_and_orders(keys: str, registers: list[int], value: object):
    bus = master(f'[[source.modbus.slaves]]\nid = 1\nregisters = [{{ name = "x", address = 0, unit = "1", {keys} }}]')
    bus.tick(0.0)

    assert emitted(bus.feed(words(1, *registers), 0.1)) == {"x": value}


def test_coils_are_bits():
    coils = ", ".join(f'{{ name = "c{n}", address = {n}, type = "bool" }}' for n in range(10))
    bus = master(f"[[source.modbus.slaves]]\nid = 1\nregisters = [{coils}]")

    assert written(bus.tick(0.0)) == crc(bytes([1, 1, 0, 0, 0, 10]))
    values = emitted(bus.feed(crc(bytes([1, 1, 2, 0b10000001, 0b10])), 0.1))

    assert list(values.values()) == [1, 0, 0, 0, 0, 0, 0, 1, 0, 1]


@pytest.mark.parametrize(
    "noise",
    [
        b"\x00\xff",
        crc(bytes([17, 3, 0, 107, 0, 1])),  # an adapter that echoes
        words(16, 7),  # another slave, late
        words(17, 7)[:-1] + b"\x00",  # damaged
        bytes([17, 3, 2]),
    ],
)
def test_the_answer_is_found_behind_noise(noise: bytes):
    bus = master()
    bus.tick(0.0)

    assert emitted([*bus.feed(noise, 0.1), *bus.feed(words(17, 5), 0.2)]) == {"t": 0.5}


def test_an_exception_is_a_fault_in_words_and_the_turn_goes_on():
    bus = master(ONE.replace("}]", '}, { name = "u", address = 300, unit = "1" }]'))
    bus.tick(0.0)

    (fault,) = bus.feed(crc(bytes([17, 0x83, 2])), 0.1)

    assert fault == Fault("slave 17, register 107: illegal data address (2)")
    assert written(bus.tick(0.2)) == crc(bytes([17, 3, 1, 44, 0, 1]))


def test_a_dead_slave_is_asked_twice_then_ever_more_rarely_and_the_living_one_on_time():
    bus = master(ONE + ONE.replace("17", "18").replace('"t"', '"u"'))
    asked: list[tuple[float, int]] = []
    now_s = 0.0
    while now_s < 10:
        for action in bus.tick(now_s):
            if isinstance(action, Write):
                asked.append((now_s, action.data[0]))
                if action.data[0] == 18:
                    bus.feed(words(18, 1), now_s + 0.001)
        due_s = bus.due()
        assert due_s is not None
        now_s = max(now_s + 0.001, due_s)

    dead = [at_s for at_s, slave in asked if slave == 17]
    assert len([at_s for at_s, slave in asked if slave == 18]) == 9  # the first came late: behind two time-outs
    assert len(dead) == 5  # twice at first, then after one second, two, four


@given(st.lists(st.binary(max_size=300), max_size=30))
def test_garbage_never_raises_and_memory_stays_bounded(chunks: list[bytes]):
    bus = master()
    now_s = 0.0
    for chunk in chunks:
        due_s = bus.due()
        assert due_s is not None
        now_s = max(now_s, due_s)
        bus.tick(now_s)
        bus.feed(chunk, now_s)

        assert len(bus._heard) <= 600  # noqa: SLF001 - that is the bound


@given(st.lists(st.integers(1, 9), max_size=9), st.binary(max_size=20))
def test_any_split_of_the_answer_gives_the_same(cuts: list[int], noise: bytes):
    data = noise + words(17, 5)
    bus = master()
    bus.tick(0.0)
    pieces = [data[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True)]

    found = [action for piece in pieces for action in bus.feed(piece, 0.1)]

    assert emitted(found[-1:]) == {"t": 0.5}


def wrote(order: Order, *answers: bytes) -> list[Action]:
    """Follow an order on a bus whose slave answers so; b"" is no answer."""
    bus = master()
    assert bus.write(order)
    found: list[Action] = []
    now_s = 0.0
    for answer in answers:
        found += bus.tick(now_s)
        found += bus.feed(answer, now_s + 0.01)
        due_s = bus.due()
        assert due_s is not None
        now_s = max(due_s, now_s + 0.1)
    return [*found, *bus.tick(now_s)]


@pytest.mark.parametrize(
    ("order", "request_", "answer", "read_back"),
    [
        (Order(7, 17, 107, (5,)), "11 06 00 6b 00 05", "11 06 00 6b 00 05", words(17, 5)),
        (Order(7, 17, 1, (10, 258)), "11 10 00 01 00 02 04 00 0a 01 02", "11 10 00 01 00 02", words(17, 10, 258)),
        (Order(7, 17, 107, (5,), single=False), "11 10 00 6b 00 01 02 00 05", "11 10 00 6b 00 01", words(17, 5)),
        (Order(7, 17, 172, (1,), coils=True), "11 05 00 ac ff 00", "11 05 00 ac ff 00", crc(b"\x11\1\1\1")),
        (
            Order(7, 17, 19, (1, 0, 1, 1, 0, 0, 1, 1, 1, 0), coils=True),
            "11 0f 00 13 00 0a 02 cd 01",
            "11 0f 00 13 00 0a",
            crc(b"\x11\1\2\xcd\1"),
        ),
    ],
)
def test_what_is_written_is_read_back(order: Order, request_: str, answer: str, read_back: bytes):
    """The requests are those of the examples in V1.1b3, 6.5, 6.6, 6.11, 6.12."""
    found = wrote(order, crc(bytes.fromhex(answer)), read_back)

    assert written(found[:1]) == crc(bytes.fromhex(request_))
    assert found[2:] == [Written(7, "")]
    assert isinstance(found[1], Write)


def test_a_register_that_does_not_keep_what_was_written_is_told():
    order = Order(7, 17, 107, (5,))

    found = wrote(order, crc(bytes.fromhex("11 06 00 6b 00 05")), words(17, 6))

    assert found[-1] == Written(7, "register 107 is 6 after 5 was written")


def test_a_slave_that_refuses_or_does_not_answer_is_told():
    order = Order(7, 17, 107, (5,))

    refused = wrote(order, crc(b"\x11\x86\x02"))
    silent = wrote(order, b"", b"")

    assert Written(7, "slave 17, write of register 107: illegal data address (2)") in refused
    assert Written(7, "slave 17, write of register 107: no answer within 0.5 s") in silent


def test_orders_go_before_the_next_turn_are_bounded_and_survive_a_lost_port():
    bus = master()
    assert all(bus.write(Order(n, 17, n, (1,))) for n in range(8))
    assert not bus.write(Order(9, 17, 9, (1,)))
    assert bus.due() == 0.0
    assert written(bus.tick(0.0))[1] == 6

    bus.opened(1.0)

    assert written(bus.tick(1.0)) == crc(bytes([17, 6, 0, 0, 0, 1]))


@pytest.mark.parametrize(
    "order",
    [
        Order(1, 0, 0, (1,)),
        Order(1, 1, 65535, (1, 2)),
        Order(1, 1, 0, ()),
        Order(1, 1, 0, (65536,)),
        Order(1, 1, 0, (2,), coils=True),
        Order(1, 1, 0, (0,) * 124),
    ],
)
def test_an_order_that_cannot_be_followed_is_refused_at_once(order: Order):
    with pytest.raises(ValueError, match=r"not within|can be written"):
        master().write(order)


def test_each_slave_has_its_statistics():
    bus = master(ONE + ONE.replace("17", "18").replace('"t"', '"u"'))
    bus.tick(0.0)
    bus.feed(crc(bytes([17, 0x83, 2])), 0.01)
    bus.tick(0.1)
    bus.tick(0.1)
    bus.feed(b"\x12\xff", 0.2)
    bus.tick(1.0)

    assert bus.summary() == "slave 17: 1 exceptions; slave 18: 1 of 2 unanswered, 1 garbled"
    assert bus.slaves() == (
        SlaveHealth(17, asked=1, answered=1, exceptions=1),
        SlaveHealth(18, asked=2, crc_errors=1),  # the second is under way
    )


def test_two_masters_on_one_bus_take_turns():
    one, two = master(), master(ONE.replace("17", "18"))
    bus = Bus([one, two])

    (first,) = bus.tick(0.0)
    assert first[0] == 0
    assert bus.tick(0.001) == []
    heard = bus.feed(words(17, 5), 0.01)
    assert [(i, bool(actions)) for i, actions in heard] == [(0, True)]
    due_s = bus.due()
    assert due_s is not None
    now_s = due_s

    second = [item for item in bus.tick(now_s) + bus.tick(now_s) if item[1]]

    assert [i for i, _ in second] == [1]


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        ((ONE, ""), r"modbus\.slaves: missing; name at least one value"),
        (("id = 17", "id = 248"), r"slaves\[0\]\.id: 248 is not within 1…247"),
        (('"i16"', '"int16"'), r"slaves\[0\]\.registers\[0\]\.type: 'int16' is none of .*did you mean 'i16'"),
        (("107", "65536"), r"registers\[0\]\.address: 65536 is not within 0…65535"),
        (('107, type = "i16"', '65535, type = "f32"'), r"registers\[0\]\.address: .* ends beyond 65535"),
        (('type = "i16"', "function = 1"), r"registers\[0\]\.function: 1 reads bits: type is \"bool\""),
        (('type = "i16"', 'type = "bool", function = 3'), r"registers\[0\]\.function: 3 reads registers: give `bit`"),
        ((ONE, ONE + ONE), r"modbus\.slaves: 't' is there twice"),
        ((ONE, ONE + ONE.replace('"t"', '"u"')), r"slaves\[1\]\.id: 17 is there twice"),
    ],
)
def test_a_mistake_in_the_register_map_names_its_place(mistake: tuple[str, str], told: str):
    with pytest.raises(DocumentError, match=told):
        options(ONE.replace(*mistake))
