"""Modbus RTU master (Modbus over Serial Line V1.02, Application Protocol V1.1b3), sans IO.

One request is on the bus at a time. The slaves' registers are grouped into block reads: neighbours of one function code
within `max_gap` registers share a request. Each block's values are one Emit, dated by the first byte of the answer.

    idle ── a slave is due ──▶ asked ── answer ──────▶ quiet (3.5 characters) ──▶ next block, or idle
                                 └───── timeout ─────▶ asked again, `retries` times; then the slave backs off

A slave that does not answer is asked ever more rarely (`agent.core.turn`), so that a dead one does not slow the living;
one that answers with an exception is alive. Orders to write (`write`) go before the next turn. Bytes that are no answer
to what was asked (noise, an adapter's echo, a late answer of another slave) are searched for the answer until the time
is over.

pymodbus encodes the requests, checks the CRC and decodes the answers; it is imported with this module alone, when a
config asks for it (1.8 MB in all).
"""

import struct
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from agent.core.quantity import MAX_QUANTITY_CHARS, Quantity, check_names, read_scale, read_unit
from agent.core.turn import Turn
from agent.ports import Action, Emit, Fault, PortSettings, Write, Written
from agent.protocols.modbus_counts import Counts
from agent.protocols.modbus_write import ANSWER_BYTES as WRITE_ANSWER_BYTES
from agent.protocols.modbus_write import ECHOED_BYTES, MAX_ORDERS, Order
from agent.wire.document import Table
from agent.wire.messages import SlaveHealth, Value

MAX_REGISTERS = 125  # in one answer (V1.1b3, 6.3)
MAX_BITS = 2000  # in one answer (V1.1b3, 6.1)
MAX_ADDRESS = 0xFFFF
MAX_SLAVE = 247
MAX_SLAVES = 64  # of one source
MAX_ANSWER_BYTES = 256
QUIET_CHARS = 3.5  # between frames (Serial Line V1.02, 2.5.1.1)
LEAST_QUIET_S = 0.00175
EXCEPTION_BYTES = 5  # slave, function, code, CRC
FRAME_BYTES = 5  # slave, function, count, CRC around the data of an answer

EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "server device failure",
    5: "acknowledge",
    6: "server device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target device failed to respond",
}

_REQUESTS: dict[int, type[ModbusPDU]] = {
    1: ReadCoilsRequest,
    2: ReadDiscreteInputsRequest,
    3: ReadHoldingRegistersRequest,
    4: ReadInputRegistersRequest,
}
BIT_FUNCTIONS = (1, 2)


class Kind(StrEnum):
    """What stands in a register."""

    BOOL = "bool"  # a coil, a discrete input, or one bit of a register
    U16 = "u16"
    I16 = "i16"
    U32 = "u32"
    I32 = "i32"
    U64 = "u64"
    I64 = "i64"
    F32 = "f32"
    F64 = "f64"


class End(StrEnum):
    """Which end comes first."""

    BIG = "big"
    LITTLE = "little"


_LAYOUT = {
    Kind.BOOL: ">H",
    Kind.U16: ">H",
    Kind.I16: ">h",
    Kind.U32: ">I",
    Kind.I32: ">i",
    Kind.U64: ">Q",
    Kind.I64: ">q",
    Kind.F32: ">f",
    Kind.F64: ">d",
}


@dataclass(frozen=True, slots=True)
class Register:
    """One value of a slave. `address` counts from 0, as on the wire."""

    quantity: Quantity
    address: int
    kind: Kind
    function: int
    byte_order: End
    word_order: End
    bit: int  # of a bool in a register: 0 is the lowest

    @property
    def width(self) -> int:
        """Return how many registers, or bits, it takes."""
        return 1 if self.function in BIT_FUNCTIONS else struct.calcsize(_LAYOUT[self.kind]) // 2

    @property
    def end(self) -> int:
        """Return the address behind it."""
        return self.address + self.width

    def decode(self, items: Sequence[int]) -> Value:
        """Return the value of its registers, or of its bit; None where it is no number."""
        if self.function in BIT_FUNCTIONS:
            return int(items[0])
        words = [struct.pack(">H" if self.byte_order is End.BIG else "<H", item) for item in items]
        if self.word_order is End.LITTLE:
            words.reverse()
        (raw,) = struct.unpack(_LAYOUT[self.kind], b"".join(words))
        return (raw >> self.bit) & 1 if self.kind is Kind.BOOL else self.quantity.scaled(raw)


@dataclass(frozen=True, slots=True)
class Block:
    """Registers that one request reads."""

    function: int
    address: int
    count: int
    registers: tuple[Register, ...]

    @property
    def answer_bytes(self) -> int:
        """Return how many bytes of data a good answer carries."""
        return (self.count + 7) // 8 if self.function in BIT_FUNCTIONS else self.count * 2


@dataclass(frozen=True, slots=True)
class Slave:
    """One device on the bus."""

    address: int
    every_s: float
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class ModbusOptions:
    """The table `[source.modbus]`."""

    slaves: tuple[Slave, ...]
    timeout_s: float
    retries: int


def read(table: Table) -> ModbusOptions:
    """Read `[source.modbus]`."""
    every_s = _read_every(table, 1.0)
    max_gap = table.integer("max_gap", 0, most=MAX_REGISTERS)
    names: list[str] = []
    tables = table.tables("slaves")
    slaves = tuple(_read_slave(item, every_s, max_gap, names) for item in tables)
    check_names(table, "slaves", names)
    for i, slave in enumerate(slaves):
        if any(other.address == slave.address for other in slaves[:i]):
            raise table.error(f"slaves[{i}].id", f"{slave.address} is there twice; one slave holds all its registers")
    if len(slaves) > MAX_SLAVES:
        raise table.error("slaves", f"{len(slaves)}, more than {MAX_SLAVES}")
    options = ModbusOptions(
        slaves,
        timeout_s=table.number("timeout_s", 0.5, least=0.01, most=30),
        retries=table.integer("retries", 1, most=10),
    )
    table.done()
    return options


def _read_every(table: Table, default: float) -> float:
    return table.number("every_s", default, least=0.01, most=86_400)


def _read_slave(table: Table, every_s: float, max_gap: int, names: list[str]) -> Slave:
    address = table.integer("id", least=1, most=MAX_SLAVE)
    prefix = table.name("name") + "." if "name" in table else ""
    every_s = _read_every(table, every_s)
    orders = table.choice("byte_order", End, End.BIG), table.choice("word_order", End, End.BIG)
    registers = [_read_register(item, prefix, orders) for item in table.tables("registers")]
    check_names(table, "registers", (register.quantity.name for register in registers))
    names += [register.quantity.name for register in registers]
    table.done()
    return Slave(address, every_s, group(registers, max_gap))


def _read_register(table: Table, prefix: str, orders: tuple[End, End]) -> Register:
    name = prefix + table.name("name")
    if len(name) > MAX_QUANTITY_CHARS:
        raise table.error("name", f"{name!r} has {len(name)} characters, more than {MAX_QUANTITY_CHARS}")
    kind = table.choice("type", Kind, Kind.U16)
    in_bits = kind is Kind.BOOL and "bit" not in table
    function = table.integer("function", 1 if in_bits else 3, least=1, most=4)
    if (function in BIT_FUNCTIONS) != in_bits:
        what = (
            'reads bits: type is "bool", without `bit`' if function in BIT_FUNCTIONS else "reads registers: give `bit`"
        )
        raise table.error("function", f"{function} {what}")
    unit = read_unit(table) if kind is not Kind.BOOL or "unit" in table else "1"
    scale, offset = (1.0, 0.0) if kind is Kind.BOOL else read_scale(table)
    register = Register(
        Quantity(name, unit, scale=scale, offset=offset),
        table.integer("address", most=MAX_ADDRESS),
        kind,
        function,
        table.choice("byte_order", End, orders[0]),
        table.choice("word_order", End, orders[1]),
        table.integer("bit", 0, most=15) if kind is Kind.BOOL else 0,
    )
    if register.end > MAX_ADDRESS + 1:
        raise table.error("address", f"{register.address}: a {kind} of {register.width} registers ends beyond 65535")
    table.done()
    return register


def group(registers: Sequence[Register], max_gap: int) -> tuple[Block, ...]:
    """Group registers into block reads: neighbours of one function, at most `max_gap` unused ones between two."""
    runs: list[list[Register]] = []
    for register in sorted(registers, key=lambda item: (item.function, item.address)):
        most = MAX_BITS if register.function in BIT_FUNCTIONS else MAX_REGISTERS
        run = runs[-1] if runs else []
        if (
            run
            and run[0].function == register.function
            and register.address <= max(item.end for item in run) + max_gap
            and register.end - run[0].address <= most
        ):
            run.append(register)
        else:
            runs.append([register])
    return tuple(
        Block(run[0].function, run[0].address, max(item.end for item in run) - run[0].address, tuple(run))
        for run in runs
    )


def open(options: ModbusOptions, settings: PortSettings) -> "Modbus":  # noqa: A001 - the name the registry calls
    """Start as the master."""
    return Modbus(options, settings.byte_s())


@dataclass(slots=True, kw_only=True)
class _Turn(Turn):
    """When a slave is asked next, and how it did so far."""

    slave: Slave
    counts: Counts


@dataclass(frozen=True, slots=True)
class _Ask:
    """One request: its frame, and how the answer to it begins and ends."""

    frame: bytes
    slave: int
    function: int
    head: bytes  # of the answer
    answer_bytes: int  # of the whole answer
    place: str
    block: Block | None = None  # None: a write


class Modbus:
    """A dialogue that asks."""

    def __init__(self, options: ModbusOptions, byte_s: float) -> None:
        self._timeout_s = options.timeout_s
        self._retries = options.retries
        self._byte_s = byte_s
        self._quiet_s = max(QUIET_CHARS * byte_s, LEAST_QUIET_S)
        self._decoder = DecodePDU(is_server=False)
        self._framer = FramerRTU(self._decoder)
        self._turns = [_Turn(slave.every_s, slave=slave, counts=Counts(slave.address)) for slave in options.slaves]
        self._orders: deque[Order] = deque()
        self._forget()

    def _forget(self) -> None:
        self._turn: _Turn | None = None  # whose turn it is
        self._order: Order | None = None  # what is being written; no slave has its turn then
        self._asks: deque[_Ask] = deque()  # what is still to be asked in this turn; the first is being asked
        self._tries = 0
        self._asked = False
        self._until_s = 0.0  # asked: when the wait is over; else: when the bus is quiet
        self._heard = bytearray()
        self._heard_s = 0.0

    def write(self, order: Order) -> bool:
        """Write as soon as the bus is free; the outcome comes as `Written`. False if too many wait already.

        Raises ValueError where the order cannot be followed. An order that waits when the port is lost is done after.
        """
        if order.problem():
            raise ValueError(order.problem())
        if len(self._orders) >= MAX_ORDERS:
            return False
        self._orders.append(order)
        return True

    def summary(self) -> str:
        """Return what went wrong on the bus since the start, by slave; "" if nothing."""
        return "; ".join(filter(None, (turn.counts.told() for turn in self._turns)))

    def slaves(self) -> tuple[SlaveHealth, ...]:
        """Return how each slave has answered since the start, in the config's order; orders to write do not count."""
        return tuple(turn.counts.health() for turn in self._turns)

    def opened(self, now_s: float) -> Sequence[Action]:
        """Start anew; asks at the next tick."""
        if self._order is not None and self._asks:
            self._orders.appendleft(self._order)
        self._forget()
        for turn in self._turns:
            turn.start(now_s)
        return ()

    def waiting(self) -> bool:
        """Tell whether the bus is held."""
        return self._turn is not None or self._order is not None

    def due(self) -> float | None:
        """Return when something is to be done, monotonic seconds."""
        if self.waiting():
            return self._until_s
        return min(0.0 if self._orders else turn.due_s for turn in self._turns)

    def tick(self, now_s: float) -> Sequence[Action]:
        """Ask, ask again, or give up waiting."""
        if self.waiting():
            if now_s < self._until_s:
                return ()
            return self._give_up(now_s) if self._asked else self._proceed(now_s)
        if self._orders:
            self._order = order = self._orders.popleft()
            self._asks.extend(self._steps(order))
            return self._ask(now_s)
        turn = min(self._turns, key=lambda item: item.due_s)
        if turn.due_s > now_s:
            return ()
        self._turn = turn
        self._asks.extend(self._read(turn.slave.address, block) for block in turn.slave.blocks)
        return self._ask(now_s)

    def feed(self, data: bytes, now_s: float) -> Sequence[Action]:
        """Take bytes; what comes unasked is dropped."""
        if not self._asked:
            return ()
        if not self._heard:
            self._heard_s = now_s
        self._heard += data
        frame = _find_answer(bytes(self._heard), self._asks[0])
        if frame is None:
            del self._heard[: -MAX_ANSWER_BYTES - len(data)]
            return ()
        return self._answered(self._asks.popleft(), frame, now_s)

    def _read(self, slave: int, block: Block) -> _Ask:
        request = _REQUESTS[block.function](address=block.address, count=block.count, dev_id=slave)
        head = bytes([slave, block.function, block.answer_bytes])
        size = block.answer_bytes + FRAME_BYTES
        return _Ask(self._framer.buildFrame(request), slave, block.function, head, size, _span(block), block)

    def _steps(self, order: Order) -> list[_Ask]:
        """Return the requests that write and read back."""
        request = order.request()
        frame = self._framer.buildFrame(request)
        place = _span(Block(1 if order.coils else 3, order.address, len(order.values), ()))
        head = frame[:ECHOED_BYTES]
        steps = [_Ask(frame, order.slave, request.function_code, head, WRITE_ANSWER_BYTES, f"write of {place}")]
        if order.verify:
            block = Block(1 if order.coils else 3, order.address, len(order.values), ())
            steps.append(self._read(order.slave, block))
        return steps

    def _ask(self, now_s: float) -> Sequence[Action]:
        ask = self._asks[0]
        if self._turn is not None:
            self._turn.counts.requests += 1
        on_the_line_s = (len(ask.frame) + ask.answer_bytes) * self._byte_s
        self._asked, self._until_s = True, now_s + on_the_line_s + self._timeout_s
        self._heard.clear()
        return (Write(ask.frame),)

    def _answered(self, ask: _Ask, frame: bytes, now_s: float) -> Sequence[Action]:
        self._asked, self._tries = False, 0
        self._until_s = now_s + self._quiet_s
        turn = self._turn
        if turn is not None:
            turn.failures = 0
            turn.counts.answered += 1
        try:
            answer = self._decoder.decode(frame[1:-2])
        except ModbusException as error:
            return self._refused(ask, str(error))
        if answer is None or answer.isError():
            code = answer.exception_code if answer else 0
            if turn is not None:
                turn.counts.exceptions += 1
            return self._refused(ask, f"{EXCEPTIONS.get(code, 'an unknown exception')} ({code})")
        items = answer.bits if ask.function in BIT_FUNCTIONS else answer.registers
        if self._order is not None:
            differs = self._order.differs(items) if ask.block is not None else ""
            return self._done(differs) if differs or not self._asks else ()
        return (Emit(tuple(_values(ask.block, items)), self._heard_s),) if ask.block is not None else ()

    def _refused(self, ask: _Ask, told: str) -> Sequence[Action]:
        """Take no for an answer: the rest of a turn goes on, an order is over."""
        problem = f"slave {ask.slave}, {ask.place}: {told}"
        return (Fault(problem), *self._done(problem)) if self._order is not None else (Fault(problem),)

    def _done(self, problem: str) -> Sequence[Action]:
        """End an order; the bus is held until it is quiet."""
        self._asks.clear()
        self._asked = False
        return (Written(self._order.number, problem),) if self._order is not None else ()

    def _give_up(self, now_s: float) -> Sequence[Action]:
        """Take a wait as over: ask again, or leave the slave for later."""
        ask, turn = self._asks[0], self._turn
        heard = len(self._heard)
        told = f"no answer, but {heard} bytes that are none" if heard else "no answer"
        problem = f"slave {ask.slave}, {ask.place}: {told} within {self._timeout_s:g} s"
        if turn is not None:
            turn.counts.unanswered += 1
            turn.counts.garbled += bool(heard)
        self._tries += 1
        # A slave that did not answer last time either is asked but once: it is probably not there.
        if self._tries <= self._retries and (turn is None or not turn.failures):
            return (Fault(problem), *self._ask(now_s))
        if turn is None:
            return (Fault(problem), *self._done(problem))
        turn.schedule(now_s, answered=False)
        self._forget()
        return (Fault(problem),)

    def _proceed(self, now_s: float) -> Sequence[Action]:
        """Go on once the bus is quiet: the next request, or the end of the turn."""
        if self._asks:
            return self._ask(now_s)
        if self._turn is not None:
            self._turn.schedule(now_s, answered=True)
        self._forget()
        return ()


def _find_answer(heard: bytes, ask: _Ask) -> bytes | None:
    """Return the frame that answers, wherever it begins in what was heard."""
    refused = bytes([ask.slave, ask.function | 0x80])
    for at in range(len(heard) - EXCEPTION_BYTES + 1):
        if heard.startswith(ask.head, at):
            size = ask.answer_bytes
        elif heard.startswith(refused, at):
            size = EXCEPTION_BYTES
        else:
            continue
        frame = heard[at : at + size]
        if len(frame) == size and FramerRTU.check_CRC(frame[:-2], int.from_bytes(frame[-2:], "big")):
            return frame
    return None


def _values(block: Block, items: Sequence[int]) -> Iterator[tuple[str, str, Value]]:
    for register in block.registers:
        at = register.address - block.address
        yield register.quantity.name, register.quantity.unit, register.decode(items[at : at + register.width])


def _span(block: Block) -> str:
    last = block.address + block.count - 1
    what = "bits" if block.function in BIT_FUNCTIONS else "registers"
    return f"{what} {block.address}…{last}" if last > block.address else f"{what[:-1]} {block.address}"
