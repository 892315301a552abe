"""COBS frames: binary records between zero bytes, as firmware sends them (Cheshire & Baker, 1999).

    | COBS( head … fields … CRC-16 ) | 00 |

Consistent Overhead Byte Stuffing takes the zeros out of a frame, so that a zero is always a frame's end and a receiver
is in step again after one frame at most. Each block is a count n and n-1 bytes; a zero follows them unless n is 255 or
the frame is over. Before that, the CRC is appended: CRC-16/CCITT-FALSE (polynomial 0x1021, from 0xFFFF, not reflected;
"123456789" gives 0x29B1) of all that stands before it.

A kind of frame is known by the bytes it begins with, its head; what follows is a struct from the config. Frames of
another head are passed over: a board may say more than one wants to hear. A frame of the right head and a wrong length,
or with a wrong CRC, is a fault.

    listens   no kind has a `command`: all that comes is read
    asks      a command is sent each `every_s`, in a frame like those that come, and the frame of its kind is awaited;
              without an answer it is sent `retries` times more, then ever more rarely (`agent.core.turn`). What
              comes unasked meanwhile is read as well.
"""

import struct
from binascii import crc_hqx
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from agent.core.frames import LineSplitter
from agent.core.quantity import MAX_QUANTITY_CHARS, Quantity, check_names, read_scale, read_unit
from agent.core.turn import Turn
from agent.ports import Action, Emit, Fault, PortSettings, Write
from agent.wire.document import Table
from agent.wire.limits import MAX_VALUE_CHARS
from agent.wire.messages import Value

END = b"\0"
WHOLE_BLOCK = 255  # a count after whose bytes no zero is meant
CRC_BYTES = 2
CRC_START = 0xFFFF
DEFAULT_MAX_FRAME_BYTES = 512
MAX_MAX_FRAME_BYTES = 4096
MAX_HEAD_BYTES = 16
MAX_FRAMES = 32  # kinds of one source
MAX_SKIP_BYTES = 1024


class Damaged(ValueError):
    """The bytes are no frame."""


class Crc(StrEnum):
    """What ends a frame."""

    CCITT_FALSE = "ccitt-false"
    NONE = "none"


class Order(StrEnum):
    """Which byte of a number comes first."""

    LITTLE = "little"
    BIG = "big"


class Kind(StrEnum):
    """What a field is."""

    U8 = "u8"
    I8 = "i8"
    U16 = "u16"
    I16 = "i16"
    U32 = "u32"
    I32 = "i32"
    U64 = "u64"
    I64 = "i64"
    F32 = "f32"
    F64 = "f64"
    BOOL = "bool"  # a byte, or one bit of it
    TEXT = "text"  # `bytes` of UTF-8, up to the first zero


_CODES = {
    Kind.U8: "B",
    Kind.I8: "b",
    Kind.U16: "H",
    Kind.I16: "h",
    Kind.U32: "I",
    Kind.I32: "i",
    Kind.U64: "Q",
    Kind.I64: "q",
    Kind.F32: "f",
    Kind.F64: "d",
    Kind.BOOL: "B",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a frame. `at` counts among the values of the struct."""

    quantity: Quantity
    kind: Kind
    at: int
    bit: int | None  # of a bool: which bit of its byte; None for the whole

    def decode(self, raw: float | bytes) -> Value:
        """Return the value of what the struct held."""
        if isinstance(raw, bytes):
            text = raw.split(b"\0", 1)[0].decode("utf-8", "replace")
            return text[:MAX_VALUE_CHARS] or None
        if self.kind is Kind.BOOL:
            return int(raw) >> self.bit & 1 if self.bit is not None else int(bool(raw))
        return self.quantity.scaled(raw)


@dataclass(frozen=True, slots=True)
class FrameKind:
    """One kind of frame. `layout` is a format of the struct module, behind the head."""

    head: bytes
    layout: str
    fields: tuple[Field, ...]
    command: bytes | None = None
    every_s: float = 1.0

    def decode(self, body: bytes) -> tuple[tuple[str, str, Value], ...]:
        """Return the values of a frame without head and CRC; raises Damaged if its length is another."""
        if len(body) != struct.calcsize(self.layout):
            raise Damaged(f"{len(body)} bytes behind the head instead of {struct.calcsize(self.layout)}")
        raw = struct.unpack(self.layout, body)
        return tuple((f.quantity.name, f.quantity.unit, f.decode(raw[f.at])) for f in self.fields)


@dataclass(frozen=True, slots=True)
class CobsOptions:
    """The table `[source.cobs]`."""

    frames: tuple[FrameKind, ...]
    crc: Crc = Crc.CCITT_FALSE
    crc_order: Order = Order.BIG
    max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES
    timeout_s: float = 0.5
    retries: int = 1


def read(table: Table) -> CobsOptions:
    """Read `[source.cobs]`."""
    order = table.choice("byte_order", Order, Order.LITTLE)
    every_s = _read_every(table, 1.0)
    tables = table.tables("frames")
    names: list[str] = []
    frames = tuple(_read_frame(item, order, every_s, names) for item in tables)
    check_names(table, "frames", names)
    if len(frames) > MAX_FRAMES:
        raise table.error("frames", f"{len(frames)}, more than {MAX_FRAMES}")
    for i, frame in enumerate(frames):
        for other in frames[:i]:
            if frame.head.startswith(other.head) or other.head.startswith(frame.head):
                raise tables[i].error("head", f"{frame.head.hex()!r} and {other.head.hex()!r} begin alike")
    options = CobsOptions(
        frames,
        crc=table.choice("crc", Crc, Crc.CCITT_FALSE),
        crc_order=table.choice("crc_order", Order, Order.BIG),
        max_frame_bytes=table.integer("max_frame_bytes", DEFAULT_MAX_FRAME_BYTES, least=16, most=MAX_MAX_FRAME_BYTES),
        timeout_s=table.number("timeout_s", 0.5, least=0.01, most=30),
        retries=table.integer("retries", 1, most=10),
    )
    table.done()
    for item, frame in zip(tables, frames, strict=True):
        if len(encode(frame.head + bytes(struct.calcsize(frame.layout)), options)) > options.max_frame_bytes:
            raise item.error("fields", f"make a frame of more than max_frame_bytes = {options.max_frame_bytes}")
    return options


def _read_every(table: Table, default: float) -> float:
    return table.number("every_s", default, least=0.01, most=86_400)


def _read_frame(table: Table, order: Order, every_s: float, names: list[str]) -> FrameKind:
    head = _read_hex(table, "head", "")
    order = table.choice("byte_order", Order, order)
    layout = "<" if order is Order.LITTLE else ">"
    fields: list[Field] = []
    for item in table.tables("fields"):
        if "skip" in item:
            layout += f"{item.integer('skip', least=1, most=MAX_SKIP_BYTES)}x"
            item.done()
            continue
        found, code = _read_field(item, len(fields))
        fields.append(found)
        layout += code
    check_names(table, "fields", [found.quantity.name for found in fields])
    names += [found.quantity.name for found in fields]
    command = _read_hex(table, "command", "") if "command" in table else None
    every_s = _read_every(table, every_s)
    table.done()
    return FrameKind(head, layout, tuple(fields), command, every_s)


def _read_field(table: Table, at: int) -> tuple[Field, str]:
    """Read one field; returns it and its code in the struct."""
    name = table.name("name")
    if len(name) > MAX_QUANTITY_CHARS:
        raise table.error("name", f"{len(name)} characters, more than {MAX_QUANTITY_CHARS}")
    kind = table.choice("type", Kind)
    code = f"{table.integer('bytes', least=1, most=MAX_VALUE_CHARS)}s" if kind is Kind.TEXT else _CODES[kind]
    measures = kind not in {Kind.TEXT, Kind.BOOL}
    unit = read_unit(table) if measures or "unit" in table else "1"
    scale, offset = read_scale(table) if measures else (1.0, 0.0)
    bit = table.integer("bit", most=7) if kind is Kind.BOOL and "bit" in table else None
    table.done()
    return Field(Quantity(name, unit, scale=scale, offset=offset), kind, at, bit), code


def _read_hex(table: Table, key: str, default: str) -> bytes:
    text = table.text(key, default)
    try:
        found = bytes.fromhex(text)
    except ValueError:
        raise table.error(key, f'{text!r} is not hex, as in "01 0a"') from None
    if len(found) > MAX_HEAD_BYTES:
        raise table.error(key, f"{len(found)} bytes, more than {MAX_HEAD_BYTES}")
    return found


def open(options: CobsOptions, settings: PortSettings) -> "Cobs":  # noqa: A001 - the name the registry calls
    """Start listening, or asking if a kind of frame has a command."""
    asks = any(frame.command is not None for frame in options.frames)
    return CobsAsking(options, settings.byte_s()) if asks else Cobs(options)


class Cobs:
    """A dialogue that only listens."""

    def __init__(self, options: CobsOptions) -> None:
        self._options = options
        # Where a CRC tells a rest from a whole frame there is no need to wait for a silence.
        settles = options.crc is Crc.NONE
        self._splitter = LineSplitter(END, options.max_frame_bytes, settles=settles)
        self._too_long = Fault(f"a frame of more than {options.max_frame_bytes} bytes was dropped", overlong=True)

    def opened(self, now_s: float) -> Sequence[Action]:
        """Start anew."""
        self._splitter.opened(now_s)
        return ()

    def feed(self, data: bytes, now_s: float) -> Sequence[Action]:
        """Take bytes; one action a frame that is known or damaged."""
        stuffed, began_s, too_long = self._splitter.split(data, now_s)
        actions: list[Action] = [self._too_long] * too_long
        at_s: float | None = began_s
        for piece in stuffed:
            if piece:
                try:
                    kind, values = self._read(piece)
                except Damaged as error:
                    actions.append(Fault(f"{error}, in a frame of {len(piece)} bytes"))
                else:
                    if kind is not None:
                        self._heard(kind, now_s)
                        actions.append(Emit(values, at_s))
            at_s = None
        return actions

    def tick(self, now_s: float) -> Sequence[Action]:
        """Do nothing: it never asks for one."""
        del now_s
        return ()

    def due(self) -> float | None:
        """Return None: it only listens."""
        return None

    def _read(self, stuffed: bytes) -> tuple[FrameKind | None, tuple[tuple[str, str, Value], ...]]:
        """Return what a frame is and says; None if nobody asked for its kind. Raises Damaged."""
        frame = decode(stuffed, self._options)
        for kind in self._options.frames:
            if frame.startswith(kind.head):
                return kind, kind.decode(frame[len(kind.head) :])
        return None, ()

    def _heard(self, kind: FrameKind, now_s: float) -> None:
        """Take note of a good frame."""


class CobsAsking(Cobs):
    """A dialogue that sends commands and waits for their answers."""

    def __init__(self, options: CobsOptions, byte_s: float) -> None:
        super().__init__(options)
        self._byte_s = byte_s
        self._turns = [(kind, Turn(kind.every_s)) for kind in options.frames if kind.command is not None]
        self._asked: tuple[FrameKind, Turn] | None = None
        self._tries = 0
        self._until_s = 0.0

    def opened(self, now_s: float) -> Sequence[Action]:
        """Start anew; asks at the next tick."""
        self._asked, self._tries = None, 0
        for _, turn in self._turns:
            turn.start(now_s)
        return super().opened(now_s)

    def waiting(self) -> bool:
        """Tell whether an answer is awaited."""
        return self._asked is not None

    def due(self) -> float | None:
        """Return when something is to be done, monotonic seconds."""
        if self._asked is not None:
            return self._until_s
        return min(turn.due_s for _, turn in self._turns)

    def tick(self, now_s: float) -> Sequence[Action]:
        """Ask, ask again, or give up waiting."""
        if self._asked is not None:
            if now_s < self._until_s:
                return ()
            return self._give_up(*self._asked, now_s)
        kind, turn = min(self._turns, key=lambda item: item[1].due_s)
        if turn.due_s > now_s:
            return ()
        self._tries = 0
        return self._ask(kind, turn, now_s)

    def _ask(self, kind: FrameKind, turn: Turn, now_s: float) -> Sequence[Action]:
        command = encode(kind.command or b"", self._options)
        on_the_line_s = (len(command) + struct.calcsize(kind.layout) + MAX_HEAD_BYTES) * self._byte_s
        self._asked, self._until_s = (kind, turn), now_s + on_the_line_s + self._options.timeout_s
        return (Write(command),)

    def _give_up(self, kind: FrameKind, turn: Turn, now_s: float) -> Sequence[Action]:
        fault = Fault(f"no frame {kind.head.hex() or 'at all'} within {self._options.timeout_s:g} s of its command")
        self._tries += 1
        if self._tries <= self._options.retries and not turn.failures:
            return (fault, *self._ask(kind, turn, now_s))
        turn.schedule(now_s, answered=False)
        self._asked = None
        return (fault,)

    def _heard(self, kind: FrameKind, now_s: float) -> None:
        """End the wait, if this is what was awaited."""
        if self._asked is not None and self._asked[0] is kind:
            self._asked[1].schedule(now_s, answered=True)
            self._asked = None


def encode(payload: bytes, options: CobsOptions) -> bytes:
    """Return a whole frame around a payload: with its CRC, stuffed, with the zero behind it."""
    if options.crc is not Crc.NONE:
        payload += crc_hqx(payload, CRC_START).to_bytes(CRC_BYTES, options.crc_order.value)
    out = bytearray()
    runs = payload.split(b"\0")
    for i, run in enumerate(runs):
        whole = WHOLE_BLOCK - 1
        while len(run) > whole or (len(run) == whole and i < len(runs) - 1):
            out += bytes([WHOLE_BLOCK]) + run[:whole]
            run = run[whole:]  # noqa: PLW2901 - the rest of the run
        out += bytes([len(run) + 1]) + run
    return bytes(out) + END


def decode(stuffed: bytes, options: CobsOptions) -> bytes:
    """Return the payload of a frame without its zero; raises Damaged."""
    out = bytearray()
    at, size = 0, len(stuffed)
    while at < size:
        end = at + stuffed[at]
        if end > size or end == at:
            raise Damaged("a count points beyond the end")
        out += stuffed[at + 1 : end]
        if end < size and end - at < WHOLE_BLOCK:
            out.append(0)
        at = end
    if options.crc is Crc.NONE:
        return bytes(out)
    if len(out) <= CRC_BYTES:
        raise Damaged("nothing but a CRC")
    payload, given = bytes(out[:-CRC_BYTES]), int.from_bytes(out[-CRC_BYTES:], options.crc_order.value)
    found = crc_hqx(payload, CRC_START)
    if given != found:
        raise Damaged(f"CRC {given:04X} instead of {found:04X}")
    return payload
