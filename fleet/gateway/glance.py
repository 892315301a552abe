"""Batches of telemetry at a glance: what ingest asks of nearly all there is, at a third of what reading it whole costs.

The limits of the contract are told to msgspec, which checks them while it reads, and what is left is asked once a
series. What is the same text again and again is read once: the times of series that were read together, the names, the
config that a device reports. Nothing is kept of a batch but its head and, of each row, what a decision needs; its
values are decoded again by whoever wants them. A glance never refuses: whatever it is not sure of it leaves to
`decode`, which says what is wrong and where. What it passes is what `decode_batch` and `lanes.rows_of` return; a
property test holds them together.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated

import msgspec
from msgspec import Meta

from agent.wire.codec import NAME, check_batch, check_reported
from agent.wire.errors import WireError
from agent.wire.limits import (
    MAX_BATCH_READINGS,
    MAX_INTEGER,
    MAX_NAME_CHARS,
    MAX_NEXT_S,
    MAX_READINGS,
    MAX_SEGMENTS,
    MAX_SEQ,
    MAX_SERIES,
    MAX_TIME_US,
    MAX_UNIT_CHARS,
    MAX_VALUE_CHARS,
    MIN_TIME_US,
)
from agent.wire.messages import VERSION, Batch, Clock, Health, Lane, Newest, Reported
from fleet.core.hole import Row

MAX_KNOWN_NAMES = 4096  # of series, with their units, that need not be looked at again
MAX_KNOWN_REPORTS = 1024

_NO_NUL = r"\A[^\x00]*\Z"
_Name = Annotated[str, Meta(max_length=MAX_NAME_CHARS)]
_Time = Annotated[int, Meta(ge=MIN_TIME_US, le=MAX_TIME_US)]
_Integer = Annotated[int, Meta(ge=-MAX_INTEGER - 1, le=MAX_INTEGER)]
_Text = Annotated[str, Meta(max_length=MAX_VALUE_CHARS, pattern=_NO_NUL)]
_Column = Meta(min_length=1, max_length=MAX_READINGS)


class _Series(msgspec.Struct, gc=False):
    name: _Name
    unit: Annotated[str, Meta(max_length=MAX_UNIT_CHARS)]
    t0_us: _Time
    dt: msgspec.Raw
    v: Annotated[list[float | _Integer | _Text | None], _Column]


class _Segment(msgspec.Struct, gc=False):
    seq: int
    boot_id: _Name
    mono_us: Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
    clock: Clock
    series: Annotated[list[_Series], Meta(min_length=1, max_length=MAX_SERIES)]


class _Telemetry(msgspec.Struct, gc=False):
    """A `Batch` whose rows are segments."""

    version: Annotated[int, Meta(ge=VERSION, le=VERSION)]
    store_id: _Name
    lane: Lane
    prev_seq: Annotated[int, Meta(ge=0, le=MAX_SEQ)]
    sent_us: _Time
    boot_id: _Name
    agent_version: Annotated[_Name, Meta(pattern=_NO_NUL)]
    clock: Clock
    reported: msgspec.Raw
    segments: Annotated[list[_Segment], Meta(min_length=1, max_length=MAX_SEGMENTS)]
    newest: tuple[Newest, ...] = ()
    health: Health | None = None
    next_s: Annotated[int, Meta(ge=0, le=MAX_NEXT_S)] = 0
    events: tuple[()] = ()


_decoder = msgspec.json.Decoder(_Telemetry)
_steps = msgspec.json.Decoder(Annotated[list[Annotated[int, Meta(ge=0, le=MAX_TIME_US)]], _Column])
_reports = msgspec.json.Decoder(Reported)


class _NotSure(Exception):
    """Something may be wrong."""


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
            _reported(bytes(told.reported)),
            newest=told.newest,
            health=told.health,
            next_s=told.next_s,
        )
        if head.newest or head.health is not None:
            check_batch(head)
        elif NAME.fullmatch(head.store_id) is None or NAME.fullmatch(head.boot_id) is None:
            return None
        rows = list(_rows(told))
    except (WireError, msgspec.DecodeError, RecursionError, _NotSure):
        return None
    if told.lane is not Lane.TELEMETRY or sum(row.readings for row in rows) > MAX_BATCH_READINGS:
        return None
    return head, rows


def _rows(told: _Telemetry) -> Iterator[Row]:
    """Yield what is asked of each row; raises _NotSure or DecodeError if anything about it may be wrong."""
    seq, steps, count, took_us = told.prev_seq, None, 0, 0
    for segment in told.segments:
        if not seq < segment.seq <= MAX_SEQ or NAME.fullmatch(segment.boot_id) is None:
            raise _NotSure
        seq = segment.seq
        from_us, to_us, readings = MAX_TIME_US, MIN_TIME_US, 0
        newest: list[tuple[str, list[object]]] = []
        for one in segment.series:
            if one.dt != steps:
                steps, count, took_us = one.dt, *_span(one.dt)
            t0_us, values = one.t0_us, one.v
            end_us = t0_us + took_us
            if len(values) != count or end_us > MAX_TIME_US or not _is_named(one.name, one.unit):
                raise _NotSure
            newest.append((one.name, [end_us, values[-1], one.unit]))
            readings += count
            if t0_us < from_us:  # noqa: PLR1730 - a call each would be a tenth of a glance
                from_us = t0_us
            if end_us > to_us:  # noqa: PLR1730 - the same
                to_us = end_us
        yield Row(seq, from_us, to_us, readings, newest)


def _span(dt: msgspec.Raw) -> tuple[int, int]:
    """Return how many readings there are, and the time from the first to the last, microseconds."""
    steps = _steps.decode(dt)
    if steps[0]:
        raise _NotSure
    return len(steps), sum(steps)


@lru_cache(MAX_KNOWN_REPORTS)
def _reported(raw: bytes) -> Reported:
    """Return what a device reports; raises DecodeError or WireError, which are not remembered."""
    reported = _reports.decode(raw)
    check_reported(reported, "$.reported")
    return reported


@lru_cache(MAX_KNOWN_NAMES)  # it keeps what it is asked: the decoder has bounded both
def _is_named(name: str, unit: str) -> bool:
    return unit.isascii() and "\0" not in unit and NAME.fullmatch(name) is not None
