"""Bytes ↔ messages, with the standard library alone.

Messages are JSON objects; a batch is gzip of one. The device encodes a row once, when it commits it, and builds a
batch by joining encoded rows, so that draining a backlog never parses what it sends. Decoding is strict (no type is
converted, nothing out of range passes) and an error names the place.

The server decodes batches with a faster library into these same classes and then calls `check_batch`, so both sides
hold the same rules. The golden vectors in `tests/vectors/` are read by both.
"""

import hashlib
import json
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar, cast

from agent.wire import limits, messages
from agent.wire.decoder import decoder
from agent.wire.errors import WireError
from agent.wire.messages import (
    Ack,
    Batch,
    Birth,
    ConfigDocument,
    DeviceEvent,
    Gap,
    Health,
    Lane,
    MachineHealth,
    MeteringHealth,
    Newest,
    Reported,
    Segment,
    Series,
    SourceHealth,
    Value,
    Will,
)

T = TypeVar("T")

GZIP_LEVEL = 6
BACKLOG_GZIP_LEVEL = 4  # half the time of 6, for 7 % more bytes
BATCH_ID_CHARS = 16
MAX_KNOWN_NAMES = 4096  # of series, with their units, that need not be checked again
_FLOATS = frozenset({float})
NAME = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.:/-]{{0,{limits.MAX_NAME_CHARS - 1}}}")


def batch_id(payload: bytes) -> str:
    """Name of a batch: the first 16 hex digits of the SHA-256 of its bytes as sent."""
    return hashlib.sha256(payload).hexdigest()[:BATCH_ID_CHARS]


def config_hash(toml: str) -> str:
    """Hash of a config document's text: SHA-256 of its UTF-8, hex."""
    return hashlib.sha256(toml.encode()).hexdigest()


def encode(message: object) -> bytes:
    """Encode any message of the contract; fields that hold their default are left out."""
    return json.dumps(_plain(message), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


class Pack:
    """Rows of a batch, compressed before it is known what its head will say: the head goes behind them.

    So the batch after the one that waits for its ack can be made meanwhile. `level` is that of zlib, 1 … 9.
    """

    def __init__(self, lane: Lane, rows: Sequence[bytes], level: int = GZIP_LEVEL) -> None:
        self._deflate = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        key = b'{"segments":[' if lane is Lane.TELEMETRY else b'{"events":['
        self._start = self._deflate.compress(b"".join((key, b",".join(rows), b"],")) if rows else b"{")

    def finish(self, head: Batch) -> bytes:
        """Return the payload with `head`, which is of the same lane; only once."""
        text = encode(replace(head, segments=(), events=()))
        return b"".join((self._start, self._deflate.compress(text[1:]), self._deflate.flush()))


def encode_batch(head: Batch, rows: Sequence[bytes]) -> bytes:
    """Encode a batch whose rows are encoded already: `head` without rows, `rows` from `encode`, in order of seq."""
    return Pack(head.lane, rows).finish(head)


def unpack(payload: bytes) -> bytes:
    """Gunzip a batch within its limits; raises WireError at `$`."""
    if len(payload) > limits.MAX_BATCH_BYTES:
        raise WireError("$", f"{len(payload)} bytes, more than the {limits.MAX_BATCH_BYTES} that a batch may have")
    inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        raw = inflater.decompress(payload, limits.MAX_BATCH_RAW_BYTES)
    except zlib.error as error:
        raise WireError("$", "not gzip") from error
    if inflater.unconsumed_tail:
        raise WireError("$", f"more than {limits.MAX_BATCH_RAW_BYTES} bytes when unpacked")
    if not inflater.eof or inflater.unused_data:
        raise WireError("$", "not one whole gzip member")
    return raw


def peek(payload: bytes, most: int) -> bytes | None:
    """Gunzip a batch that unpacks to `most` bytes at most; None if it is larger, or not what `unpack` takes."""
    inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        raw = inflater.decompress(payload, most) if len(payload) <= most else b""
    except zlib.error:
        return None
    return raw if inflater.eof and not inflater.unused_data else None


def decode(kind: type[T], data: bytes) -> T:
    """Decode one message of the given class; raises WireError that names the place."""
    try:
        value = json.loads(data.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise WireError("$", "not JSON") from error
    return cast("T", decoder(cast("Any", kind))(value, "$"))


def _refuse_constant(name: str) -> None:
    msg = f"{name} is no JSON"  # Python reads NaN and Infinity, the standard does not know them
    raise ValueError(msg)


def decode_batch(payload: bytes) -> Batch:
    """Unpack, decode and check one batch; raises WireError."""
    batch = decode(Batch, unpack(payload))
    check_batch(batch)
    return batch


def check_batch(batch: Batch) -> None:
    """Check what types cannot say: lengths, ranges, order; raises WireError."""
    if batch.version != messages.VERSION:
        raise WireError("$.version", f"{batch.version}; this side speaks {messages.VERSION}")
    _check_name(batch.store_id, "$.store_id")
    _check_name(batch.boot_id, "$.boot_id")
    _check_range(batch.prev_seq, 0, limits.MAX_SEQ, "$.prev_seq")
    _check_time(batch.sent_us, "$.sent_us")
    _check_text(batch.agent_version, limits.MAX_NAME_CHARS, "$.agent_version")
    check_reported(batch.reported, "$.reported")
    _check_range(batch.next_s, 0, limits.MAX_NEXT_S, "$.next_s")
    if batch.segments and batch.lane is not Lane.TELEMETRY:
        raise WireError("$.segments", f"segments in a batch of the lane {batch.lane}")
    if batch.events and batch.lane is not Lane.EVENTS:
        raise WireError("$.events", f"events in a batch of the lane {batch.lane}")
    _check_count(batch.segments, limits.MAX_SEGMENTS, "$.segments")
    if (readings := sum(len(one.v) for row in batch.segments for one in row.series)) > limits.MAX_BATCH_READINGS:
        raise WireError("$.segments", f"{readings} readings, more than {limits.MAX_BATCH_READINGS}")
    _check_count(batch.events, limits.MAX_EVENTS, "$.events")
    _check_count(batch.newest, limits.MAX_SERIES, "$.newest")
    seq = batch.prev_seq
    for i, segment in enumerate(batch.segments):
        place = f"$.segments[{i}]"
        seq = _check_seq(segment.seq, seq, place)
        _check_segment(segment, place)
    for i, event in enumerate(batch.events):
        place = f"$.events[{i}]"
        seq = _check_seq(event.seq, seq, place)
        _check_event(event, place)
    for i, newest in enumerate(batch.newest):
        check_newest(newest, f"$.newest[{i}]")
    if batch.health is not None:
        _check_health(batch.health, "$.health")


def check_ack(ack: Ack) -> None:
    """Check what types cannot say of an ack, so that nothing of it can stop a device; raises WireError."""
    _check_text(ack.batch, limits.MAX_NAME_CHARS, "$.batch")
    if ack.acked_seq is not None:
        _check_range(ack.acked_seq, 0, limits.MAX_SEQ, "$.acked_seq")
    _check_time(ack.server_us, "$.server_us")
    _check_range(ack.config_revision, 0, limits.MAX_INTEGER, "$.config_revision")
    _check_range(ack.link_port, 0, limits.MAX_PORT, "$.link_port")
    if ack.config is not None:
        check_config(ack.config, "$.config")


def check_config(document: ConfigDocument, place: str = "$") -> None:
    """Check what types cannot say of a config document; raises WireError."""
    _check_range(document.revision, 0, limits.MAX_INTEGER, f"{place}.revision")


def check_birth(birth: Birth) -> None:
    """Check what types cannot say of a birth; raises WireError."""
    _check_range(birth.version, 0, limits.MAX_INTEGER, "$.version")
    _check_range(birth.connection, 0, limits.MAX_INTEGER, "$.connection")
    _check_time(birth.t_us, "$.t_us")
    _check_name(birth.boot_id, "$.boot_id")
    _check_text(birth.agent_version, limits.MAX_NAME_CHARS, "$.agent_version")


def check_will(will: Will) -> None:
    """Check what types cannot say of a will; raises WireError."""
    _check_range(will.connection, 0, limits.MAX_INTEGER, "$.connection")


def check_newest(newest: Newest, place: str = "$") -> None:
    """Check what types cannot say of a reading in a snapshot or as it comes; raises WireError."""
    _check_name(newest.name, f"{place}.name")
    _check_text(newest.unit, limits.MAX_UNIT_CHARS, f"{place}.unit")
    _check_time(newest.t_us, f"{place}.t_us")
    _check_value(newest.v, f"{place}.v")


def check_reported(reported: Reported, place: str) -> None:
    """Check what types cannot say; raises WireError, at or below `place`."""
    _check_range(reported.handled, 0, limits.MAX_SEQ, f"{place}.handled")
    _check_range(reported.applied, 0, limits.MAX_SEQ, f"{place}.applied")
    _check_text(reported.applied_hash, limits.MAX_NAME_CHARS, f"{place}.applied_hash")
    _check_text(reported.reason, limits.MAX_TEXT_CHARS, f"{place}.reason")


def _check_health(health: Health, place: str) -> None:
    for name in ("t_us", "buffer_oldest_us", "cert_expires_us"):
        _check_time(getattr(health, name), f"{place}.{name}")
    for name in ("uptime_s", "rss_bytes", "buffer_rows", "buffer_bytes", "written_readings"):
        _check_range(getattr(health, name), 0, limits.MAX_INTEGER, f"{place}.{name}")
    if health.written_bytes is not None:
        _check_range(health.written_bytes, 0, limits.MAX_INTEGER, f"{place}.written_bytes")
    _check_count(health.sources, limits.MAX_SOURCES, f"{place}.sources")
    for i, source in enumerate(health.sources):
        here = f"{place}.sources[{i}]"
        _check_name(source.name, f"{here}.name")
        _check_time(source.last_us, f"{here}.last_us")
        _check_text(source.detail, limits.MAX_TEXT_CHARS, f"{here}.detail")
        for name in ("readings", "errors"):
            _check_range(getattr(source, name), 0, limits.MAX_INTEGER, f"{here}.{name}")
        _check_line(source, here)
    for name in ("loop_lag_s", "server_offset_s"):
        _check_gauge(getattr(health, name), f"{place}.{name}")
    if health.machine is not None:
        _check_machine(health.machine, f"{place}.machine")
    _check_metering(health.metering, f"{place}.metering")
    if health.road is not None:
        _check_text(health.road.road, limits.MAX_NAME_CHARS, f"{place}.road.road")
        _check_range(health.road.connects, 0, limits.MAX_INTEGER, f"{place}.road.connects")
        _check_gauge(health.road.rtt_s, f"{place}.road.rtt_s")


def _check_line(source: SourceHealth, place: str) -> None:
    if source.line is not None:
        for name in ("framing", "parity", "overrun", "breaks", "overlong", "reopened"):
            _check_range(getattr(source.line, name), 0, limits.MAX_INTEGER, f"{place}.line.{name}")
    _check_count(source.slaves, limits.MAX_SLAVES, f"{place}.slaves")
    for i, slave in enumerate(source.slaves):
        for name in ("address", "asked", "answered", "timeouts", "crc_errors", "exceptions"):
            _check_range(getattr(slave, name), 0, limits.MAX_INTEGER, f"{place}.slaves[{i}].{name}")


def _check_metering(metering: MeteringHealth | None, place: str) -> None:
    if metering is None:
        return
    _check_range(metering.bytes_per_day, 0, limits.MAX_INTEGER, f"{place}.bytes_per_day")
    _check_range(metering.spent_bytes, 0, limits.MAX_INTEGER, f"{place}.spent_bytes")
    _check_text(metering.saving, limits.MAX_NAME_CHARS, f"{place}.saving")


def _check_machine(machine: MachineHealth, place: str) -> None:
    for name in ("cpu_celsius", "load"):
        _check_gauge(getattr(machine, name), f"{place}.{name}")
    for name in ("memory_bytes", "memory_free_bytes", "disk_bytes", "disk_free_bytes", "flash_errors"):
        _check_range(getattr(machine, name), 0, limits.MAX_INTEGER, f"{place}.{name}")
    if machine.flash_used_percent is not None:
        _check_range(machine.flash_used_percent, 0, 1000, f"{place}.flash_used_percent")
    _check_text(machine.flash, limits.MAX_NAME_CHARS, f"{place}.flash")
    _check_count(machine.throttling, limits.MAX_THROTTLING, f"{place}.throttling")
    for i, said in enumerate(machine.throttling):
        _check_text(said, limits.MAX_NAME_CHARS, f"{place}.throttling[{i}]")


def _check_segment(segment: Segment, place: str) -> None:
    _check_name(segment.boot_id, f"{place}.boot_id")
    _check_range(segment.mono_us, 0, limits.MAX_INTEGER, f"{place}.mono_us")
    _check_count(segment.series, limits.MAX_SERIES, f"{place}.series")
    if not segment.series:
        raise WireError(f"{place}.series", "empty")
    for i, series in enumerate(segment.series):
        if not _is_plain(series):
            _check_series(series, f"{place}.series[{i}]")


def _is_plain(series: Series) -> bool:
    """Tell at a glance that `_check_series` finds nothing wrong, as with nearly all there is; False says nothing."""
    dt, v = series.dt, series.v
    return (
        len(series.name) <= limits.MAX_NAME_CHARS
        and len(series.unit) <= limits.MAX_UNIT_CHARS
        and _is_named(series.name, series.unit)
        and 0 < len(v) <= limits.MAX_READINGS
        and len(dt) == len(v)
        and dt[0] == 0
        and min(dt) >= 0
        and limits.MIN_TIME_US <= series.t0_us <= series.t0_us + sum(dt) <= limits.MAX_TIME_US
        and set(map(type, v)) == _FLOATS
        and math.isfinite(sum(cast("tuple[float, ...]", v)))  # one that is not finite makes the sum so too
    )


@lru_cache(MAX_KNOWN_NAMES)
def _is_named(name: str, unit: str) -> bool:
    return NAME.fullmatch(name) is not None and unit.isascii() and "\0" not in unit


def _check_series(series: Series, place: str) -> None:
    _check_name(series.name, f"{place}.name")
    _check_text(series.unit, limits.MAX_UNIT_CHARS, f"{place}.unit")
    _check_count(series.v, limits.MAX_READINGS, f"{place}.v")
    if not series.v:
        raise WireError(f"{place}.v", "empty")
    if len(series.dt) != len(series.v):
        raise WireError(f"{place}.dt", f"{len(series.dt)} entries for {len(series.v)} values")
    if series.dt[0] != 0:
        raise WireError(f"{place}.dt[0]", f"{series.dt[0]}; the first reading is at t0_us, so it is 0")
    if min(series.dt) < 0:
        at = next(i for i, dt in enumerate(series.dt) if dt < 0)
        raise WireError(f"{place}.dt[{at}]", f"{series.dt[at]} is negative")
    _check_time(series.t0_us, f"{place}.t0_us")
    _check_time(series.t0_us + sum(series.dt), f"{place}.dt")
    for i, value in enumerate(series.v):
        _check_value(value, f"{place}.v[{i}]")


def _check_event(event: DeviceEvent, place: str) -> None:
    _check_name(event.kind, f"{place}.kind")
    _check_name(event.boot_id, f"{place}.boot_id")
    _check_range(event.mono_us, 0, limits.MAX_INTEGER, f"{place}.mono_us")
    _check_text(event.subject, limits.MAX_NAME_CHARS * 2, f"{place}.subject")
    _check_text(event.text, limits.MAX_TEXT_CHARS, f"{place}.text")
    _check_time(event.t_us, f"{place}.t_us")
    if event.alarm is not None:
        _check_name(event.alarm.rule, f"{place}.alarm.rule")
        _check_name(event.alarm.series, f"{place}.alarm.series")
        _check_time(event.alarm.first_bad_us, f"{place}.alarm.first_bad_us")
        _check_value(event.alarm.value, f"{place}.alarm.value")
        _check_text(event.alarm.condition, limits.MAX_TEXT_CHARS, f"{place}.alarm.condition")
    if event.gap is not None:
        _check_gap(event.gap, f"{place}.gap")
    _check_count(event.log, limits.MAX_LOG_LINES, f"{place}.log")
    for i, line in enumerate(event.log):
        _check_text(line, limits.MAX_LOG_CHARS, f"{place}.log[{i}]")
    if (chars := sum(map(len, event.log))) > limits.MAX_LOG_CHARS:
        raise WireError(f"{place}.log", f"{chars} characters together, more than {limits.MAX_LOG_CHARS}")
    if event.job is not None:
        _check_text(event.job.job, limits.MAX_NAME_CHARS, f"{place}.job.job")
        _check_text(event.job.text, limits.MAX_TEXT_CHARS, f"{place}.job.text")


def _check_gap(gap: Gap, place: str) -> None:
    _check_range(gap.from_seq, 0, limits.MAX_SEQ, f"{place}.from_seq")
    _check_range(gap.to_seq, gap.from_seq, limits.MAX_SEQ, f"{place}.to_seq")
    _check_time(gap.from_us, f"{place}.from_us")
    _check_time(gap.to_us, f"{place}.to_us")
    _check_range(gap.count, 0, limits.MAX_SEQ, f"{place}.count")
    _check_text(gap.reason, limits.MAX_TEXT_CHARS, f"{place}.reason")


def _check_seq(seq: int, before: int, place: str) -> int:
    if not before < seq <= limits.MAX_SEQ:
        raise WireError(f"{place}.seq", f"{seq} does not follow {before}: a seq grows from row to row")
    return seq


def _check_name(name: str, place: str) -> None:
    if not NAME.fullmatch(name):
        raise WireError(place, f"{name[: limits.MAX_NAME_CHARS]!r} is not a name ({NAME.pattern})")


def _check_text(text: str, most: int, place: str) -> None:
    if len(text) > most:
        raise WireError(place, f"{len(text)} characters, more than {most}")
    if "\0" in text:
        raise WireError(place, "holds a NUL character")
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise WireError(place, "holds half a surrogate pair, which is no character")


def _check_time(t_us: int, place: str) -> None:
    _check_range(t_us, limits.MIN_TIME_US, limits.MAX_TIME_US, place)


def _check_range(value: int, least: int, most: int, place: str) -> None:
    if not least <= value <= most:
        # Python refuses to print integers of more than some thousand digits, and nobody would read them.
        said = str(value) if abs(value) <= 2 * limits.MAX_INTEGER else f"a number of {value.bit_length()} bits"
        raise WireError(place, f"{said} is not within {least}…{most}")


def _check_gauge(value: float | None, place: str) -> None:
    if value is not None and not -limits.MAX_GAUGE <= value <= limits.MAX_GAUGE:
        raise WireError(place, f"{value} is not within ±{limits.MAX_GAUGE:g}")


def _check_count(items: Sequence[object], most: int, place: str) -> None:
    if len(items) > most:
        raise WireError(place, f"{len(items)} entries, more than {most}")


def _check_value(value: Value, place: str) -> None:
    if isinstance(value, str):
        _check_text(value, limits.MAX_VALUE_CHARS, place)
    elif isinstance(value, int):
        _check_range(value, -limits.MAX_INTEGER - 1, limits.MAX_INTEGER, place)
    elif value is not None and not math.isfinite(value):
        raise WireError(place, f"{value} is not a finite number")


def _plain(value: object) -> object:
    """Turn a message into what `json` writes; columns of plain values pass through untouched."""
    if is_dataclass(value):
        return {
            field.name: _plain(item) for field in fields(value) if (item := getattr(value, field.name)) != field.default
        }
    if isinstance(value, tuple) and value and is_dataclass(value[0]):
        return [_plain(item) for item in value]
    return value
