"""Properties of the wire codec: what is written is read back, and hostile bytes only ever give a WireError."""

import gzip
import json
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wire import codec, limits
from agent.wire.errors import WireError
from agent.wire.messages import (
    Ack,
    Batch,
    Birth,
    Clock,
    ConfigDocument,
    ConfigOutcome,
    Lane,
    Reported,
    Segment,
    Series,
    Will,
)
from agent.wire.topics import DEVICE_ID, Down, Up, device_of, down, subject, up

NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,40}", fullmatch=True)
TIMES = st.integers(0, 4_000_000_000_000_000)
VALUES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40),
    st.none(),
)


@st.composite
def series(draw: st.DrawFn) -> Series:
    values = tuple(draw(st.lists(VALUES, min_size=1, max_size=30)))
    gaps = st.integers(0, 10**9)
    dt = (0, *(draw(gaps) for _ in values[1:]))
    return Series(draw(NAMES), draw(st.text("abcdef%[]/{}", max_size=32)), draw(TIMES), dt, values)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    prev_seq = seq = draw(st.integers(0, 2**40))
    segments = []
    for _ in range(draw(st.integers(0, 4))):
        seq += draw(st.integers(1, 1000))
        columns = tuple(draw(st.lists(series(), min_size=1, max_size=4)))
        segments.append(Segment(seq, draw(NAMES), draw(st.integers(0, 2**50)), draw(st.sampled_from(Clock)), columns))
    return Batch(
        version=1,
        store_id=draw(NAMES),
        lane=Lane.TELEMETRY,
        prev_seq=prev_seq,
        sent_us=draw(TIMES),
        boot_id=draw(NAMES),
        agent_version="0.1.0",
        clock=draw(st.sampled_from(Clock)),
        reported=Reported(draw(st.integers(0, 2**40)), draw(st.sampled_from(ConfigOutcome)), 0, "", ""),
        segments=tuple(segments),
    )


@given(batches())
def test_a_batch_joined_from_encoded_rows_is_the_batch(batch: Batch):
    rows = [codec.encode(segment) for segment in batch.segments]

    payload = codec.encode_batch(replace(batch, segments=()), rows)

    assert codec.decode_batch(payload) == batch
    assert codec.encode_batch(batch, rows) == payload


@given(st.binary(max_size=200))
def test_random_bytes_give_a_wire_error(data: bytes):
    for payload in (data, gzip.compress(data)):
        with pytest.raises(WireError):
            codec.decode_batch(payload)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@given(batches(), st.data())
def test_a_batch_with_any_value_at_any_place_gives_a_batch_or_a_wire_error(batch: Batch, data: st.DataObject):
    document = json.loads(codec.encode(batch))
    holder = document
    while True:
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        key = data.draw(st.sampled_from(list(keys)))
        if isinstance(holder[key], dict | list) and holder[key] and data.draw(st.booleans()):
            holder = holder[key]
            continue
        holder[key] = data.draw(JSON)
        break

    with suppress(WireError):
        codec.decode_batch(gzip.compress(json.dumps(document).encode()))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "1e999", "", "nul", '"\\ud800"'])
def test_hostile_json_gives_a_wire_error(text: str):
    with pytest.raises(WireError):
        codec.decode_batch(gzip.compress(text.encode()))


def test_a_bomb_is_refused_without_unpacking_it():
    bomb = gzip.compress(b"0" * (limits.MAX_BATCH_RAW_BYTES + 1))

    with pytest.raises(WireError, match="when unpacked"):
        codec.unpack(bomb)


def test_a_payload_over_the_limit_is_refused_unread():
    with pytest.raises(WireError, match="more than the"):
        codec.unpack(bytes(limits.MAX_BATCH_BYTES + 1))


@pytest.mark.parametrize("cut", [1, 10, 30])
def test_a_payload_that_was_cut_short_is_refused(cut: int):
    whole = gzip.compress(b'{"a": 1, "b": [1, 2, 3, 4, 5, 6, 7]}')

    with pytest.raises(WireError):
        codec.unpack(whole[:-cut])


ACK = Ack(1, "0123456789abcdef", 7, 1_780_000_000_000_000, 3, 5.0, 8883, config=ConfigDocument(3, "00", "x = 1"))


@pytest.mark.parametrize("seq", [None, 0, limits.MAX_SEQ])
def test_an_ack_that_a_fleet_gives_is_taken(seq: int | None):
    codec.check_ack(replace(ACK, acked_seq=seq))


@pytest.mark.parametrize(
    "told",
    [
        {"batch": "x" * 1000},
        {"acked_seq": -1},
        {"acked_seq": 2**63},
        {"server_us": 2**62},
        {"server_us": -1},
        {"config_revision": -1},
        {"link_port": -1},
        {"link_port": 2**70},
        {"config": ConfigDocument(-1, "00", "x = 1")},
    ],
    ids=str,
)
def test_an_ack_that_could_stop_a_device_is_refused(told: dict[str, object]):
    with pytest.raises(WireError):
        codec.check_ack(replace(ACK, **told))


BIRTH = Birth(1, 7, 1_780_000_000_000_000, "boot-1", "0.1.0")


def test_births_and_wills_within_the_limits_are_taken():
    codec.check_birth(BIRTH)
    codec.check_birth(replace(BIRTH, connection=limits.MAX_INTEGER, agent_version="x" * limits.MAX_NAME_CHARS))
    codec.check_will(Will(limits.MAX_INTEGER))


@pytest.mark.parametrize(
    "told",
    [
        {"version": 2**70},
        {"connection": 2**70},
        {"connection": -1},
        {"t_us": 10**300},
        {"t_us": -1},
        {"boot_id": "\ud800"},
        {"boot_id": ""},
        {"agent_version": "x" * 1000},
        {"agent_version": "\ud800"},
    ],
    ids=ascii,
)
def test_a_birth_that_no_database_could_keep_is_refused(told: dict[str, object]):
    with pytest.raises(WireError):
        codec.check_birth(replace(BIRTH, **told))


@pytest.mark.parametrize("connection", [-1, 2**63, 2**70])
def test_a_will_that_no_database_could_keep_is_refused(connection: int):
    with pytest.raises(WireError):
        codec.check_will(Will(connection))


@given(st.from_regex(DEVICE_ID, fullmatch=True), st.sampled_from(Up), st.sampled_from(Down))
def test_topics_and_subjects_name_their_device(device: str, said: Up, heard: Down):
    for topic in (up(device, said), down(device, heard)):
        assert device_of(topic) == device
        assert device_of(subject(topic)) == device


@pytest.mark.parametrize(
    "topic", ["fleet/d1/up", "fleet/D1/up/batch", "x/d1/up/batch", "fleet//up/batch", "fleet/*/up/a"]
)
def test_a_foreign_topic_names_no_device(topic: str):
    assert device_of(topic) == ""
