"""Chunks: the readings of one sensor, up to a day and 4,096 rows, in as few bytes as they hold facts.

A sensor is what stands before the first dot of a series' name: `board` of `board.temp`. What it measures comes frame
by frame, so its series mostly share their times, and a chunk keeps each column of times once. Where series are thinned
out one by one (`sampling`), they share a column with the times of all and say which rows are theirs, if that is less.

Beside times and values a chunk keeps what tells how good they are: the state of the clock that dated each reading, and
its unit. What it lets go of is how the readings came: seqs, boots, monotonic times.

A chunk is checked by a CRC-32 over all of it, and a decoder takes no byte on trust. `VERSION` is the first byte; every
version that was ever written is read for ever. Byte by byte: docs/reference/chunk.md.
"""

import zlib
from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np

from agent.wire.limits import MAX_NAME_CHARS, MAX_UNIT_CHARS
from agent.wire.messages import Clock, Value
from fleet.core import column
from fleet.core.column import MAX_ROWS, ChunkError, Ints, Reader, Values, text, varint

VERSION = 1
MAX_SERIES = 4096  # series, and columns of times, of a chunk
CLOCKS = (Clock.UNKNOWN, Clock.FREE, Clock.SYNCED, Clock.GNSS, Clock.SERVER)
"""States of the clock, by the number that stands for each."""
UNSURE_CLOCKS = (CLOCKS.index(Clock.UNKNOWN), CLOCKS.index(Clock.FREE))
"""Those of a clock that was never set, or not lately."""

_HEAD_BYTES = 5  # version and CRC
_MAX_SECTION_BYTES = 2**31
_UTF8 = 4  # bytes of a character, at most


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Readings of one series in columns of equal length, by time; those of one microsecond in order of arrival.

    `clock` holds numbers of `CLOCKS`, `unit` numbers of `units` (UCUM).
    """

    name: str
    t_us: Ints
    v: Values
    clock: Ints
    unit: Ints
    units: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.t_us)

    def span(self, start: int, end: int) -> "Rows":
        """Return the rows `start` ≤ row < `end`."""
        part = slice(start, end)
        return Rows(self.name, self.t_us[part], self.v[part], self.clock[part], self.unit[part], self.units)

    def values(self) -> list[Value]:
        """Return the values as a list."""
        return self.v if isinstance(self.v, list) else self.v.tolist()


def sensor_of(series: str) -> str:
    """Return the sensor that a series belongs to: what stands before the first dot of its name."""
    return series.partition(".")[0]


def encode(series: Sequence[Rows]) -> bytes:
    """Return a chunk of one or more series, each of 1…4,096 rows; raises ValueError for what cannot be kept."""
    _check(series)
    own = _encode(series, *_own_times(series))
    shared = _shared_times(series)
    return own if shared is None else min(own, _encode(series, *shared), key=len)


def decode(data: bytes, names: Container[str] | None = None) -> list[Rows]:
    """Return the series of a chunk in the order in which they stand there, all or those of `names`.

    Raises ChunkError for bytes that `encode` of this or an earlier release did not write.
    """
    if len(data) < _HEAD_BYTES:
        raise ChunkError(f"{len(data)} bytes are too few for a chunk")
    if data[0] != VERSION:
        raise ChunkError(f"the chunk is of version {data[0]}; this release reads version {VERSION}")
    if int.from_bytes(data[1:_HEAD_BYTES], "little") != zlib.crc32(data[_HEAD_BYTES:]):
        raise ChunkError("the chunk is damaged: its CRC-32 is another")
    try:
        return _decode(data, names)
    except (ValueError, IndexError) as error:  # numpy's words for columns that do not fit each other
        raise ChunkError(f"the chunk makes no sense: {error}") from error


@dataclass(frozen=True, slots=True)
class _Times:
    """A column of times; `rows` of a series tells which of them are its own, None: all."""

    t_us: Ints
    clock: Ints


_Layout = tuple[list[_Times], list[tuple[int, Ints | None]]]
"""The columns of times; and of each series, its column and its rows in it."""


def _check(series: Sequence[Rows]) -> None:
    if not 1 <= len(series) <= MAX_SERIES:
        raise ValueError(f"{len(series)} series, a chunk has 1…{MAX_SERIES}")
    for rows in series:
        if not 1 <= len(rows) <= MAX_ROWS:
            raise ValueError(f"{rows.name}: {len(rows)} rows, a chunk has 1…{MAX_ROWS}")
        if not len(rows) == len(rows.v) == len(rows.clock) == len(rows.unit):
            raise ValueError(f"{rows.name}: its columns are not of one length")
        if (rows.t_us[1:] < rows.t_us[:-1]).any():
            raise ValueError(f"{rows.name}: its times go back")


def _own_times(series: Sequence[Rows]) -> _Layout:
    """Lay out each distinct column of times once."""
    known: dict[bytes, int] = {}
    times: list[_Times] = []
    places: list[tuple[int, Ints | None]] = []
    for rows in series:
        key = rows.t_us.tobytes() + rows.clock.tobytes()
        if key not in known:
            known[key] = len(times)
            times.append(_Times(rows.t_us, rows.clock))
        places.append((known[key], None))
    return times, places


def _shared_times(series: Sequence[Rows]) -> _Layout | None:
    """Lay out one column with the times of all; None where that is no use, or a time alone does not name a row."""
    first = series[0]
    if all(rows.t_us is first.t_us or np.array_equal(rows.t_us, first.t_us) for rows in series):
        return None
    t_us, at = np.unique(np.concatenate([rows.t_us for rows in series]), return_index=True)
    if len(t_us) > MAX_ROWS or any((rows.t_us[1:] == rows.t_us[:-1]).any() for rows in series):
        return None
    clock = np.concatenate([rows.clock for rows in series])[at]
    picks = [np.searchsorted(t_us, rows.t_us).astype(np.int64) for rows in series]
    if any((clock[pick] != rows.clock).any() for pick, rows in zip(picks, series, strict=True)):
        return None
    return [_Times(t_us, clock)], [(0, None if len(pick) == len(t_us) else pick) for pick in picks]


def _encode(series: Sequence[Rows], times: list[_Times], places: list[tuple[int, Ints | None]]) -> bytes:
    head = varint(len(times))
    body = b""
    for one in times:
        section = column.write_ints(one.t_us) + column.write_runs(one.clock)
        head += varint(len(one.t_us)) + varint(len(section))
        body += section
    head += varint(len(series))
    for rows, (place, picks) in zip(series, places, strict=True):
        section = (b"" if picks is None else column.write_ints(picks)) + column.write_values(rows.v)
        used, unit = np.unique(rows.unit, return_inverse=True)
        units = b"".join(text(rows.units[number]) for number in used)
        runs = column.write_runs(unit.astype(np.int64)) if len(used) > 1 else b""
        head += text(rows.name) + varint(place) + varint(len(rows)) + varint(len(used)) + units + runs
        head += varint(len(section))
        body += section
    body = head + body
    return bytes([VERSION]) + zlib.crc32(body).to_bytes(4, "little") + body


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the head says of one series."""

    name: str
    place: int
    rows: int
    unit: Ints
    units: tuple[str, ...]
    size: int


def _decode(data: bytes, names: Container[str] | None) -> list[Rows]:
    source = Reader(data, _HEAD_BYTES)
    times = [
        (source.varint(MAX_ROWS), source.varint(_MAX_SECTION_BYTES)) for _ in range(_count(source, "columns of times"))
    ]
    entries = [_entry(source, times) for _ in range(_count(source, "series"))]
    places = {entry.place for entry in entries if names is None or entry.name in names}
    columns: dict[int, _Times] = {}
    for place, (rows, size) in enumerate(times):
        if place in places:
            columns[place] = _section_of_times(_section(source, size), rows)
        else:
            source.take(size)
    found = []
    for entry in entries:
        if names is None or entry.name in names:
            found.append(_section_of_series(_section(source, entry.size), entry, columns[entry.place]))
        else:
            source.take(entry.size)
    source.done()
    return found


def _count(source: Reader, what: str) -> int:
    count = source.varint(MAX_SERIES)
    if not count:
        raise ChunkError(f"the chunk has no {what}")
    return count


def _entry(source: Reader, times: list[tuple[int, int]]) -> _Entry:
    name = source.text(MAX_NAME_CHARS * _UTF8)
    place = source.varint(len(times) - 1)
    rows = source.varint(times[place][0])
    if not rows:
        raise ChunkError(f"{name} has no rows")
    units = tuple(source.text(MAX_UNIT_CHARS * _UTF8) for _ in range(source.varint(rows)))
    if not units:
        raise ChunkError(f"{name} has no unit")
    unit = column.read_runs(source, rows, len(units) - 1) if len(units) > 1 else np.zeros(rows, np.int64)
    return _Entry(name, place, rows, unit, units, source.varint(_MAX_SECTION_BYTES))


def _section(source: Reader, size: int) -> Reader:
    at = source.at
    source.take(size)
    return source.part(at, source.at)


def _section_of_times(source: Reader, rows: int) -> _Times:
    found = _Times(column.read_ints(source, rows), column.read_runs(source, rows, len(CLOCKS) - 1))
    source.done()
    if rows and (np.diff(found.t_us) < 0).any():
        raise ChunkError("the times of the chunk go back")
    return found


def _section_of_series(source: Reader, entry: _Entry, times: _Times) -> Rows:
    t_us, clock = times.t_us, times.clock
    if entry.rows < len(t_us):
        picks = column.read_ints(source, entry.rows)
        if picks[0] < 0 or (np.diff(picks) <= 0).any():
            raise ChunkError(f"the rows of {entry.name} are not in order")
        t_us, clock = t_us[picks], clock[picks]
    v = column.read_values(source, entry.rows)
    source.done()
    return Rows(entry.name, t_us, v, clock, entry.unit, entry.units)
