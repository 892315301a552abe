"""Modbus registers: where a quantity lies in them, and how its value is put. High byte and high word first."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from firmware_sim.protocols.frame import Number
from firmware_sim.signals.model import Quantity

FORMATS = {"u16": ">H", "i16": ">h", "u32": ">I", "i32": ">i", "f32": ">f"}
RANGES = {"u16": (0, 2**16 - 1), "i16": (-(2**15), 2**15 - 1), "u32": (0, 2**32 - 1), "i32": (-(2**31), 2**31 - 1)}


@dataclass(frozen=True, slots=True)
class Register:
    """Where a quantity lies: from `address` on (from 0, as on the wire), as `kind`, in units of 10^-decimals."""

    address: int
    kind: str  # a key of FORMATS
    decimals: int

    @property
    def words(self) -> int:
        """How many registers it takes."""
        return struct.calcsize(FORMATS[self.kind]) // 2

    def encode(self, value: float) -> tuple[tuple[int, ...], Number]:
        """Return the registers, and the value that they stand for; out of range, the nearest that can be said."""
        if self.kind == "f32":
            packed = struct.pack(">f", value)
            said: Number = struct.unpack(">f", packed)[0]
        else:
            least, most = RANGES[self.kind]
            raw = min(most, max(least, round(value * 10**self.decimals)))
            packed = struct.pack(FORMATS[self.kind], raw)
            said = raw / 10**self.decimals if self.decimals else raw
        return struct.unpack(f">{self.words}H", packed), said


def layout(quantities: Sequence[Quantity]) -> tuple[Register, ...]:
    """Return the layout of a board that has none of its own: an i32 each, at 0, 2, 4 and so on."""
    return tuple(Register(2 * index, "i32", quantity.decimals) for index, quantity in enumerate(quantities))
