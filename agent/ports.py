"""What the agent's core asks of the world, where more than one real thing can answer."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from agent.wire.document import Table
from agent.wire.messages import Value


class Reading(NamedTuple):
    """One value of one series, dated. `name` is `<source>.<quantity>`, `unit` UCUM.

    A tuple, as `Emit` is: there is one for each value that is read, and a frozen dataclass costs three times as much.
    """

    name: str
    unit: str
    t_us: int
    v: Value


@dataclass(frozen=True, slots=True)
class Write:
    """Send bytes to the port."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Reopen:
    """Set the port to another speed, where a protocol changes over in mid-dialogue."""

    baudrate: int


class Emit(NamedTuple):
    """Values that were read together: (quantity, unit, value), dated by the moment their first byte came.

    `at_s` is that moment where it lies before this call: the `now_s` of an earlier one. None stands for now.
    """

    values: tuple[tuple[str, str, Value], ...]
    at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Time:
    """The device told what time it is, and knows it from elsewhere: a satellite receiver with a fix, no battery clock.

    `utc_us` is what it told, `at_s` the moment its first byte came, as in `Emit`. It is one witness among others
    (`agent.core.receiver`).
    """

    utc_us: int
    at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Bytes that could not be understood, or an answer that did not come; counted, and told in health."""

    problem: str
    overlong: bool = False  # the bytes had no end: a flood, or another protocol


@dataclass(frozen=True, slots=True)
class Written:
    """What became of an order to write to a device, by the caller's number; `problem` is "" if it was done."""

    number: int
    problem: str


Action = Write | Reopen | Emit | Time | Fault | Written


class Dialogue(Protocol):
    """A protocol's side of one port, sans IO: bytes and monotonic seconds in, actions out.

    A dialogue that only listens never asks for a tick; one that polls says by `due` when it wants one. It never
    blocks, never raises on what a device sends, and bounds what it buffers.
    """

    def opened(self, now_s: float) -> Sequence[Action]:
        """Start anew: the port was just opened."""

    def feed(self, data: bytes, now_s: float) -> Sequence[Action]:
        """Take bytes as they came, in any split."""

    def tick(self, now_s: float) -> Sequence[Action]:
        """Do what was due: poll, or give up waiting."""

    def due(self) -> float | None:
        """Return when the next tick is wanted, monotonic seconds; None for never."""


class Turned(Dialogue, Protocol):
    """A dialogue that asks and waits, and so can share its port: on a bus one speaks at a time."""

    def waiting(self) -> bool:
        """Tell whether it holds the bus: an answer is awaited, or the silence after it."""


@dataclass(frozen=True, slots=True)
class PortSettings:
    """A serial port and how its line is set."""

    port: str
    baudrate: int = 9600
    bytesize: int = 8
    parity: str = "none"  # none, even, odd, mark, space
    stopbits: float = 1.0

    def byte_s(self) -> float:
        """Return how long one byte is on the line, seconds."""
        return (1 + self.bytesize + (self.parity != "none") + self.stopbits) / self.baudrate


class ProtocolKind(Protocol):
    """A protocol as the registry knows it; a module with these two functions is one.

    It may have a third name, `LINE`: `PortSettings` whose speed and frame hold for sources that do not say otherwise.
    """

    def read(self, table: Table) -> Any:  # noqa: ANN401 - each protocol has options of its own
        """Read the protocol's table of a source into a frozen dataclass; raises DocumentError."""

    def open(self, options: Any, settings: PortSettings) -> Dialogue:  # noqa: ANN401 - what `read` returned
        """Start a dialogue."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes that came together, and when, on both clocks."""

    data: bytes
    t_us: int  # by the clock as it stood, for people who look on
    mono_s: float


@dataclass(frozen=True, slots=True)
class LineErrors:
    """Bytes that came damaged or not at all, as the port's driver counted them."""

    framing: int = 0
    parity: int = 0
    overrun: int = 0
    breaks: int = 0


class Link(Protocol):
    """An open port."""

    listening_s: float
    """Since when nothing that came was lost, monotonic seconds: now, or earlier if bytes were waiting."""

    @property
    def line_errors(self) -> LineErrors:
        """What the driver has counted since the port was opened; all 0 where it does not count."""

    async def read(self, timeout_s: float | None) -> Sequence[Chunk]:
        """Return what has come, in order; empty after the timeout. Raises Unavailable when the port is gone."""

    def write(self, data: bytes) -> None:
        """Queue bytes to be sent; raises Unavailable if the port takes none."""

    async def reopen(self, baudrate: int) -> None:
        """Set another speed once what was written has left; raises Unavailable."""


class Ports(Protocol):
    """Where links come from: serial ports, or the replay of a capture."""

    def present(self, port: str) -> bool:
        """Tell whether the port is there, without opening it."""

    def open(self, settings: PortSettings) -> AbstractAsyncContextManager[Link]:
        """Open a port for as long as the context lasts; raises Unavailable."""


class Clock(Protocol):
    """Time, as the shell reads it and the core is told."""

    def now_us(self) -> int:
        """Return UTC in microseconds."""

    def mono_s(self) -> float:
        """Return monotonic seconds."""
