"""Columns of a chunk as bytes: streams of integers, and of readings' values, every one exact.

A stream of integers is what all else is made of. Of each value only what differs from what was to be expected is kept:
itself, its step from the value before, or that step's own change (order 0, 1, 2: the smallest wins), less the step
that is usual, divided by what all of them share, folded so that small is small (zigzag), and laid down byte by byte of
the same weight (byte shuffle), which zstd then finds small. Arithmetic is modulo 2⁶⁴, so any 64-bit value is exact.

Numbers with few decimals are whole numbers in disguise: 21.37 is 2137 / 10². That is done where the quotient is the
same number to the last bit, and the values for which it is not (-0.0, 0.1 + 0.2) are kept beside. A sensor that
measures in 32 bits sends 21.37 as 21.3700008392334; that too is found.

The layout, byte by byte: docs/reference/chunk.md. What is written here may only be added to: chunks stay for years.
"""

import threading
from collections.abc import Callable, Sequence
from enum import IntEnum
from itertools import pairwise
from typing import cast

import numpy as np
import zstandard
from numpy.typing import NDArray

from agent.wire.messages import Value

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Values = Ints | Floats | list[Value]
"""Values of one series: an array where all are integers or all are floats, otherwise a list."""

MAX_ROWS = 4096  # rows of a column
MAX_SCALE = 15  # decimals looked for
LEVEL = 3  # of zstd, its own default
MAX_TEXT_BYTES = MAX_ROWS * 4 * 256  # all distinct texts of a column

_SAMPLE = 64  # values by which the number of decimals is guessed
_ENOUGH = 15 / 16  # share of the sample that must fit
_MAX_WHOLE = 2**53  # whole numbers below it are exact in a float
_MAX_WHOLE32 = 2**24  # and below it in a float32
_TENS: Floats = np.power(10.0, np.arange(MAX_SCALE + 1)).astype(np.float64)
_MAX_VARINT_BITS = 70
_ONE = np.uint64(1)
_FORMAT = zstandard.FORMAT_ZSTD1_MAGICLESS
_UNTOLD = zstandard.CONTENTSIZE_UNKNOWN


class ChunkError(Exception):
    """These bytes are no chunk: damaged, cut off, or written by a newer release."""


class _Kind(IntEnum):
    """How a column of values is written; the numbers are on disk."""

    EMPTY = 0  # all None
    INTS = 1
    DECIMALS = 2  # float64: whole number / 10^scale
    DECIMALS32 = 3  # float32 of the same
    FLOATS32 = 4  # bits of float32
    FLOATS = 5  # bits of float64
    TEXTS = 6
    MIXED = 7


class _Zstd(threading.local):
    """Contexts of zstd, one a thread: they are costly to make and serve one thread at a time."""

    def __init__(self) -> None:
        plain = zstandard.ZstdCompressionParameters.from_level(
            LEVEL,
            format=zstandard.FORMAT_ZSTD1_MAGICLESS,
            write_content_size=False,
            write_checksum=False,
            write_dict_id=False,
        )
        self.compress = zstandard.ZstdCompressor(compression_params=plain).compress
        self.decompress = zstandard.ZstdDecompressor(format=_FORMAT).decompress


_zstd = _Zstd()


class Reader:
    """Reads what the functions below have written; raises ChunkError where the bytes end or make no sense."""

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self._data = data
        self._end = len(data) if end is None else end
        self.at = at

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        at, self.at = self.at, self.at + size
        if self.at > self._end:
            raise ChunkError(f"the bytes end at {self._end}, {size} more are named at {at}")
        return self._data[at : self.at]

    def part(self, start: int, end: int) -> "Reader":
        """Return a reader of the bytes `start` ≤ byte < `end`."""
        return Reader(self._data, start, end)

    def byte(self) -> int:
        """Return the next byte."""
        return self.take(1)[0]

    def varint(self, most: int) -> int:
        """Return the next varint (LEB128), which is at most `most`."""
        data, at = self._data, self.at
        found = shift = 0
        while at < self._end:
            byte = data[at]
            at += 1
            found |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follow
                break
            shift += 7
            if shift >= _MAX_VARINT_BITS:
                raise ChunkError(f"a number before byte {at} does not end")
        else:
            raise ChunkError(f"the bytes end at {self._end}, in the middle of a number")
        self.at = at
        if found > most:
            raise ChunkError(f"{found} before byte {self.at}, at most {most} makes sense")
        return found

    def signed(self) -> int:
        """Return the next signed varint (zigzag)."""
        found = self.varint(2**64 - 1)
        return (found >> 1) ^ -(found & 1)

    def text(self, most: int) -> str:
        """Return the next text, at most `most` bytes long."""
        try:
            return self.take(self.varint(most)).decode()
        except UnicodeDecodeError as error:
            raise ChunkError(f"the text before byte {self.at} is not UTF-8") from error

    def block(self, size: int) -> bytes:
        """Return the next block, `size` bytes as it was before zstd."""
        stored = self.take(self.varint(size))
        if len(stored) == size:
            return stored
        try:
            # It makes room for what the frame says, not for what it may be at most; so that is asked first.
            if zstandard.get_frame_parameters(stored, format=_FORMAT).content_size not in {size, _UNTOLD}:
                raise ChunkError(f"the block before byte {self.at} does not say that it holds {size} bytes")
            raw = _zstd.decompress(stored, max_output_size=size)
        except zstandard.ZstdError as error:
            raise ChunkError(f"the block before byte {self.at} cannot be unpacked: {error}") from error
        if len(raw) != size:
            raise ChunkError(f"the block before byte {self.at} holds {len(raw)} bytes, not {size}")
        return raw

    def done(self) -> None:
        """Raise ChunkError unless all has been read."""
        if self.at != self._end:
            raise ChunkError(f"{self._end - self.at} bytes too many at byte {self.at}")


def varint(number: int) -> bytes:
    """Return a number from 0 as LEB128: seven bits a byte, the lowest first, the top bit says that more follow."""
    out = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def signed(number: int) -> bytes:
    """Return a 64-bit number as a varint of 2n, or -2n - 1 where it is negative (zigzag)."""
    return varint((number << 1) ^ (number >> 63) if number < 0 else number << 1)


def text(words: str) -> bytes:
    """Return a text as its length in bytes and its UTF-8."""
    raw = words.encode()
    return varint(len(raw)) + raw


def block(raw: bytes) -> bytes:
    """Return bytes, by zstd where that is less, with their stored length; who reads them knows the raw length."""
    packed = _zstd.compress(raw)
    stored = packed if len(packed) < len(raw) else raw
    return varint(len(stored)) + stored


# Integers.


def write_ints(values: Ints) -> bytes:
    """Return a stream of integers; its reader knows their number."""
    best = _of_order(values, 0)
    for order in range(1, min(2, len(values) - 1) + 1):
        best = min(best, _of_order(values, order), key=len)
    return best


def read_ints(source: Reader, count: int) -> Ints:
    """Read a stream of `count` integers."""
    head = source.byte()
    order, width = head & 0x0F, head >> 4
    if order > min(2, max(0, count - 1)) or width > 8:  # noqa: PLR2004 - bytes of 64 bits
        raise ChunkError(f"the stream before byte {source.at} begins with {head:#04x}")
    seeds = [source.signed() for _ in range(order)]
    usual = source.signed()
    left = count - order
    if width == 0:
        found = np.full(left, usual, np.int64)
    else:
        unit = source.varint(2**63 - 1)
        planes = np.frombuffer(source.block(left * width), np.uint8).reshape(width, left)
        folded = np.zeros((left, 8), np.uint8)
        folded[:, :width] = planes.T
        bits = folded.view("<u8")[:, 0]
        found = (bits >> _ONE).view(np.int64) ^ -(bits & _ONE).view(np.int64)
        if unit != 1:
            found *= unit
        found += usual
    for seed in reversed(seeds):
        steps = np.empty(len(found) + 1, np.int64)
        steps[0], steps[1:] = seed, found
        found = steps.cumsum()
    return found


def _of_order(values: Ints, order: int) -> bytes:
    seeds = b""
    for _ in range(order):
        seeds += signed(int(values[0]))
        values = values[1:] - values[:-1]
    if not len(values):
        return bytes([order]) + seeds + signed(0)
    usual = int(np.partition(values, len(values) // 2)[len(values) // 2])
    rest = values - usual
    if not rest.any():
        return bytes([order]) + seeds + signed(usual)
    unit = _shared(rest)
    if unit > 1:
        rest //= unit
    folded = ((rest << 1) ^ (rest >> 63)).view(np.uint64)
    width = (int(folded.max()).bit_length() + 7) // 8
    planes = folded.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :width].T.tobytes()
    return bytes([width << 4 | order]) + seeds + signed(usual) + varint(unit) + block(planes)


def _shared(rest: Ints) -> int:
    """Return the greatest whole number that divides all; 1 where a few already share none."""
    if (rest == np.iinfo(np.int64).min).any():
        return 1  # its magnitude is none of 64 bits
    few = int(np.gcd.reduce(rest[:: max(1, len(rest) // 32)]))
    return few if few == 1 else int(np.gcd.reduce(rest))


# Values.


def values_of(values: Sequence[Value]) -> Values:
    """Return values as an array where they are all integers or all floats; raises ValueError beyond 64 bits."""
    kinds = set(map(type, values))
    if kinds == {float}:
        return np.array(values, np.float64)
    if kinds == {int}:
        try:
            return np.array(values, np.int64)
        except OverflowError as error:
            raise ValueError("an integer is beyond 64 bits") from error
    return list(values)


def pick(values: Values, rows: Ints) -> Values:
    """Return the values at `rows`, in that order."""
    return [values[row] for row in rows.tolist()] if isinstance(values, list) else values[rows]


def concatenate(parts: Sequence[Values]) -> Values:
    """Return columns as one."""
    some = [part for part in parts if len(part)]
    kinds = {None if isinstance(part, list) else part.dtype for part in some}
    if kinds and len(kinds) == 1 and None not in kinds:
        return np.concatenate(some)  # type: ignore[arg-type] # arrays of one kind
    return [value for part in some for value in (part if isinstance(part, list) else part.tolist())]


def write_values(values: Values) -> bytes:
    """Return a column of values; its reader knows their number. Raises ValueError for what is no reading's value."""
    if isinstance(values, list):
        return _write_list(values)
    if values.dtype == np.int64:
        return bytes([_Kind.INTS]) + write_ints(cast("Ints", values))
    return _write_floats(cast("Floats", values))


def read_values(source: Reader, count: int) -> Values:
    """Read a column of `count` values."""
    number = source.byte()
    if number == _Kind.EMPTY:
        return [None] * count
    if number == _Kind.MIXED:
        return _read_mixed(source, count)
    try:
        return _READ[number](source, count)
    except KeyError:
        raise ChunkError(f"a column before byte {source.at} is of the unknown kind {number}") from None


def _write_list(values: list[Value]) -> bytes:
    kinds = np.array([_tag(value) for value in values], np.int64)
    present = sorted(set(kinds.tolist()))
    if present in ([], [0]):
        return bytes([_Kind.EMPTY])
    parts = {tag: values_of([value for value in values if _tag(value) == tag]) for tag in present if tag}
    written = b"".join(_write_texts(part) if isinstance(part, list) else write_values(part) for part in parts.values())
    return written if len(present) == 1 else bytes([_Kind.MIXED]) + write_ints(kinds) + written


def _read_mixed(source: Reader, count: int) -> list[Value]:
    tags = read_ints(source, count)
    present = sorted(set(tags.tolist()))
    if not set(present) <= set(_TAGS.values()):
        raise ChunkError(f"values before byte {source.at} are of unknown kinds")
    found: list[Value] = [None] * count
    for tag in present:
        if tag:
            rows = np.flatnonzero(tags == tag)
            part = read_values(source, len(rows))
            for row, value in zip(rows.tolist(), part if isinstance(part, list) else part.tolist(), strict=True):
                found[row] = value
    return found


_TAGS: dict[type, int] = {type(None): 0, int: 1, float: 2, str: 3}


def _tag(value: Value) -> int:
    try:
        return _TAGS[type(value)]
    except KeyError:
        raise ValueError(f"{type(value).__name__} is no kind of reading") from None


def _write_texts(values: list[Value]) -> bytes:
    distinct = {value: number for number, value in enumerate(dict.fromkeys(values))}
    words = b"".join(text(str(value)) for value in distinct)
    numbers = np.array([distinct[value] for value in values], np.int64)
    return bytes([_Kind.TEXTS]) + varint(len(distinct)) + varint(len(words)) + block(words) + write_ints(numbers)


def _read_texts(source: Reader, count: int) -> list[Value]:
    distinct = source.varint(count)
    size = source.varint(MAX_TEXT_BYTES)
    words = Reader(source.block(size))
    known = [words.text(size) for _ in range(distinct)]
    words.done()
    numbers = read_ints(source, count)
    if count and not (int(numbers.min()) >= 0 and int(numbers.max()) < distinct):
        raise ChunkError(f"a text before byte {source.at} is not in its list")
    return [known[number] for number in numbers.tolist()]


def _write_floats(values: Floats) -> bytes:
    with np.errstate(all="ignore"):
        bits = values.view(np.int64)
        for kind, narrow in ((_Kind.DECIMALS, False), (_Kind.DECIMALS32, True)):
            scale = _guess_scale(values, narrow=narrow)
            if scale is not None:
                return bytes([kind]) + _write_decimals(values, scale, narrow=narrow)
        single = values.astype(np.float32)
        if np.array_equal(single.astype(np.float64).view(np.int64), bits):
            return bytes([_Kind.FLOATS32]) + write_ints(single.view(np.int32).astype(np.int64))
    return bytes([_Kind.FLOATS]) + write_ints(bits)


def _guess_scale(values: Floats, *, narrow: bool) -> int | None:
    """Return the decimals by which most of a sample are whole, None if there are none."""
    some = values[:: max(1, len(values) // _SAMPLE)]
    whole = _whole(some[None, :], _TENS[:, None])
    fits = _fits(some, whole, _TENS[:, None], narrow=narrow).sum(axis=1)
    best = int(fits.argmax())
    return best if fits[best] >= _ENOUGH * len(some) else None


def _whole(values: Floats, tens: Floats | float) -> Floats:
    found: Floats = np.rint(values * tens) + 0.0  # a whole number has no negative zero
    return found


def _fits(values: Floats, whole: Floats, tens: Floats | float, *, narrow: bool) -> NDArray[np.bool_]:
    again = np.ascontiguousarray(_quotient(whole, tens, narrow=narrow))
    same: NDArray[np.bool_] = again.view(np.int64) == values.view(np.int64)
    return same & (np.abs(whole) < (_MAX_WHOLE32 if narrow else _MAX_WHOLE))


def _quotient(whole: Floats, tens: Floats | float, *, narrow: bool) -> Floats:
    found: Floats = whole / tens
    return found.astype(np.float32).astype(np.float64) if narrow else found


def _write_decimals(values: Floats, scale: int, *, narrow: bool) -> bytes:
    whole = _whole(values, float(_TENS[scale]))
    odd = np.flatnonzero(~_fits(values, whole, float(_TENS[scale]), narrow=narrow))
    numbers = np.where(np.abs(whole) < _MAX_WHOLE, whole, 0.0).astype(np.int64)
    written = bytes([scale]) + varint(len(odd))
    if len(odd):
        written += write_ints(odd.astype(np.int64)) + write_ints(values.view(np.int64)[odd])
    return written + write_ints(numbers)


def _read_decimals(source: Reader, count: int, *, narrow: bool) -> Floats:
    scale = source.byte()
    if scale > MAX_SCALE:
        raise ChunkError(f"{scale} decimals before byte {source.at}, at most {MAX_SCALE} are known")
    odd = source.varint(count)
    rows, bits = (read_ints(source, odd), read_ints(source, odd)) if odd else (None, None)
    found = read_ints(source, count).astype(np.float64) / float(_TENS[scale])
    if narrow:
        with np.errstate(over="ignore"):
            found = found.astype(np.float32).astype(np.float64)
    if rows is not None and bits is not None:
        if not 0 <= int(rows.min()) <= int(rows.max()) < count:
            raise ChunkError(f"a value before byte {source.at} lies outside its column")
        found.view(np.int64)[rows] = bits
    return found


def _read_floats32(source: Reader, count: int) -> Floats:
    with np.errstate(all="ignore"):
        return read_ints(source, count).astype(np.int32).view(np.float32).astype(np.float64)


_READ: dict[int, Callable[[Reader, int], Values]] = {
    _Kind.INTS: read_ints,
    _Kind.DECIMALS: lambda source, count: _read_decimals(source, count, narrow=False),
    _Kind.DECIMALS32: lambda source, count: _read_decimals(source, count, narrow=True),
    _Kind.FLOATS32: _read_floats32,
    _Kind.FLOATS: lambda source, count: read_ints(source, count).view(np.float64),
    _Kind.TEXTS: _read_texts,
}


# Runs: what seldom changes.


def write_runs(codes: Ints) -> bytes:
    """Return numbers from 0 that seldom change, as runs: how many runs, and number and length of each."""
    starts = [0, *(np.flatnonzero(codes[1:] != codes[:-1]) + 1).tolist(), len(codes)] if len(codes) else []
    runs = [(int(codes[start]), end - start) for start, end in pairwise(starts)]
    return varint(len(runs)) + b"".join(varint(code) + varint(length) for code, length in runs)


def read_runs(source: Reader, count: int, most: int) -> Ints:
    """Read `count` numbers up to `most` that were written as runs."""
    runs = [(source.varint(most), source.varint(count)) for _ in range(source.varint(count))]
    if sum(length for _, length in runs) != count:
        raise ChunkError(f"the runs before byte {source.at} are not {count} long")
    return np.repeat(np.array([code for code, _ in runs], np.int64), [length for _, length in runs])
