"""The tally of readings: how many there are, and a checksum that does not depend on their order.

    checksum = Σ (t_us + 1) · (2 · m + 1)   modulo 2⁶⁴

where `m` is a number in thousandths, rounded to the nearest; of a text its CRC-32; 0 where there is no value. A reading
that is lost, doubled, moved in time or changed by a thousandth changes it. Sums of parts add up, so the parts may be
summed wherever they lie. It is made against mistakes, not against forgery.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from agent.wire.messages import Value
from fleet.core.column import Ints, Values

MODULUS = 1 << 64
EXACT_BELOW = 1e15  # floats beyond have no thousandths


@dataclass(slots=True)
class Tally:
    """Count and checksum of some readings."""

    count: int = 0
    checksum: int = 0

    def add(self, readings: Iterable[tuple[int, Value]]) -> None:
        """Count readings (event time in µs, value)."""
        count = total = 0
        for t_us, value in readings:
            count += 1
            total += (t_us + 1) * (2 * thousandths(value) + 1)
        self.count += count
        self.checksum = (self.checksum + total) % MODULUS

    def add_columns(self, t_us: Ints, values: Values) -> None:
        """Count readings in columns, as `add` does: numbers in a machine's words, which are modulo 2⁶⁴ anyway."""
        if isinstance(values, list) or (values.dtype.kind == "f" and not (np.abs(values) < EXACT_BELOW).all()):
            self.add(zip(t_us.tolist(), values if isinstance(values, list) else values.tolist(), strict=True))
            return
        whole = np.rint(values * 1000) if values.dtype.kind == "f" else values * 1000
        weights = 2 * whole.astype(np.int64).astype(np.uint64) + 1
        self.count += len(t_us)
        self.checksum = (self.checksum + int(((t_us.astype(np.uint64) + 1) * weights).sum())) % MODULUS


def thousandths(value: Value) -> int:
    """Return what stands for a value in a checksum."""
    if isinstance(value, float):
        return round(value * 1000) if abs(value) < EXACT_BELOW else int(value) * 1000
    if isinstance(value, int):
        return value * 1000
    return 0 if value is None else zlib.crc32(value.encode())
