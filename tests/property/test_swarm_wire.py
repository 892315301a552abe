"""What the swarm writes by hand is the contract's, and its ledger is what a reader of the bytes would count."""

import json
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.wire.codec import batch_id, config_hash, decode, decode_batch, encode
from agent.wire.messages import Ack, Birth, ConfigDocument, Lane, Refusal, Will
from firmware_sim.swarm import http, mqtt, wire
from firmware_sim.swarm.course import PERIOD, Course
from firmware_sim.swarm.ledger import minus
from fleet.core.tally import Tally

T0_US = 1_780_000_000_000_000
COURSES = st.builds(
    Course,
    series=st.integers(1, 12),
    every_us=st.sampled_from([1000, 100_000, 10_000_000]),
    per_row=st.sampled_from([1, 2, 20, PERIOD + 3]),
)
DEVICES = st.integers(0, 20_000)


def read_rows(course: Course, device: int, first: int, last: int) -> dict[str, list[tuple[int, float | int]]]:
    rows = [course.row(device, T0_US, seq, "boot-1") for seq in range(first, last + 1)]
    payload = wire.batch(
        store_id="s", boot_id="boot-1", lane="telemetry", prev_seq=first - 1, sent_us=T0_US, reported=wire.Reported(),
        rows=rows,
    )  # fmt: skip
    batch = decode_batch(payload)
    assert [segment.seq for segment in batch.segments] == list(range(first, last + 1))
    found: dict[str, list[tuple[int, float | int]]] = {name: [] for name in course.names}
    for segment in batch.segments:
        for series in segment.series:
            t_us = series.t0_us
            for dt, value in zip(series.dt, series.v, strict=True):
                t_us += dt
                assert isinstance(value, float | int)
                found[series.name].append((t_us, value))
    return found


@settings(max_examples=20, deadline=None)
@given(COURSES, DEVICES, st.integers(1, 700))
def test_a_row_is_the_contracts_and_begins_where_the_one_before_ended(course: Course, device: int, seq: int):
    found = read_rows(course, device, seq, seq + 1)

    for readings in found.values():
        times = [t_us for t_us, _ in readings]
        assert times == [
            course.t_us(device, T0_US, n) for n in range((seq - 1) * course.per_row, (seq + 1) * course.per_row)
        ]
        assert times == sorted(times)


@settings(max_examples=20, deadline=None)
@given(COURSES, DEVICES, st.integers(1, 40))
def test_the_ledger_counts_what_the_fleet_would_count(course: Course, device: int, rows: int):
    found = read_rows(course, device, 1, rows)

    for number, name in enumerate(course.names):
        kept = Tally()
        kept.add(found[name])
        assert course.tally(device, T0_US, number, rows) == (kept.count, kept.checksum)


@settings(max_examples=20, deadline=None)
@given(COURSES, DEVICES, st.integers(1, 2000), st.integers(1, 30))
def test_the_ledger_of_a_span_is_that_of_its_rows(course: Course, device: int, first: int, count: int):
    found = read_rows(course, device, first, first + count - 1)

    for number, name in enumerate(course.names):
        kept = Tally()
        kept.add(found[name])
        until = course.tally(device, T0_US, number, first + count - 1)
        assert minus(until, course.tally(device, T0_US, number, first - 1)) == (kept.count, kept.checksum)


@given(COURSES, st.integers(0, 10**9))
def test_a_row_is_whole_when_its_last_reading_is_over(course: Course, since_us: int):
    rows = course.rows_until(T0_US, T0_US + since_us)

    if rows:
        assert course.t_us(7, T0_US, rows * course.per_row - 1) <= T0_US + since_us


def test_two_devices_measure_different_things():
    course = Course(5, 1_000_000)

    rows = {course.row(device, T0_US, 1, "boot-1") for device in range(PERIOD)}

    assert len(rows) == PERIOD


def test_an_events_batch_with_a_snapshot_and_a_health_record_is_the_contracts():
    course = Course(3, 1_000_000)
    payload = wire.batch(
        store_id="s", boot_id="boot-1", lane="events", prev_seq=0, sent_us=T0_US,
        reported=wire.Reported(4, config_hash("x = 1")), rows=[wire.started_event(1, T0_US, "boot-1")],
        newest=course.newest(9, T0_US, 5), health=wire.health(t_us=T0_US, uptime_s=5, rows=12),
    )  # fmt: skip

    batch = decode_batch(payload)

    assert batch.lane is Lane.EVENTS
    assert [event.kind for event in batch.events] == ["agent.started"]
    assert [(new.name, new.t_us) for new in batch.newest] == [(n, course.t_us(9, T0_US, 4)) for n in course.names]
    assert batch.reported.handled == 4
    assert batch.health is not None
    assert wire.batch_id(payload) == batch_id(payload)


def test_birth_and_will_are_the_contracts():
    assert decode(Birth, wire.birth(7, T0_US, "boot-1")).connection == 7
    assert decode(Will, wire.will(7)).connection == 7


def test_an_ack_is_read_as_it_was_written():
    toml = "x = 1"
    config = ConfigDocument(4, config_hash(toml), toml)
    ack = Ack(1, "00ff", 12, T0_US, 4, 2.5, 8883, config, (), Refusal("$", "no", quarantined=True))

    told = wire.read_ack(encode(ack))

    assert told == wire.Ack("00ff", 12, 2.5, 8883, wire.Reported(4, config.hash), quarantined=True, refused="$: no")
    assert wire.read_config(encode(config)) == told.config


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"null", b'{"batch":1}', b"\xff"])
def test_what_is_no_ack_is_told(data: bytes):
    with pytest.raises(ValueError, match=r".*"):
        wire.read_ack(data)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(ends)]


@given(st.lists(st.binary(max_size=300), max_size=6), st.lists(st.integers(0, 5000), max_size=8))
def test_mqtt_packets_come_out_whole_however_they_are_cut(payloads: list[bytes], places: list[int]):
    head = mqtt.publish_head("fleet/d1/down/ack")
    reader = mqtt.Reader()

    found = [
        packet
        for part in cut(b"".join(mqtt.publish(head, p) for p in payloads), places)
        for packet in reader.feed(part)
    ]

    assert [kind for kind, _ in found] == [mqtt.PUBLISH] * len(payloads)
    assert [mqtt.published(body) for _, body in found] == [("fleet/d1/down/ack", p) for p in payloads]


@given(st.binary(max_size=200))
def test_the_mqtt_reader_survives_any_bytes(data: bytes):
    with suppress(mqtt.Malformed):
        mqtt.Reader().feed(data)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.lists(st.integers(0, 5000), max_size=8))
def test_http_answers_come_out_whole_however_they_are_cut(bodies: list[bytes], places: list[int]):
    text = b"".join(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body) for body in bodies)
    reader = http.Reader()

    found = [answer for part in cut(text, places) for answer in reader.feed(part)]

    assert [answer.body for answer in found] == bodies


def test_a_busy_gateway_says_when_to_come_again():
    head = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"

    (answer,) = http.Reader().feed(head)

    assert (answer.status, answer.retry_after_s, answer.closes) == (503, 7.0, True)


def test_connect_and_subscribe_are_as_the_standard_has_them():
    connect = mqtt.connect("d1", "fleet/d1/up/will", b"w", 60)

    assert connect[:12] == bytes((0x10, len(connect) - 2)) + b"\x00\x04MQTT\x04\x06\x00\x3c"
    assert mqtt.subscribe("a/#") == b"\x82\x08\x00\x01\x00\x03a/#\x00"
    assert json.loads(wire.will(3)) == {"connection": 3}
