"""Batches of telemetry at a glance: what ingest asks of nearly all there is, at a third of what reading it whole costs.

The limits of the contract are told to msgspec, which checks them while it reads, and what is left is asked once a
series. Nothing is kept of a batch but its head and, of each row, what a decision needs; its values are decoded again by
whoever wants them. A glance never refuses: whatever it is not sure of it leaves to `decode`, which says what is wrong
and where. What it passes is what `decode_batch` and `lanes.rows_of` return; a property test holds them together.
"""

from functools import lru_cache
from typing import Annotated

import msgspec
from msgspec import Meta

from agent.wire.codec import NAME, check_batch
from agent.wire.errors import WireError
from agent.wire.limits import (
    MAX_BATCH_READINGS,
    MAX_INTEGER,
    MAX_NAME_CHARS,
    MAX_READINGS,
    MAX_SEGMENTS,
    MAX_SEQ,
    MAX_SERIES,
    MAX_TIME_US,
    MAX_UNIT_CHARS,
    MAX_VALUE_CHARS,
    MIN_TIME_US,
)
from agent.wire.messages import Batch, Clock, Health, Lane, Newest, Reported
from fleet.core.hole import Row

MAX_KNOWN_NAMES = 4096  # of series, with their units, that need not be looked at again

_Name = Annotated[str, Meta(max_length=MAX_NAME_CHARS)]
_Integer = Annotated[int, Meta(ge=-MAX_INTEGER - 1, le=MAX_INTEGER)]
_Text = Annotated[str, Meta(max_length=MAX_VALUE_CHARS, pattern=r"\A[^\x00]*\Z")]
_Column = Meta(min_length=1, max_length=MAX_READINGS)


class _Series(msgspec.Struct, gc=False):
    name: _Name
    unit: Annotated[str, Meta(max_length=MAX_UNIT_CHARS)]
    t0_us: Annotated[int, Meta(ge=MIN_TIME_US, le=MAX_TIME_US)]
    dt: Annotated[list[Annotated[int, Meta(ge=0, le=MAX_TIME_US)]], _Column]
    v: Annotated[list[float | _Integer | _Text | None], _Column]


class _Segment(msgspec.Struct, gc=False):
    seq: int
    boot_id: _Name
    mono_us: Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
    clock: Clock
    series: Annotated[list[_Series], Meta(min_length=1, max_length=MAX_SERIES)]


class _Telemetry(msgspec.Struct, gc=False):
    """A `Batch` whose rows are segments."""

    version: int
    store_id: _Name
    lane: Lane
    prev_seq: int
    sent_us: int
    boot_id: _Name
    agent_version: _Name
    clock: Clock
    reported: Reported
    segments: Annotated[list[_Segment], Meta(min_length=1, max_length=MAX_SEGMENTS)]
    newest: tuple[Newest, ...] = ()
    health: Health | None = None
    next_s: int = 0
    events: tuple[()] = ()


_decoder = msgspec.json.Decoder(_Telemetry)


def glance(raw: bytes) -> tuple[Batch, list[Row]] | None:
    """Return an unpacked batch of telemetry without its segments, and its rows; None where it has to be read whole."""
    if not raw.isascii():
        return None
    try:
        told = _decoder.decode(raw)
        head = Batch(
            told.version,
            told.store_id,
            told.lane,
            told.prev_seq,
            told.sent_us,
            told.boot_id,
            told.agent_version,
            told.clock,
            told.reported,
            newest=told.newest,
            health=told.health,
            next_s=told.next_s,
        )
        check_batch(head)
    except (WireError, msgspec.DecodeError, RecursionError):
        return None
    if told.lane is not Lane.TELEMETRY:
        return None
    rows = []
    seq, readings = told.prev_seq, 0
    for segment in told.segments:
        row = _row(segment)
        if row is None or not seq < segment.seq <= MAX_SEQ:
            return None
        rows.append(row)
        seq = segment.seq
        readings += row.readings
    return (head, rows) if readings <= MAX_BATCH_READINGS else None


def _row(segment: _Segment) -> Row | None:
    """Return what is asked of a row, None if anything about it may be wrong."""
    if NAME.fullmatch(segment.boot_id) is None:
        return None
    from_us, to_us, readings = MAX_TIME_US, MIN_TIME_US, 0
    newest: list[tuple[str, list[object]]] = []
    for one in segment.series:
        steps, count = one.dt, len(one.v)
        end_us = one.t0_us + sum(steps)
        if steps[0] or len(steps) != count or end_us > MAX_TIME_US or not _is_named(one.name, one.unit):
            return None
        newest.append((one.name, [end_us, one.v[-1], one.unit]))
        readings += count
        from_us = min(from_us, one.t0_us)
        to_us = max(to_us, end_us)
    return Row(segment.seq, from_us, to_us, readings, newest)


@lru_cache(MAX_KNOWN_NAMES)  # it keeps what it is asked: the decoder has bounded both
def _is_named(name: str, unit: str) -> bool:
    return unit.isascii() and "\0" not in unit and NAME.fullmatch(name) is not None
