"""How often devices shall call: the pace slows down while the server is behind, and comes back when it is not.

    behind   a batch waited for its commit longer than `SLOW_S`, or the queue is more than half full
    ahead    none waited longer than half of that

Once a second the pace is multiplied by `SLOWER` while behind, by `FASTER` while ahead. A device that calls seldom sends
more at once, which costs the server less a reading; so overload turns into later screens, and nothing is refused yet.
"""

from dataclasses import dataclass

from agent.wire.limits import MAX_NEXT_S

SLOW_S = 1.0  # between arrival and commit
FULL = 0.5  # of the queue
SLOWER, FASTER = 1.5, 0.8
MAX_FACTOR = 120.0  # times the pace of an idle server: 5 s become ten minutes
STEP_S = 1.0


@dataclass(slots=True)
class Pace:
    """The pace of all devices, seconds between calls; `base_s` is that of a server that keeps up."""

    base_s: float
    factor: float = 1.0
    _waited_s: float = 0.0  # the longest since the last step
    _fill: float = 0.0
    _stepped_s: float | None = None

    @property
    def next_s(self) -> float:
        """When to call next, seconds."""
        return min(self.base_s * self.factor, float(MAX_NEXT_S))

    def note(self, waited_s: float, fill: float, now_s: float) -> None:
        """Take note of one batch: how long it waited, how full the queue is (0…1), at a monotonic time."""
        self._waited_s = max(self._waited_s, waited_s)
        self._fill = max(self._fill, fill)
        if self._stepped_s is None:
            self._stepped_s = now_s
        steps = int((now_s - self._stepped_s) / STEP_S)
        if steps < 1:
            return
        if self._waited_s > SLOW_S or self._fill > FULL:
            self.factor = min(self.factor * SLOWER, MAX_FACTOR)  # once, however long nobody came
        elif self._waited_s < SLOW_S / 2:
            self.factor = max(self.factor * FASTER**steps, 1.0)
        self._waited_s = self._fill = 0.0
        self._stepped_s = now_s
