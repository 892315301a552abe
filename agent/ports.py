"""What the agent's core asks of the world, where more than one real thing can answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.wire.messages import Value


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one series, dated. `name` is `<source>.<quantity>`, `unit` UCUM."""

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


@dataclass(frozen=True, slots=True)
class Emit:
    """Values that were read together: (quantity, unit, value), dated by the moment their first byte came."""

    values: tuple[tuple[str, str, Value], ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """Bytes that could not be understood, or an answer that did not come; counted, and told in health."""

    problem: str


Action = Write | Reopen | Emit | Fault


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


class Clock(Protocol):
    """Time, as the shell reads it and the core is told."""

    def now_us(self) -> int:
        """Return UTC in microseconds."""

    def mono_s(self) -> float:
        """Return monotonic seconds."""
