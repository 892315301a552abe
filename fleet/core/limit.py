"""How much each may send: a bucket of readings that fills at a rate, and may be owed.

What came is never thrown away for it: a batch is taken as long as nothing is owed, whatever its size, and whoever owes
afterwards is told to come again when it is paid. Who comes earlier is refused before anything is decoded.
"""

from dataclasses import dataclass, field

BURST_S = 60.0  # a bucket holds what its rate gives in this time
MAX_KEYS = 100_000  # buckets remembered; beyond it all are full again


@dataclass(slots=True)
class Limit:
    """Readings a second that each key may send in the long run; 0: as many as it likes."""

    rate: float
    _buckets: dict[str, tuple[float, float]] = field(default_factory=dict)  # level and when it had it

    def wait_s(self, key: str, now_s: float) -> float:
        """Return how long the key still owes, seconds; 0: it may send. `now_s` is monotonic."""
        return max(0.0, -self._level(key, now_s) / self.rate) if self.rate else 0.0

    def spend(self, key: str, readings: int, now_s: float) -> None:
        """Take note of readings that the key sent."""
        if not self.rate:
            return
        if len(self._buckets) >= MAX_KEYS and key not in self._buckets:
            self._buckets.clear()
        self._buckets[key] = (self._level(key, now_s) - readings, now_s)

    def _level(self, key: str, now_s: float) -> float:
        full = self.rate * BURST_S
        level, since_s = self._buckets.get(key, (full, now_s))
        return min(full, level + (now_s - since_s) * self.rate)
