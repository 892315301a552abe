"""What encoders make: frames, each with the readings that a correct reader finds in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from firmware_sim.signals.model import Quantity

Number = int | float


@dataclass(frozen=True, slots=True)
class Frame:
    """Bytes that stand or fall together, and what they say."""

    data: bytes
    readings: tuple[tuple[str, Number], ...]
    cut: int  # where the fault half-frames cuts it, so that it cannot pass for another whole frame
    board: str = ""  # whose readings, where several share a bus; "" is the board itself


class Encoder(Protocol):
    """A protocol in which the board speaks by itself."""

    def encode(self, t_us: int, values: Sequence[float]) -> list[Frame]:
        """Encode one sample taken at `t_us`."""
        ...


class Slave(Protocol):
    """A protocol in which the board speaks when it is asked."""

    def receive(self, data: bytes, now_s: float, values: Sequence[float]) -> list[Frame]:
        """Take in bytes of the master, read at monotonic `now_s`, and return the answers that they call for."""
        ...


def text_of(quantity: Quantity, value: float) -> str:
    """Return a value as decimal text, as it goes over the wire."""
    return f"{value:.{quantity.decimals}f}"


def number_of(text: str) -> Number:
    """Return the number that decimal text stands for: an int if it has no point."""
    return float(text) if "." in text else int(text)
