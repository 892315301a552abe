"""Chunks give back what went in, to the last bit; and bytes that are no chunk are told, whatever they are."""

import struct
import zlib
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.wire.messages import Value
from fleet.core import chunk
from fleet.core.chunk import Rows
from fleet.core.column import MAX_ROWS, ChunkError, Reader, Values, values_of, varint

INT64 = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.integers(-40_000, 40_000).map(lambda whole: whole / 100),
    st.integers(-400, 400).map(lambda whole: float(np.float32(whole / 10))),
    st.sampled_from([-0.0, 0.0, 0.1 + 0.2, 5e-324, 1.7976931348623157e308, 2.0**53, 1e16]),
)
TEXTS = st.one_of(st.sampled_from(["", "ok", "fault", "Größe"]), st.text(st.characters(codec="utf-8"), max_size=8))
ANY = st.one_of(st.none(), INT64, FLOATS, TEXTS)
VALUES = st.one_of([st.lists(kind, min_size=1, max_size=60) for kind in (FLOATS, INT64, TEXTS, st.none(), ANY)])
STEPS = st.one_of(st.just(0), st.integers(0, 3), st.integers(999_000, 1_001_000), st.integers(0, 2**40))


@st.composite
def sensors(draw: st.DrawFn) -> list[Rows]:
    """A sensor's series: some read together, some thinned out, some with times of their own."""
    together = draw(st.integers(1, 40))
    steps = draw(st.lists(STEPS, min_size=together, max_size=together))
    times = draw(st.integers(0, 2**41)) + np.cumsum(np.array(steps, np.int64))
    clocks = np.array(draw(st.lists(st.integers(0, 4), min_size=together, max_size=together)), np.int64)
    found = []
    for number in range(draw(st.integers(1, 4))):
        own = draw(st.lists(st.booleans(), min_size=together, max_size=together))
        rows = np.flatnonzero(own) if draw(st.booleans()) and any(own) else np.arange(together)
        values = draw(st.lists(draw(st.sampled_from([FLOATS, INT64, ANY])), min_size=len(rows), max_size=len(rows)))
        unit = np.array(draw(st.lists(st.integers(0, 1), min_size=len(rows), max_size=len(rows))), np.int64)
        found.append(Rows(f"board.q{number}", times[rows], values_of(values), clocks[rows], unit, ("Cel", "m³")))
    return found


def one(values: Sequence[Value], name: str = "board.temp") -> Rows:
    count = len(values)
    zeros = np.zeros(count, np.int64)
    return Rows(name, np.arange(count) * 1000, values_of(values), zeros + 2, zeros, ("Cel",))


def exactly(values: Values) -> list[object]:
    """Values by their bits and kinds, since 1 == 1.0 and 0.0 == -0.0."""
    listed = values if isinstance(values, list) else values.tolist()
    return [struct.pack("<d", value) if isinstance(value, float) else (type(value), value) for value in listed]


def told(rows: Rows) -> object:
    units = [rows.units[number] for number in rows.unit.tolist()]
    return rows.name, rows.t_us.tolist(), exactly(rows.v), rows.clock.tolist(), units


def with_crc(body: bytes) -> bytes:
    return bytes([chunk.VERSION]) + zlib.crc32(body).to_bytes(4, "little") + body


@settings(max_examples=150)
@given(values=VALUES)
def test_a_column_of_any_values_comes_back_to_the_last_bit(values: list[Value]):
    [found] = chunk.decode(chunk.encode([one(values)]))

    assert exactly(found.v) == exactly(values)


@settings(max_examples=100)
@given(series=sensors())
def test_a_sensor_comes_back_with_its_times_clocks_and_units(series: list[Rows]):
    assert list(map(told, chunk.decode(chunk.encode(series)))) == list(map(told, series))


@settings(max_examples=50)
@given(series=sensors(), which=st.integers(0, 3))
def test_one_series_can_be_read_alone(series: list[Rows], which: int):
    name = f"board.q{which}"

    found = chunk.decode(chunk.encode(series), {name})

    assert list(map(told, found)) == [told(rows) for rows in series if rows.name == name]


@settings(max_examples=200)
@given(series=sensors(), changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damage_that_the_crc_does_not_show_is_told_or_harmless(series: list[Rows], changes: list[tuple[float, int]]):
    body = bytearray(chunk.encode(series)[5:])
    for where, byte in changes:
        body[int(where * (len(body) - 1))] = byte

    with suppress(ChunkError):
        chunk.decode(with_crc(bytes(body)))


def test_a_block_that_says_it_holds_a_terabyte_takes_no_memory():
    frame = b"\xe0" + (2**40).to_bytes(8, "little") + b"\x01\x00\x00"  # RFC 8878, 3.1.1.1: one segment, of that size

    with pytest.raises(ChunkError, match="does not say that it holds 4096 bytes"):
        Reader(varint(len(frame)) + frame).block(4096)


@settings(max_examples=150)
@given(body=st.binary(max_size=200))
def test_bytes_that_are_no_chunk_are_told_or_harmless(body: bytes):
    with suppress(ChunkError):
        chunk.decode(with_crc(body))


def test_a_damaged_byte_anywhere_is_told():
    data = chunk.encode([one([20.5, 20.7, None, "fault", 3])])

    for at in range(len(data)):
        damaged = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
        with pytest.raises(ChunkError):
            chunk.decode(damaged)


def test_a_chunk_cut_off_anywhere_is_told():
    data = chunk.encode([one([20.5, 20.7, 21.0])])

    for size in range(len(data)):
        with pytest.raises(ChunkError):
            chunk.decode(data[:size])


def test_a_chunk_of_a_newer_release_is_told_as_such():
    with pytest.raises(ChunkError, match="version 9; this release reads version 1"):
        chunk.decode(bytes([9]) + chunk.encode([one([1])])[1:])


def test_series_read_together_share_one_column_of_times():
    times = np.cumsum(np.random.default_rng(1).integers(900_000, 1_100_000, 4096))
    zeros = np.zeros(4096, np.int64)
    series = [Rows(f"board.q{n}", times, zeros, zeros, zeros, ("1",)) for n in range(10)]

    assert len(chunk.encode(series)) < len(chunk.encode(series[:1])) + 400


def test_series_that_are_thinned_out_share_the_times_of_all():
    random = np.random.default_rng(1)
    times = np.cumsum(random.integers(900_000, 1_100_000, 4096))
    series = []
    for n in range(10):
        rows = np.flatnonzero(random.random(4096) < 0.5)
        zeros = np.zeros(len(rows), np.int64)
        series.append(Rows(f"board.q{n}", times[rows], zeros, zeros, zeros, ("1",)))

    assert len(chunk.encode(series)) < 0.5 * sum(len(chunk.encode([rows])) for rows in series)


@pytest.mark.parametrize(
    ("series", "words"),
    [
        ([], "0 series"),
        ([one([])], "board.temp: 0 rows"),
        ([one([1] * (MAX_ROWS + 1))], "board.temp: 4097 rows"),
        ([one([True])], "bool is no kind of reading"),
    ],
)
def test_what_no_chunk_can_hold_is_refused(series: list[Rows], words: str):
    with pytest.raises(ValueError, match=words):
        chunk.encode(series)


def test_times_that_go_back_are_refused():
    rows = one([1, 2])

    with pytest.raises(ValueError, match="its times go back"):
        chunk.encode([Rows(rows.name, rows.t_us[::-1], rows.v, rows.clock, rows.unit, rows.units)])


def test_an_integer_beyond_64_bits_is_refused():
    with pytest.raises(ValueError, match="beyond 64 bits"):
        one([2**63])
