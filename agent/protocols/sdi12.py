r"""SDI-12 1.4: environmental probes on one wire, behind an adapter to serial.

The adapter does the wire's part (breaks, marking, 1200 baud 7E1); to us it takes a command as text and hands back the
answer's line. So the commands are the standard's, whatever the speed of the adapter:

    aM!  aM1! … aM9!      ──▶   measure; with check: aMC!, aMC1! …; concurrently: aC!, aCC! …
                          ◀──   a ttt n \r\n       n values (one digit; two of aC!) are ready within ttt seconds
                          ◀──   a \r\n             they are ready now (M alone): no need to wait for all of ttt
    aD0! … aD9!           ──▶   send them
                          ◀──   a +1.23-4.5 … \r\n     as many as fit; the rest in aD1! and so on
    aR0! … aR9!           ──▶   send what is measured all the time; answered like aD0!

With check, an answer to D or R ends in three characters that hold a CRC-16 (polynomial 0x8005 reflected, from 0), six
bits each, over all before them. A value is a sign and up to seven digits with a point.

    idle ── a probe is due ──▶ measuring ── ttt or service request ──▶ sending D0, D1, … ──▶ idle
                                 └────────────── no answer: again, `retries` times; then the probe backs off

One probe is asked at a time; its whole measurement is awaited. What stands before an answer (an adapter's echo of the
command) is passed over.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from agent.core.frames import LineSplitter
from agent.core.quantity import MAX_QUANTITY_CHARS, Quantity, check_names, number, read_scale, read_unit
from agent.core.turn import Turn
from agent.ports import Action, Emit, Fault, PortSettings, Write
from agent.wire.document import Table
from agent.wire.messages import Value

MAX_VALUES = 99
MAX_LINE_BYTES = 128  # an answer has 35 or 75 characters of values
MOST_PARTS = 10  # aD0! … aD9!
MARGIN_S = 1.0  # beyond ttt: clocks of probes are coarse
CHECK_CHARS = 3

_ADDRESS = re.compile(r"[0-9A-Za-z]")
_MEASURE = re.compile(r"[MCR][0-9]?")
_VALUE = re.compile(r"[+-](?:\d+\.?\d*|\.\d+)")
_READY = re.compile(r"([0-9A-Za-z])(\d{3})(\d{1,2})")


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe on the wire. `values` are in the probe's order; None is passed over."""

    address: str
    values: tuple[Quantity | None, ...]
    measure: str = "M"
    every_s: float = 60.0

    def command(self, *, checks: bool) -> str:
        """Return the command that begins a measurement."""
        return f"{self.address}{self.measure[0]}{'C' if checks else ''}{self.measure[1:]}!"


@dataclass(frozen=True, slots=True)
class Sdi12Options:
    """The table `[source.sdi12]`."""

    probes: tuple[Probe, ...]
    timeout_s: float = 1.0
    retries: int = 2
    checks: bool = False
    command_end: str = ""


def read(table: Table) -> Sdi12Options:
    """Read `[source.sdi12]`."""
    every_s = _read_every(table, 60.0)
    tables = table.tables("probes")
    names: list[str] = []
    probes = tuple(_read_probe(item, every_s, names) for item in tables)
    check_names(table, "probes", names)
    for i, probe in enumerate(probes):
        if any((other.address, other.measure) == (probe.address, probe.measure) for other in probes[:i]):
            raise tables[i].error("address", f"{probe.address!r} is asked twice for {probe.measure}")
    options = Sdi12Options(
        probes,
        timeout_s=table.number("timeout_s", 1.0, least=0.05, most=30),
        retries=table.integer("retries", 2, most=10),
        checks=table.flag("crc", default=False),
        command_end=table.text("command_end", ""),
    )
    if options.command_end not in {"", "\r", "\n", "\r\n"}:
        raise table.error("command_end", f'{options.command_end!r} is none of "", "\\r", "\\n", "\\r\\n"')
    table.done()
    return options


def _read_every(table: Table, default: float) -> float:
    return table.number("every_s", default, least=1, most=86_400)


def _read_probe(table: Table, every_s: float, names: list[str]) -> Probe:
    address = table.text("address")
    if not _ADDRESS.fullmatch(address):
        raise table.error("address", f"{address!r} is not one letter or digit")
    prefix = table.name("name") + "." if "name" in table else ""
    measure = table.text("measure", "M")
    if not _MEASURE.fullmatch(measure):
        raise table.error("measure", f'{measure!r} is none of "M", "M1" … "M9", "C", "C1" … "C9", "R0" … "R9"')
    if measure == "R":
        measure = "R0"
    values = tuple(_read_value(item, prefix) for item in table.tables("values"))
    if len(values) > MAX_VALUES:
        raise table.error("values", f"{len(values)}, more than {MAX_VALUES}")
    found = [value.name for value in values if value]
    check_names(table, "values", found)
    names += found
    every_s = _read_every(table, every_s)
    table.done()
    return Probe(address, values, measure, every_s)


def _read_value(table: Table, prefix: str) -> Quantity | None:
    if table.empty():
        return None
    name = prefix + table.name("name")
    if len(name) > MAX_QUANTITY_CHARS:
        raise table.error("name", f"{name!r} has {len(name)} characters, more than {MAX_QUANTITY_CHARS}")
    scale, offset = read_scale(table)
    quantity = Quantity(name, read_unit(table), scale=scale, offset=offset)
    table.done()
    return quantity


def open(options: Sdi12Options, settings: PortSettings) -> "Sdi12":  # noqa: A001 - the name the registry calls
    """Start as the recorder."""
    return Sdi12(options, settings.byte_s())


class State(Enum):
    """Where the dialogue is with the probe whose turn it is."""

    IDLE = auto()
    ASKED = auto()  # the answer to M or C is awaited
    MEASURING = auto()  # the values are not ready yet
    SENDING = auto()  # the answer to D or R is awaited
    AGAIN = auto()  # it failed, and is begun anew


class Wrong(ValueError):
    """An answer is not what the standard says."""


class Sdi12:
    """A dialogue that asks."""

    def __init__(self, options: Sdi12Options, byte_s: float) -> None:
        self._options = options
        self._byte_s = byte_s
        self._turns = [(probe, Turn(probe.every_s)) for probe in options.probes]
        self._splitter = LineSplitter(b"\n", MAX_LINE_BYTES, settles=False)
        self._forget()

    def _forget(self) -> None:
        self._state = State.IDLE
        self._probe, self._turn = self._turns[0]  # whose turn it is, if it is not idle
        self._tries = 0
        self._until_s = 0.0
        self._count = 0  # values that the probe promised; 0: as many as come
        self._part = 0  # of the D command
        self._found: list[float | int | None] = []
        self._began_s: float | None = None

    def opened(self, now_s: float) -> Sequence[Action]:
        """Start anew; asks at the next tick."""
        self._forget()
        self._splitter.opened(now_s)
        for _, turn in self._turns:
            turn.start(now_s)
        return ()

    def waiting(self) -> bool:
        """Tell whether a measurement is under way."""
        return self._state is not State.IDLE

    def due(self) -> float | None:
        """Return when something is to be done, monotonic seconds."""
        return min(turn.due_s for _, turn in self._turns) if self._state is State.IDLE else self._until_s

    def tick(self, now_s: float) -> Sequence[Action]:
        """Begin a measurement, ask for its values, or give up waiting."""
        if self._state is State.IDLE:
            probe, turn = min(self._turns, key=lambda item: item[1].due_s)
            if turn.due_s > now_s:
                return ()
            self._probe, self._turn = probe, turn
            return self._measure(now_s)
        if now_s < self._until_s:
            return ()
        if self._state is State.AGAIN:
            return self._measure(now_s)
        if self._state is State.MEASURING:
            return self._send(now_s)
        return self._fail(f"no answer within {self._options.timeout_s:g} s", now_s)

    def feed(self, data: bytes, now_s: float) -> Sequence[Action]:
        """Take bytes; what comes unasked is dropped."""
        lines, began_s, _ = self._splitter.split(data, now_s)
        actions: list[Action] = []
        for line in lines:
            text = line.decode("ascii", "replace").rpartition("!")[2].strip("\r\0 ")
            if self._state is not State.IDLE and text[:1] == self._probe.address:
                actions += self._answered(text, began_s, now_s)
            began_s = now_s
        return actions

    def _measure(self, now_s: float) -> Sequence[Action]:
        self._found, self._count, self._part, self._began_s = [], 0, 0, None
        self._state = State.SENDING if self._probe.measure[0] == "R" else State.ASKED
        return self._write(self._probe.command(checks=self._options.checks), now_s)

    def _send(self, now_s: float) -> Sequence[Action]:
        self._state = State.SENDING
        return self._write(f"{self._probe.address}D{self._part}!", now_s)

    def _write(self, command: str, now_s: float) -> Sequence[Action]:
        data = (command + self._options.command_end).encode("ascii")
        self._until_s = now_s + (len(data) + MAX_LINE_BYTES) * self._byte_s + self._options.timeout_s
        return (Write(data),)

    def _answered(self, text: str, began_s: float, now_s: float) -> Sequence[Action]:
        """Take a line of the probe whose turn it is."""
        try:
            if self._state is State.ASKED:
                self._promised(text, now_s)
            elif self._state is State.MEASURING and text == self._probe.address:
                self._until_s = now_s  # a service request
            elif self._state is State.SENDING and text != self._probe.address:  # that is a late service request
                return self._sent(text, began_s, now_s)
        except Wrong as error:
            return self._fail(f"{error} in {text[:MAX_LINE_BYTES]!r}", now_s)
        return ()

    def _promised(self, text: str, now_s: float) -> None:
        """Take the answer to M or C; raises Wrong."""
        match = _READY.fullmatch(text)
        if match is None:
            raise Wrong("no time and count")
        self._count = int(match[3])
        if self._count == 0:
            raise Wrong("it has nothing to measure")
        self._check_count(self._count)
        after_s = int(match[2])
        self._state, self._until_s = State.MEASURING, now_s + (after_s + MARGIN_S if after_s else 0.0)

    def _sent(self, text: str, began_s: float, now_s: float) -> Sequence[Action]:
        """Take the answer to D or R; raises Wrong."""
        values = split_values(text, checks=self._options.checks)
        self._began_s = began_s if self._began_s is None else self._began_s
        self._found += values
        if values and len(self._found) < self._count and self._part + 1 < MOST_PARTS:
            self._part += 1
            self._state, self._until_s = State.MEASURING, now_s  # the next part is asked for at once
            return ()
        self._check_count(len(self._found))
        emit = Emit(tuple(_name(self._probe.values, self._found)), self._began_s)
        self._turn.schedule(now_s, answered=True)
        self._forget()
        return (emit,)

    def _check_count(self, count: int) -> None:
        wanted = len(self._probe.values)
        if count < wanted:
            raise Wrong(f"{count} values instead of {wanted}")

    def _fail(self, problem: str, now_s: float) -> Sequence[Action]:
        """Give the measurement up: begin again, or leave the probe for later."""
        fault = Fault(f"probe {self._probe.address}, {self._probe.command(checks=self._options.checks)} {problem}")
        self._tries += 1
        if self._tries <= self._options.retries and not self._turn.failures:
            self._state, self._until_s = State.AGAIN, now_s
            return (fault,)
        self._turn.schedule(now_s, answered=False)
        self._forget()
        return (fault,)


def split_values(text: str, *, checks: bool) -> list[float | int | None]:
    """Return the values of an answer to D or R: address, values, check; raises Wrong."""
    if checks:
        text, given = text[:-CHECK_CHARS], text[-CHECK_CHARS:]
        if given != check_of(text):
            raise Wrong(f"check {given!r} instead of {check_of(text)!r}")
    body = text[1:]
    found = _VALUE.findall(body)
    if "".join(found) != body:
        raise Wrong("no values")
    return [number(value) for value in found]


def check_of(text: str) -> str:
    """Return the three characters that end an answer (SDI-12 1.4, 4.4.12)."""
    crc = 0
    for byte in text.encode("ascii", "replace"):
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return "".join(chr(0x40 | part & 0x3F) for part in (crc >> 12, crc >> 6, crc))


def _name(quantities: Sequence[Quantity | None], found: Sequence[float | int | None]) -> list[tuple[str, str, Value]]:
    return [
        (quantity.name, quantity.unit, None if value is None else quantity.scaled(value))
        for quantity, value in zip(quantities, found, strict=False)
        if quantity is not None
    ]
