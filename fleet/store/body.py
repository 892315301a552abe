"""Reading a batch's body: one series of it with the rest left undecoded, or all for sealing.

Only the columns of the wanted series become Python objects; all others stay bytes (msgspec's Raw).
"""

from collections.abc import Iterator
from itertools import accumulate

import msgspec

from agent.wire.codec import unpack
from agent.wire.messages import Clock, Segment, Value


class _Series(msgspec.Struct, gc=False):
    name: str
    t0_us: int
    dt: msgspec.Raw
    v: msgspec.Raw


class _Segment(msgspec.Struct, gc=False):
    seq: int
    clock: Clock
    series: list[_Series]


class _Body(msgspec.Struct, gc=False):
    segments: list[_Segment] = []


class _Whole(msgspec.Struct, gc=False):
    segments: list[Segment] = []


_whole = msgspec.json.Decoder(_Whole)
_body = msgspec.json.Decoder(_Body)
_steps = msgspec.json.Decoder(list[int])
_values = msgspec.json.Decoder(list[float | int | str | None])


def readings(body: bytes, series: str, first_seq: int, last_seq: int) -> list[tuple[int, Value]]:
    """Return the readings of one series, by time; rows outside `first_seq`…`last_seq` are duplicates and left out.

    Readings of the same microsecond keep the order in which the device sent them.
    """
    found: list[tuple[int, Value]] = []
    for segment in _body.decode(unpack(body)).segments:
        if first_seq <= segment.seq <= last_seq:
            for columns in segment.series:
                if columns.name == series:
                    times = accumulate(_steps.decode(columns.dt), initial=columns.t0_us)
                    next(times)  # dt[0] is 0: the first reading is at t0_us
                    found.extend(zip(times, _values.decode(columns.v), strict=True))
    found.sort(key=_time)  # stable; sorted already, unless the device's clock was set back
    return found


def columns(body: bytes, series: str, first_seq: int, last_seq: int) -> tuple[list[int], list[Value], list[Clock]]:
    """Return times, values and states of the clock of one series, as they stand in the body."""
    found: tuple[list[int], list[Value], list[Clock]] = ([], [], [])
    for segment in _body.decode(unpack(body)).segments:
        if first_seq <= segment.seq <= last_seq:
            for one in segment.series:
                if one.name == series:
                    steps = _steps.decode(one.dt)
                    found[0].extend(accumulate(steps[1:], initial=one.t0_us))
                    found[1].extend(_values.decode(one.v))
                    found[2].extend([segment.clock] * len(steps))
    return found


def each_columns(body: bytes, first_seq: int, last_seq: int) -> Iterator[tuple[str, list[int], list[Value]]]:
    """Yield times and values of every series, segment by segment; rows outside `first_seq`…`last_seq` are left out."""
    for segment in _body.decode(unpack(body)).segments:
        if first_seq <= segment.seq <= last_seq:
            for one in segment.series:
                steps = _steps.decode(one.dt)  # dt[0] is 0: the first reading is at t0_us
                yield one.name, list(accumulate(steps[1:], initial=one.t0_us)), _values.decode(one.v)


def each_series(body: bytes, first_seq: int, last_seq: int) -> Iterator[tuple[str, Iterator[tuple[int, Value]]]]:
    """Yield the readings of every series as `each_columns` does."""
    for name, times, values in each_columns(body, first_seq, last_seq):
        yield name, zip(times, values, strict=True)


def segments(body: bytes, first_seq: int, last_seq: int) -> Iterator[Segment]:
    """Yield the segments of `first_seq`…`last_seq` with all that they say."""
    return (one for one in _whole.decode(unpack(body)).segments if first_seq <= one.seq <= last_seq)


def _time(reading: tuple[int, Value]) -> int:
    return reading[0]
