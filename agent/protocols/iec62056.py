r"""IEC 62056-21 data read-out, modes A, B and C: how electricity, gas and heat meters are read over optical heads.

All is ASCII, 300 baud 7E1 at first. We are the reader, on the left:

    /?<address>!\r\n                  ──▶   the request
                                      ◀──   /XYZ<baud><identification>\r\n
    ACK 0 <baud> 0 \r\n               ──▶   mode C alone, 0.3 s later: read-out, at that speed
    (both change over: modes B, C)
                                      ◀──   STX <data lines> !\r\n ETX BCC

The character <baud> of the identification tells the mode: 0 … 6 is mode C (300 … 19200 baud), A … F mode B (600 …
19200), anything else mode A, which stays at 300. A data line holds data sets `code(value*unit)`, codes after OBIS
(`1-0:1.8.0*255`, or `1.8.0`). BCC is the XOR of what comes after STX, through ETX.

    resting ── due ──▶ asked ── identification ──▶ named (mode C) ── 0.3 s ──▶ reading ── ETX BCC ──▶ resting
       ▲                 │                           └── modes A, B ──────────────▲ │
       └── back-off ◀────┴───────────────── silence for `timeout_s`, or too much ──┴─┘ (again, `retries` times)

Whatever happens, the line goes back to the speed it was opened with. Nothing of a read-out is believed before its BCC;
a mode-A meter that sends none is read with `bcc = false`, up to the line `!`. What stands before the identification
(an echo of the request, as current loops give) is passed over, and so is the parity bit where a head hands it on.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from agent.core.quantity import MISTAKES, Kind, Quantity, Unreadable, check_names, read_quantity
from agent.core.turn import Turn
from agent.ports import Action, Emit, Fault, PortSettings, Reopen, Write
from agent.wire.document import Table
from agent.wire.messages import Value

LINE = PortSettings("", 300, 7, "even")  # unless the source says otherwise
STX, ETX, ACK = 0x02, 0x03, b"\x06"
BAUDS_C = {"0": 300, "1": 600, "2": 1200, "3": 2400, "4": 4800, "5": 9600, "6": 19_200}
BAUDS_B = {"A": 600, "B": 1200, "C": 2400, "D": 4800, "E": 9600, "F": 19_200}
STAY = "0"  # of an acknowledgement: read out at 300 baud
REACTION_S = 0.3  # between a message and its answer: 0.2 … 1.5 s by the standard
PAUSE_S = 2.0  # before a request is sent again: a meter in mid-speech has fallen silent by then
MAX_IDENTIFICATION_BYTES = 256  # with what may stand before it
MAX_READOUT_BYTES = 65_536
MAX_READOUT_S = 600.0
MAX_ADDRESS_CHARS = 32
MAX_CODE_CHARS = 64
MAX_INDEX = 15
SEVEN_BITS = bytes(i & 0x7F for i in range(256))

_IDENTIFICATION = re.compile(rb"/[A-Za-z]{3}([ -~])[^\r\n/]{0,64}\r\n")
_SET = re.compile(r"([^()\r\n!/]{0,64})((?:\([^()\r\n]{0,128}\))+)")
_ADDRESS = re.compile(rf"[0-9A-Za-z ]{{0,{MAX_ADDRESS_CHARS}}}")
_CODE = re.compile(rf"[0-9A-Za-z.:*&-]{{1,{MAX_CODE_CHARS}}}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One value of the read-out: its code, and which of the parentheses behind it."""

    code: str
    quantity: Quantity
    index: int = 0

    def read(self, said: Sequence[str]) -> Value:
        """Read its part, `value` or `value*unit`, of what stands in the parentheses; raises Unreadable."""
        if self.index >= len(said):
            raise Unreadable(f"{self.code} is not in the read-out")
        value, _, unit = said[self.index].partition("*")
        other = MISTAKES.get(unit, unit)
        plain = self.quantity.kind is Kind.NUMBER and self.quantity.scale == 1.0
        if unit and plain and other != self.quantity.unit and {other, self.quantity.unit} <= _CONVERTED:
            raise Unreadable(f"{self.code} is in {unit}, the config says {self.quantity.unit} and no scale")
        return self.quantity.from_text(value)


_CONVERTED = frozenset({"W.h", "kW.h", "MW.h", "W", "kW", "MW", "J", "kJ", "MJ", "GJ", "m3", "L", "V", "mV", "A", "mA"})
"""Units that one meter or the other says in thousands; where both sides are of these they must be the same."""


@dataclass(frozen=True, slots=True)
class Iec62056Options:
    """The table `[source.iec62056]`."""

    entries: tuple[Entry, ...]
    address: str = ""
    every_s: float = 900.0
    timeout_s: float = 2.0
    retries: int = 2
    max_baudrate: int = 19_200
    bcc: bool = True


def read(table: Table) -> Iec62056Options:
    """Read `[source.iec62056]`."""
    entries = tuple(_read_entry(item) for item in table.tables("values"))
    check_names(table, "values", [entry.quantity.name for entry in entries])
    address = table.text("address", "")
    if not _ADDRESS.fullmatch(address):
        raise table.error("address", f"{address!r} is not up to {MAX_ADDRESS_CHARS} letters, digits and blanks")
    options = Iec62056Options(
        entries,
        address,
        every_s=table.number("every_s", 900.0, least=1, most=86_400),
        timeout_s=table.number("timeout_s", 2.0, least=0.1, most=60),
        retries=table.integer("retries", 2, most=10),
        max_baudrate=table.integer("max_baudrate", 19_200, least=300, most=19_200),
        bcc=table.flag("bcc", default=True),
    )
    table.done()
    return options


def _read_entry(table: Table) -> Entry:
    code = table.text("code")
    if not _CODE.fullmatch(code):
        raise table.error("code", f'{code!r} is no OBIS code, as in "1-0:1.8.0" or "1.8.0"')
    entry = Entry(reduced(code), read_quantity(table), table.integer("index", 0, most=MAX_INDEX))
    table.done()
    return entry


def open(options: Iec62056Options, settings: PortSettings) -> "Iec62056":  # noqa: A001 - the name the registry calls
    """Start as the reader."""
    return Iec62056(options, settings)


def reduced(code: str) -> str:
    """Return a code without `*255` or `&255`, which stand for the current value."""
    return re.sub(r"[*&]255$", "", code.strip())


class State(Enum):
    """Where the dialogue is."""

    RESTING = auto()
    ASKED = auto()  # an identification is awaited
    NAMED = auto()  # mode C: the acknowledgement is due
    READING = auto()


class Iec62056:
    """A dialogue that asks."""

    def __init__(self, options: Iec62056Options, settings: PortSettings) -> None:
        self._options = options
        self._settings = settings
        self._turn = Turn(options.every_s)
        self._forget()

    def _forget(self) -> None:
        self._state = State.RESTING
        self._tries = 0
        self._until_s = 0.0  # resting: when to ask; else: when the wait is over
        self._last_s = 0.0  # when a read-out has lasted too long
        self._began_s = 0.0  # when its first byte came
        self._baudrate = self._settings.baudrate
        self._baud = STAY
        self._heard = bytearray()

    def opened(self, now_s: float) -> Sequence[Action]:
        """Start anew; asks at the next tick."""
        self._forget()
        self._turn.start(now_s)
        self._until_s = now_s
        return ()

    def waiting(self) -> bool:
        """Tell whether the line is held: also in the pause before a request is sent again."""
        return self._state is not State.RESTING or self._tries > 0

    def due(self) -> float | None:
        """Return when something is to be done, monotonic seconds."""
        return self._until_s

    def tick(self, now_s: float) -> Sequence[Action]:
        """Ask, acknowledge, or give up waiting."""
        if now_s < self._until_s:
            return ()
        if self._state is State.RESTING:
            return self._ask(now_s)
        if self._state is State.NAMED:
            return self._acknowledge(now_s)
        what = "no identification" if self._state is State.ASKED else "the read-out broke off"
        told = f" after {len(self._heard)} bytes" if self._heard else ""
        return self._fail(f"{what}{told}: silence for {self._options.timeout_s:g} s", now_s)

    def feed(self, data: bytes, now_s: float) -> Sequence[Action]:
        """Take bytes; what comes unasked is dropped."""
        data = data.translate(SEVEN_BITS)
        if self._state is State.ASKED:
            return self._identify(data, now_s)
        if self._state is State.READING:
            return self._read_out(data, now_s)
        return ()

    def _ask(self, now_s: float) -> Sequence[Action]:
        request = f"/?{self._options.address}!\r\n".encode("ascii")
        self._heard.clear()
        self._state = State.ASKED
        self._until_s = now_s + len(request) * self._settings.byte_s() + self._options.timeout_s
        return (Write(request),)

    def _identify(self, data: bytes, now_s: float) -> Sequence[Action]:
        """Look for the identification; silence is counted from each byte."""
        self._heard += data
        self._until_s = now_s + self._options.timeout_s
        match = _IDENTIFICATION.search(self._heard)
        if match is None:
            if len(self._heard) > MAX_IDENTIFICATION_BYTES:
                return self._fail(f"no identification in {len(self._heard)} bytes", now_s)
            return ()
        baud, rest = match[1].decode("ascii"), bytes(self._heard[match.end() :])
        self._heard.clear()
        if BAUDS_C.get(baud) is not None:
            self._baud = baud if BAUDS_C[baud] <= self._options.max_baudrate else STAY
            self._state, self._until_s = State.NAMED, now_s + REACTION_S
            return ()
        self._begin(now_s)
        changed = self._change_over(BAUDS_B[baud]) if baud in BAUDS_B else ()
        return (*changed, *(self._read_out(rest, now_s) if rest else ()))

    def _acknowledge(self, now_s: float) -> Sequence[Action]:
        self._begin(now_s + REACTION_S)
        return (Write(ACK + f"0{self._baud}0\r\n".encode("ascii")), *self._change_over(BAUDS_C[self._baud]))

    def _begin(self, now_s: float) -> None:
        self._state = State.READING
        self._until_s = now_s + self._options.timeout_s
        self._last_s = now_s + MAX_READOUT_S

    def _change_over(self, baudrate: int) -> Sequence[Action]:
        """Set the line's speed, if it has another."""
        if baudrate == self._baudrate:
            return ()
        self._baudrate = baudrate
        return (Reopen(baudrate),)

    def _read_out(self, data: bytes, now_s: float) -> Sequence[Action]:
        """Collect the read-out until it is whole."""
        if not self._heard:
            self._began_s = now_s
        seen = len(self._heard)
        self._heard += data
        self._until_s = now_s + self._options.timeout_s
        end = self._end(max(0, seen - 4))
        if end is not None:
            return self._finish(end, now_s)
        if len(self._heard) > MAX_READOUT_BYTES or now_s > self._last_s:
            return self._fail(f"a read-out of more than {MAX_READOUT_BYTES} bytes or {MAX_READOUT_S:g} s", now_s)
        return ()

    def _end(self, start: int) -> int | None:
        """Return where the data ends, if all of it has come; `start` is where to look on."""
        if not self._options.bcc:
            at = self._heard.find(b"!\r\n", start)
            return None if at < 0 else at
        at = self._heard.find(ETX, start)
        return None if at < 0 or at + 1 >= len(self._heard) else at

    def _finish(self, end: int, now_s: float) -> Sequence[Action]:
        """Check a whole read-out and take the values out of it."""
        heard = self._heard
        begin = heard.find(STX) + 1
        if self._options.bcc:
            found = 0
            for byte in heard[begin : end + 1]:
                found ^= byte
            if begin == 0 or found != heard[end + 1]:
                told = f"BCC {heard[end + 1]:02X} instead of {found:02X}" if begin else "a read-out without its STX"
                return self._fail(told, now_s)
        text = heard[begin:end].decode("ascii", "replace")
        actions: list[Action] = list(self._change_over(self._settings.baudrate))
        self._turn.schedule(now_s, answered=True)
        began_s = self._began_s
        self._forget()
        self._until_s = self._turn.due_s
        values, problems = take(text, self._options.entries)
        if values:
            actions.append(Emit(values, began_s))
        return (*actions, *(Fault(problem) for problem in problems))

    def _fail(self, problem: str, now_s: float) -> Sequence[Action]:
        """Give the read-out up: ask again after a pause, or leave the meter for later."""
        actions = (Fault(problem), *self._change_over(self._settings.baudrate))
        tries = self._tries + 1
        again = tries <= self._options.retries and not self._turn.failures
        self._forget()
        if again:
            self._tries, self._until_s = tries, now_s + PAUSE_S
        else:
            self._turn.schedule(now_s, answered=False)
            self._until_s = self._turn.due_s
        return actions


def take(text: str, entries: Sequence[Entry]) -> tuple[tuple[tuple[str, str, Value], ...], list[str]]:
    """Return the values of a read-out's text, and what is wrong or not in it."""
    found: dict[str, list[str]] = {}  # by code; of a code that is there twice the first counts
    for match in _SET.finditer(text):
        code = reduced(match[1])
        said = match[2][1:-1].split(")(")
        found.setdefault(code, said)
        found.setdefault(code.partition(":")[2] or code, said)  # 1-0:1.8.0 is 1.8.0 as well
    values: list[tuple[str, str, Value]] = []
    problems: list[str] = []
    for entry in entries:
        try:
            values.append((entry.quantity.name, entry.quantity.unit, entry.read(found.get(entry.code, ()))))
        except Unreadable as error:
            problems.append(str(error))
    return tuple(values), problems
