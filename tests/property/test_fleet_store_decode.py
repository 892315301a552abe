"""The server's decoder agrees with the contract's own on what is a batch, whatever bytes come."""

import gc
import gzip
import json
import tracemalloc
from dataclasses import asdict, replace
from functools import reduce

import pytest
from batches import event, events, segment, telemetry
from hypothesis import example, given
from hypothesis import strategies as st

from agent.wire import codec
from agent.wire.errors import WireError
from agent.wire.limits import MAX_BATCH_RAW_BYTES, MAX_BATCH_READINGS
from agent.wire.messages import (
    AlarmChange,
    AlarmState,
    Batch,
    Gap,
    Health,
    JobResult,
    Lane,
    LineHealth,
    MachineHealth,
    MeteringHealth,
    Newest,
    RoadHealth,
    Severity,
    SlaveHealth,
    SourceHealth,
)
from fleet.gateway import lanes
from fleet.gateway.decode import decode_batch
from fleet.gateway.glance import glance

TELEMETRY = telemetry([segment(1, [1.5, None, "x", 7]), segment(2, [2.0])])
BUS = SourceHealth(
    *("bus", True, 9, 1, 5, "no answer"), LineHealth(framing=1, silent=True), (SlaveHealth(3, 2, 1, 1), SlaveHealth(9))
)
HEALTH = Health(*(7,) * 7, (BUS,), written_bytes=4096, written_readings=9)
EVENTS = events([event(1), event(2, "door.opened", log=("level=info", "level=error"))], health=HEALTH)
DOCUMENTS = [json.loads(gzip.decompress(payload)) for payload in (TELEMETRY, EVENTS)]

ALARM = AlarmChange("warm", "board.temp", AlarmState.ACTIVE, Severity.MAJOR, 5, ticket=True, value=1.5, condition="x")
FULL_HEALTH = replace(
    HEALTH,
    machine=MachineHealth(40.5, ("throttled",), 0.5, flash="mmcblk0", flash_used_percent=10),
    road=RoadHealth("link", 3, 0.5),
    loop_lag_s=0.5,
    server_offset_s=0.5,
    metering=MeteringHealth(9, 9, "saving"),
)
FULL_EVENT = event(
    *(1, "job.ended"),
    alarm=ALARM,
    gap=Gap(Lane.TELEMETRY, 1, 2, 3, 4, 5, "shed"),
    job=JobResult("job-1", ok=True, text="done"),
    log=("a line",),
)
NEWEST = (Newest("board.temp", "Cel", 5, 1.5), Newest("board.door", "", 5, "open"), Newest("board.count", "", 5, 7))
FULL = [
    json.loads(json.dumps(asdict(codec.decode_batch(payload))))  # fields of a default, too
    for payload in (
        telemetry([segment(1, [1.5, 7, "x"])], health=FULL_HEALTH, newest=NEWEST, next_s=60),
        events([FULL_EVENT], health=FULL_HEALTH),
    )
]

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**30, 4_102_444_800_000_001])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["", "a\0b", "x" * 129, "x" * 1025, "é", "telemetry", "events", "synced"])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


def outcome(decode: object, payload: bytes) -> Batch | str:
    try:
        return decode(payload)  # type: ignore[operator,no-any-return] # one of the two decoders
    except WireError as error:
        sound = error.place.startswith("$") and error.problem and str(error).isprintable()
        return "refused" if sound else f"badly refused: {error!r}"


def a_glance_is_right(payload: bytes) -> bool:
    """What a glance passes is a batch of telemetry, and it says of it what reading it whole says."""
    raw = codec.peek(payload, MAX_BATCH_RAW_BYTES)
    seen = None if raw is None else glance(raw)
    if seen is None:
        return True
    whole = decode_batch(payload)
    return seen == (replace(whole, segments=()), lanes.rows_of(whole))


def places(node: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    found = [path] if path else []
    if isinstance(node, dict):
        for key, value in node.items():
            found += places(value, (*path, key))
    if isinstance(node, list):
        for i, value in enumerate(node):
            found += places(value, (*path, i))
    return found


@st.composite
def changed_documents(draw: st.DrawFn) -> bytes:
    """A real batch with something replaced, taken away or added anywhere in it, up to three times."""
    document = json.loads(json.dumps(draw(st.sampled_from(DOCUMENTS))))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(document)))
        holder = document
        for key in path[:-1]:
            holder = holder[key]
        action = draw(st.sampled_from(["replace", "remove", "double"]))
        if action == "replace":
            holder[path[-1]] = draw(JSON)
        elif action == "remove":
            del holder[path[-1]]
        elif isinstance(holder, list):
            holder.append(holder[path[-1]])
        else:
            holder[draw(st.text(max_size=8))] = holder[path[-1]]
        if not places(document):
            break
    return json.dumps(document, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")


@given(changed_documents())
def test_both_decoders_accept_the_same_documents_as_the_same_batch(text: bytes):
    payload = gzip.compress(text, 1)

    assert outcome(decode_batch, payload) == outcome(codec.decode_batch, payload)
    assert a_glance_is_right(payload)


BEYOND: dict[type, list[object]] = {
    str: ["x" * 20_000, "\ud800", "a\0b"],
    int: [2**63, -(2**63) - 1, 10**300],
    float: [float("inf"), float("nan")],
}


def leaves() -> list[tuple[int, tuple[object, ...], type]]:
    """Return each text and number of the full batches: which, its path, its type."""
    found = []
    for which, document in enumerate(FULL):
        for path in places(document):
            value = reduce(lambda node, key: node[key], path, document)
            if type(value) in BEYOND:
                found.append((which, path, type(value)))
    return found


@pytest.mark.parametrize("leaf", leaves(), ids=lambda leaf: ".".join(map(str, leaf[1])))
def test_no_text_or_number_of_a_batch_is_without_bounds(leaf: tuple[int, tuple[object, ...], type]):
    which, path, kind = leaf
    document = json.loads(json.dumps(FULL[which]))
    holder = reduce(lambda node, key: node[key], path[:-1], document)

    for value in BEYOND[kind]:
        holder[path[-1]] = value
        payload = gzip.compress(json.dumps(document).encode(), 1)
        assert outcome(decode_batch, payload) == outcome(codec.decode_batch, payload) == "refused"


@given(st.lists(st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=300)))
def test_a_glance_passes_only_values_that_the_contract_allows(values: list[object]):
    document = json.loads(gzip.decompress(TELEMETRY))
    document["segments"][0]["series"][0] |= {"v": values, "dt": [0, *[1000] * (len(values) - 1)][: len(values)]}

    assert a_glance_is_right(gzip.compress(json.dumps(document).encode(), 1))


def test_ordinary_telemetry_is_passed_at_a_glance():
    assert glance(codec.unpack(TELEMETRY)) is not None
    assert glance(codec.unpack(EVENTS)) is None


@given(st.binary(max_size=300), st.integers(0, 400), st.sampled_from([b"", b"\0", b"\x1f\x8b"]))
def test_a_peek_unpacks_what_is_small_and_whole_and_nothing_else(raw: bytes, most: int, tail: bytes):
    payload = gzip.compress(raw, 1)

    seen = codec.peek(payload + tail, most)

    assert seen in (None, raw)
    assert (seen is not None) == (not tail and len(payload) <= most and len(raw) <= most)


def test_a_batch_of_too_many_readings_is_refused_by_both_and_passed_by_no_glance():
    rows = [segment(n, [0.5] * 4096) for n in range(1, MAX_BATCH_READINGS // 4096 + 1)]
    full, over = telemetry(rows), telemetry([*rows, segment(len(rows) + 1, [0.5])])

    assert glance(codec.unpack(full)) is not None
    assert glance(codec.unpack(over)) is None
    assert outcome(decode_batch, over) == outcome(codec.decode_batch, over) == "refused"


@pytest.mark.parametrize("key", ["name", "unit"])
def test_a_glance_keeps_no_name_of_any_length(key: str):
    document = json.loads(gzip.decompress(TELEMETRY))
    document["segments"][0]["series"][0][key] = "n" * 1_000_000
    tracemalloc.start()

    seen = glance(json.dumps(document).encode())
    gc.collect()
    kept_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    assert seen is None
    assert kept_bytes < 100_000


@given(st.binary(max_size=400))
@example(b"\xff\xfe\x00")
@example(b"")
def test_random_bytes_are_refused_by_both(payload: bytes):
    assert outcome(decode_batch, payload) == outcome(codec.decode_batch, payload) == "refused"


@given(st.binary(max_size=400))
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b"9" * 5000)
@example(b"\xef\xbb\xbf{}")
@example("{}".encode("utf-16"))
@example(b'{"x":NaN}')
def test_gzip_of_random_bytes_is_refused_by_both(raw: bytes):
    payload = gzip.compress(raw, 1)

    assert outcome(decode_batch, payload) == outcome(codec.decode_batch, payload) == "refused"


@given(st.integers(0, len(TELEMETRY) * 8 - 1), st.integers(0, len(TELEMETRY)))
def test_a_batch_with_a_flipped_bit_or_a_lost_end_is_judged_alike(bit: int, end: int):
    flipped = bytearray(TELEMETRY)
    flipped[bit // 8] ^= 1 << bit % 8

    for payload in (bytes(flipped), TELEMETRY[:end]):
        assert outcome(decode_batch, payload) == outcome(codec.decode_batch, payload)


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=3))
def test_a_document_with_overwritten_bytes_is_judged_alike(at: int, noise: bytes):
    text = bytearray(gzip.decompress(TELEMETRY))
    at %= len(text)
    text[at : at + len(noise)] = noise
    payload = gzip.compress(bytes(text), 1)

    assert outcome(decode_batch, payload) == outcome(codec.decode_batch, payload)
    assert a_glance_is_right(payload)


@pytest.mark.parametrize("digits", [18, 19, 20, 308, 4299, 4300, 4301])
@pytest.mark.parametrize("place", ["prev_seq", "sent_us", "dt"])
def test_integers_of_any_length_are_judged_alike(digits: int, place: str):
    document = json.loads(gzip.decompress(telemetry([segment(1, [1.0] * 20)])))
    text = json.dumps(document).replace("1000", "9" * digits) if place == "dt" else json.dumps({**document, place: 77})
    payload = gzip.compress(text.replace('"' + place + '": 77', f'"{place}": {"9" * digits}').encode(), 1)

    assert outcome(decode_batch, payload) == outcome(codec.decode_batch, payload)
    assert a_glance_is_right(payload)
