"""Rollups: what a series did in each 15 minutes and each day, for as long as nobody needs the readings themselves.

A window begins at a whole multiple of its length since 1970, UTC. It keeps number, least, greatest and sum of the
numbers in it, the first and the last with their times, how often the value fell (a counter that was reset shows), how
many readings had no value or a text for one, and which states of the clock dated them: quality belongs to the data.

A window of 15 minutes is always made anew from all its readings, a day from its 96 windows: nothing is patched, so late
data is right however late it comes. Only where the readings themselves are gone already (retention) is what comes later
added to the window that is kept (`combined`).

96 windows of one series stand together, a day of 15 minutes or 96 days: byte by byte in docs/reference/chunk.md.
"""

import math
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np

from agent.wire.messages import Value
from agent.wire.units import US_PER_S
from fleet.core import column
from fleet.core.chunk import Rows
from fleet.core.column import ChunkError, Ints, Reader, Values, varint

DAY_US = 86_400 * US_PER_S
QUARTER_S = 900
DAY_S = 86_400
STEPS_S = (QUARTER_S, DAY_S)
"""Lengths of windows, seconds."""
WINDOWS = 96  # windows that stand together

VERSION = 1
_HEAD_BYTES = 5  # version and CRC


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Windows of one series and one length in columns, by time. Where `count` is 0, what needs a number is None."""

    start_us: Ints
    count: Ints  # numbers
    empty: Ints  # readings without a value
    texts: Ints  # readings whose value is a text
    falls: Ints  # numbers less than the one before
    clocks: Ints  # bit n: a reading was dated by the state n of chunk.CLOCKS
    first_us: Ints  # event time of `first`
    last_us: Ints
    low: Values
    high: Values
    sum: Values
    first: Values
    last: Values

    def __len__(self) -> int:
        return len(self.start_us)

    def pick(self, rows: Ints) -> "Windows":
        """Return some of the windows, in the order given."""
        return Windows(*(column.pick(getattr(self, one.name), rows) for one in fields(self)))  # type: ignore[arg-type] # arrays stay arrays

    def between(self, from_us: int, to_us: int) -> "Windows":
        """Return the windows that begin at `from_us` ≤ t < `to_us`."""
        return self.pick(np.flatnonzero((self.start_us >= from_us) & (self.start_us < to_us)))


def start_of(t_us: int, step_s: int) -> int:
    """Return where the window of a moment begins."""
    step_us = step_s * US_PER_S
    return t_us // step_us * step_us


def part_of(t_us: int, step_s: int) -> int:
    """Return where the 96 windows begin that the window of a moment stands with."""
    return start_of(t_us, step_s * WINDOWS)


def of_rows(rows: Rows, step_s: int) -> Windows:
    """Return the windows of one or more readings, which are sorted by time."""
    starts = rows.t_us // (step_s * US_PER_S) * (step_s * US_PER_S)
    at = np.concatenate(([0], np.flatnonzero(starts[1:] != starts[:-1]) + 1))
    kinds = _kinds(rows.v)
    numeric = np.flatnonzero(kinds == 0)
    count, empty, texts = (np.add.reduceat((kinds == kind).astype(np.int64), at) for kind in range(3))
    numbers, times = _numbers(rows.v, numeric), rows.t_us[numeric]
    has = np.flatnonzero(count)
    ends = np.cumsum(count)[has]
    begins = ends - count[has]
    falls, first_us, last_us = np.zeros(len(at), np.int64), starts[at], starts[at]
    figures: list[Values] = [[None] * len(at)] * 5
    if len(has):
        fell = np.concatenate(([0], (numbers[1:] < numbers[:-1]).astype(np.int64)))
        fell[begins] = 0
        falls[has] = np.add.reduceat(fell, begins)
        first_us[has], last_us[has] = times[begins], times[ends - 1]
        listed = numbers.tolist()
        found = (
            np.minimum.reduceat(numbers, begins),
            np.maximum.reduceat(numbers, begins),
            np.array([_sum(listed[start:end]) for start, end in zip(begins.tolist(), ends.tolist(), strict=True)]),
            numbers[begins],
            numbers[ends - 1],
        )
        figures = [_spread(some, has, len(at)) for some in found]
    clocks = np.bitwise_or.reduceat(np.left_shift(1, rows.clock), at)
    return Windows(starts[at], count, empty, texts, falls, clocks, first_us, last_us, *figures)


def replaced(kept: Windows | None, fresh: Windows) -> Windows:
    """Return the windows kept, with those made anew in the place of the ones that begin at the same time."""
    if kept is None:
        return fresh
    return _joined(kept.pick(np.flatnonzero(~np.isin(kept.start_us, fresh.start_us))), fresh)


def combined(windows: Windows, step_s: int) -> Windows:
    """Return windows of `step_s` made of windows as long or shorter, which are in order of time."""
    starts = windows.start_us // (step_s * US_PER_S) * (step_s * US_PER_S)
    at = [*np.flatnonzero(np.concatenate(([True], starts[1:] != starts[:-1]))).tolist(), len(starts)]
    listed = {one.name: _listed(getattr(windows, one.name)) for one in fields(windows)}
    made = [_combine(listed, int(starts[begin]), range(begin, end)) for begin, end in pairwise(at)]
    columns = zip(*made, strict=True)
    return Windows(*(column.values_of(some) for some in columns))  # type: ignore[arg-type] # counts are integers


def added(kept: Windows | None, late: Windows, step_s: int) -> Windows:
    """Return the windows kept with later ones added to those that begin at the same time: their readings are gone."""
    return late if kept is None else combined(_joined(kept, late), step_s)


@dataclass(frozen=True, slots=True, eq=False)
class Envelope:
    """What a chart needs of windows; it stands first in their bytes, so that the rest need not be unpacked."""

    start_us: Ints
    count: Ints
    clocks: Ints
    low: Values
    high: Values


def encode(windows: Windows, step_s: int) -> bytes:
    """Return windows that stand together as bytes."""
    step_us = step_s * US_PER_S
    part_us = part_of(int(windows.start_us[0]), step_s)
    body = varint(len(windows)) + varint(part_us // (step_us * WINDOWS))
    body += column.write_ints((windows.start_us - part_us) // step_us)
    body += column.write_ints(windows.count) + column.write_runs(windows.clocks)
    body += column.write_values(windows.low) + column.write_values(windows.high)
    for counts in (windows.empty, windows.texts, windows.falls):
        body += column.write_ints(counts)
    for times in (windows.first_us, windows.last_us):
        body += column.write_ints(times - windows.start_us)
    for figure in (windows.sum, windows.first, windows.last):
        body += column.write_values(figure)
    return bytes([VERSION]) + zlib.crc32(body).to_bytes(4, "little") + body


def decode(data: bytes, step_s: int) -> Windows:
    """Read what `encode` has written for windows of that length; raises ChunkError."""
    source = _opened(data)
    with _sense():
        first = _envelope(source, step_s * US_PER_S)
        count = len(first.start_us)
        empty, texts, falls = (column.read_ints(source, count) for _ in range(3))
        first_us, last_us = (column.read_ints(source, count) + first.start_us for _ in range(2))
        total, begins, ends = (column.read_values(source, count) for _ in range(3))
        source.done()
    counts = (first.count, empty, texts, falls, first.clocks)
    return Windows(first.start_us, *counts, first_us, last_us, first.low, first.high, total, begins, ends)


def decode_envelope(data: bytes, step_s: int) -> Envelope:
    """Read only what a chart needs of windows of that length; raises ChunkError."""
    source = _opened(data)
    with _sense():
        return _envelope(source, step_s * US_PER_S)


def filled(data: bytes, step_s: int) -> bool:
    """Tell whether each of the 96 windows that can stand in these bytes holds numbers; reads no more than it takes."""
    source = _opened(data)
    with _sense():
        if source.varint(WINDOWS) < WINDOWS:
            return False
        source.varint(2**62 // (step_s * US_PER_S * WINDOWS))
        column.read_ints(source, WINDOWS)
        return bool(column.read_ints(source, WINDOWS).all())


def _opened(data: bytes) -> Reader:
    if len(data) < _HEAD_BYTES or data[0] != VERSION:
        raise ChunkError(f"no rollup of version {VERSION}, which is what this release reads")
    if int.from_bytes(data[1:_HEAD_BYTES], "little") != zlib.crc32(data[_HEAD_BYTES:]):
        raise ChunkError("the rollup is damaged: its CRC-32 is another")
    return Reader(data, _HEAD_BYTES)


@contextmanager
def _sense() -> Iterator[None]:
    """Turn numpy's words for columns that do not fit each other into ours."""
    try:
        yield
    except (ValueError, IndexError, OverflowError) as error:
        raise ChunkError(f"the rollup makes no sense: {error}") from error


def _envelope(source: Reader, step_us: int) -> Envelope:
    count = source.varint(WINDOWS)
    part_us = source.varint(2**62 // (step_us * WINDOWS)) * step_us * WINDOWS
    start_us = column.read_ints(source, count) * step_us + part_us
    counts = column.read_ints(source, count)
    clocks = column.read_runs(source, count, 255)
    low, high = (column.read_values(source, count) for _ in range(2))
    return Envelope(start_us, counts, clocks, low, high)


def _kinds(values: Values) -> Ints:
    """Return 0 for each number, 1 for each reading without a value, 2 for each text."""
    if not isinstance(values, list):
        return np.zeros(len(values), np.int64)
    return np.array([1 if value is None else 2 if isinstance(value, str) else 0 for value in values], np.int64)


def _numbers(values: Values, rows: Ints) -> "np.ndarray[Any, np.dtype[Any]]":
    """Return the numbers among values; where integers and floats are mixed they stay what they are."""
    if not isinstance(values, list):
        return values
    found = column.values_of([values[row] for row in rows.tolist()])
    return np.array(found, object) if isinstance(found, list) else found


def _sum(numbers: Sequence[float]) -> float:
    """Return the sum, rounded once; the greatest float there is where it is beyond one."""
    try:
        return float(sum(numbers)) if all(type(number) is int for number in numbers) else math.fsum(numbers)
    except OverflowError:
        return math.copysign(sys.float_info.max, sum(number / len(numbers) for number in numbers))


def _spread(found: "np.ndarray[Any, np.dtype[Any]]", rows: Ints, count: int) -> Values:
    """Return a column of `count` with what was found at `rows`, None elsewhere."""
    if len(rows) == count:
        return column.values_of(found.tolist())
    spread: list[Value] = [None] * count
    for row, value in zip(rows.tolist(), found.tolist(), strict=True):
        spread[row] = value
    return spread


def _joined(first: Windows, second: Windows) -> Windows:
    columns = [column.concatenate([getattr(first, one.name), getattr(second, one.name)]) for one in fields(first)]
    joined = Windows(*columns)  # type: ignore[arg-type] # arrays stay arrays
    return joined.pick(np.lexsort((joined.first_us, joined.start_us)))


def _listed(values: Values) -> list[Any]:
    return values if isinstance(values, list) else values.tolist()


def _combine(windows: dict[str, list[Any]], start_us: int, rows: range) -> tuple[Any, ...]:
    """Return one window made of those at `rows`, as a tuple in the order of `Windows`."""
    counted = [row for row in rows if windows["count"][row]]
    whole = [sum(windows[name][row] for row in rows) for name in ("count", "empty", "texts", "falls")]
    clocks = 0
    for row in rows:
        clocks |= windows["clocks"][row]
    if not counted:
        return (start_us, *whole, clocks, start_us, start_us, *[None] * 5)
    whole[3] += sum(windows["first"][after] < windows["last"][before] for before, after in pairwise(counted))
    first = min(counted, key=windows["first_us"].__getitem__)
    last = max(reversed(counted), key=windows["last_us"].__getitem__)
    return (
        start_us,
        *whole,
        clocks,
        windows["first_us"][first],
        windows["last_us"][last],
        min(windows["low"][row] for row in counted),
        max(windows["high"][row] for row in counted),
        _sum([windows["sum"][row] for row in counted]),
        windows["first"][first],
        windows["last"][last],
    )
