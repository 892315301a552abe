"""What a device says beside its batches is read within the contract's limits, or not at all."""

import pytest

from agent.wire.codec import encode
from agent.wire.errors import WireError
from agent.wire.limits import MAX_SERIES
from agent.wire.messages import Birth, Live, Newest, Will
from fleet.gateway.link import MAX_LIVE_BYTES, read_birth, read_live, read_will

BORN = b'{"version":1,"connection":%s,"t_us":5,"boot_id":"%s","agent_version":"1"}'
LIVE = b'{"readings":[{"name":"a.b","unit":"Cel","t_us":5,"v":1},{"name":"a.c","unit":"%s","t_us":%s,"v":%s}]}'


def test_what_is_within_the_limits_is_read():
    live = Live((Newest("board.temp", "Cel", 5, 1.5), Newest("board.door", "", 5, "open")))

    assert read_birth(BORN % (b"7", b"boot-1")) == Birth(1, 7, 5, "boot-1", "1")
    assert read_will(b'{"connection":7}') == Will(7)
    assert read_live(encode(live)) == live


@pytest.mark.parametrize(
    ("unit", "t_us", "v"),
    [
        (b"Cel", b"1" + b"0" * 300, b"1"),
        (b"Cel", b"-1", b"1"),
        (b"Cel", b"5", b"1e999"),
        (b"Cel", b"5", b"1" + b"0" * 300),
        (b"Cel", b"5", rb'"\ud800"'),
        (rb"\ud800", b"5", b"1"),
        (b"C" * 33, b"5", b"1"),
    ],
)
def test_a_live_reading_out_of_range_is_refused(unit: bytes, t_us: bytes, v: bytes):
    with pytest.raises(WireError, match=r"\$\.readings\[1\]"):
        read_live(LIVE % (unit, t_us, v))


def test_a_live_message_too_large_is_refused():
    many = encode(Live((Newest("board.temp", "", 5, 1),) * (MAX_SERIES + 1)))

    for data in (many, b" " * (MAX_LIVE_BYTES + 1)):
        with pytest.raises(WireError, match="more than"):
            read_live(data)


@pytest.mark.parametrize("data", [BORN % (b"%d" % 2**70, b"b"), BORN % (b"7", rb"\ud800"), BORN % (b"7", b"b" * 5000)])
def test_a_birth_out_of_range_is_refused(data: bytes):
    with pytest.raises(WireError):
        read_birth(data)


def test_a_will_out_of_range_is_refused():
    with pytest.raises(WireError):
        read_will(b'{"connection":%d}' % 2**70)
