"""The simulators' encoders, against independent readers and vectors from the standards."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_sim.catalogue import FREEZER, METER
from firmware_sim.faults import Fault, Faults
from firmware_sim.protocols.lines import Lines
from firmware_sim.protocols.modbus import RtuSlave
from firmware_sim.protocols.nmea import Nmea, angle, checksum, sentence
from firmware_sim.protocols.register import RANGES, Register

VALUE = st.floats(-1e6, 1e6)
FIVE = st.tuples(VALUE, VALUE, VALUE, VALUE, VALUE)
METER_VALUES = (230.4, 4.567, 1010.1, 4271.338, 50.0)


@given(FIVE)
def test_the_three_line_formats_say_the_same_as_their_readings(values: tuple[float, ...]) -> None:
    (csv,), (kv,), (js,) = (Lines(form, FREEZER.quantities).encode(0, values) for form in ("csv", "kv", "json"))
    readings = dict(csv.readings)
    assert csv.readings == kv.readings == js.readings
    assert [float(cell) for cell in csv.data.decode().split(",")] == list(readings.values())
    assert {key: float(text) for key, text in (pair.split("=") for pair in kv.data.decode().split())} == readings
    assert json.loads(js.data) == readings
    assert {len(frame.data.splitlines()) for frame in (csv, kv, js)} == {1}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # NMEA 0183 and the manuals of receivers
        ("GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,", 0x47),
        ("GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W", 0x6A),
        ("GPGLL,5057.970,N,00146.110,E,142451,A", 0x27),
    ],
)
def test_checksums_are_those_of_known_sentences(body: str, expected: int) -> None:
    assert checksum(body) == expected
    assert sentence(body) == f"${body}*{expected:02X}\r\n".encode()


@given(st.floats(-180, 180))
def test_an_angle_reads_back_to_a_centimetre(degrees: float) -> None:
    text, letter, said = angle(degrees, 3, "EW")
    read = (int(text[:3]) + float(text[3:]) / 60) * (-1 if letter == "W" else 1)
    assert read == said
    assert abs(said - degrees) < 1e-7
    assert float(text[3:]) < 60
    assert len(text) == 11


@given(st.integers(0, 4_000_000_000_000_000), st.floats(-90, 90), st.floats(-180, 180), st.floats(0, 50))
def test_a_fix_is_two_sentences_with_checksum(t_us: int, lat: float, lon: float, speed: float) -> None:
    frames = Nmea("van").encode(t_us, (lat, lon, speed, 359.99, 500.0, 8.0, 0.9))
    assert [frame.board for frame in frames] == ["van.gga", "van.rmc"]
    for frame in frames:
        body, _, tail = frame.data.decode("ascii").removeprefix("$").partition("*")
        assert int(tail, 16) == checksum(body)
        assert tail.endswith("\r\n")
        assert len(frame.data) <= 82
    fields = frames[1].data.decode().split(",")
    assert dict(frames[1].readings)["speed_kn"] == float(fields[7])
    assert 0 <= float(fields[8]) <= 360


def crc(data: bytes) -> bytes:
    """CRC-16/MODBUS, bit by bit, as the standard's appendix has it."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0xA001 if value & 1 else 0)
    return value.to_bytes(2, "little")


def test_the_crc_used_here_is_that_of_the_check_value() -> None:
    assert crc(b"123456789") == (0x4B37).to_bytes(2, "little")


@given(st.integers(0, 8), st.integers(1, 9), st.sampled_from((3, 4)), st.data())
def test_a_request_is_answered_however_it_is_split(address: int, count: int, code: int, data: st.DataObject) -> None:
    slave = RtuSlave(METER.quantities, METER.layout(), 1)
    body = bytes((1, code)) + address.to_bytes(2, "big") + count.to_bytes(2, "big")
    request = body + crc(body)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(request) - 1))))
    pieces = [request[start:end] for start, end in pairwise([0, *cuts, len(request)])]
    (answer,) = [frame for piece in pieces for frame in slave.receive(piece, 0.0, METER_VALUES)]
    assert answer.data[-2:] == crc(answer.data[:-2])
    if address + count > 9:
        assert answer.data[:-2] == bytes((1, code | 0x80, 2))
        assert answer.readings == ()
    else:
        assert answer.data[:3] == bytes((1, code, 2 * count))
        assert len(answer.data) == 5 + 2 * count


@given(st.binary(max_size=300))
def test_no_bytes_crash_a_slave_and_after_a_silence_it_answers_again(noise: bytes) -> None:
    slave = RtuSlave(METER.quantities, METER.layout(), 1)
    slave.receive(noise, 0.0, METER_VALUES)
    body = bytes.fromhex("010300000001")
    (answer,) = slave.receive(body + crc(body), 10.0, METER_VALUES)
    assert answer.readings == (("voltage", 230.4),)


@given(st.sampled_from(sorted(RANGES)), st.integers(0, 4), st.floats(-1e12, 1e12))
def test_registers_say_the_nearest_value_that_they_can(kind: str, decimals: int, value: float) -> None:
    register = Register(0, kind, decimals)
    words, said = register.encode(value)
    raw = 0
    for word in words:
        raw = raw << 16 | word
    bits = 16 * len(words)
    signed = raw - (1 << bits) if kind.startswith("i") and raw >> (bits - 1) else raw
    assert signed / 10**decimals == said
    least, most = (edge / 10**decimals for edge in RANGES[kind])
    assert abs(said - min(most, max(least, value))) <= 0.51 / 10**decimals


@given(st.lists(FIVE, min_size=2, max_size=40), st.integers(0, 1000), st.sampled_from(("csv", "kv", "json")))
def test_a_cut_line_never_passes_for_another(rows: list[tuple[float, ...]], seed: int, form: str) -> None:
    faults = Faults(FREEZER.quantities, None, seed, lines=True)
    faults.set(Fault.HALF_FRAMES, None, None)
    encoder = Lines(form, FREEZER.quantities)
    frames = [frame for row in rows for frame in encoder.encode(0, row)]
    stream = b"".join(faults.damage(frame).data for frame in frames)
    separators = {"csv": b",", "kv": b"=", "json": b":"}[form]
    right = {frame.data for frame in frames}
    passing = [line for line in stream.splitlines(keepends=True) if line.count(separators) == 6 - (form == "csv")]
    assert all(line in right or not line.endswith(b"\n") for line in passing)
