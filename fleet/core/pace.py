"""How often devices shall call: the pace slows down while the server is behind, and comes back when it is not.

    behind   a batch waited for its commit longer than `SLOW_S`, or the queue is more than half full
    ahead    none waited longer than half of that

While behind, the pace is multiplied by `SLOWER`, and then not again until those who were told have had the time to stay
away (`next_s`, at most `HOLD_S`): the effect of a word shows only when its hearers would have come. While ahead it is
multiplied by `FASTER` once a second. A device that calls seldom sends more at once, which costs the server less a
reading; so overload turns into later screens, and nothing is refused yet. A few bad seconds, as when all come back at
once, cost a factor of two, not hours.

Devices call a fixed time after their ack, so a crowd would grow: who waits in it comes later the next time, and those
that did not wait catch up with it, as cars do with a jam. So whoever waits is told a little else than its fellows
(`scattered`), by more than it waited.
"""

from dataclasses import dataclass, field

from agent.wire.limits import MAX_NEXT_S

SLOW_S = 1.0  # between arrival and commit
FULL = 0.5  # of the queue
SLOWER, FASTER = 2.0, 0.8
HOLD_S = 30.0  # at most, between two steps to slower
LONGEST_S = 600.0  # that anybody is told because of overload
STEP_S = 1.0
CROWD_S = 0.03  # that a batch waits, where many came at once: its device is then told to come earlier or later, …
SCATTER, SPREAD = 10.0, 0.1  # … by up to so many times what it waited, but by no more than this share of the pace


@dataclass(slots=True)
class Pace:
    """The pace of all devices, seconds between calls; `base_s` is that of a server that keeps up."""

    base_s: float
    factor: float = 1.0
    next_s: float = field(init=False)  # when to call next, seconds
    _waited_s: float = 0.0  # the longest since the last step
    _fill: float = 0.0
    _stepped_s: float | None = None
    _held_until_s: float = 0.0

    def __post_init__(self) -> None:
        self._step_to(self.factor)

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
            if now_s >= self._held_until_s and self.base_s * self.factor < LONGEST_S:
                self._step_to(self.factor * SLOWER)
                self._held_until_s = now_s + min(self.next_s, HOLD_S)
        elif self._waited_s < SLOW_S / 2:
            self._step_to(max(self.factor * FASTER**steps, 1.0))
        self._waited_s = self._fill = 0.0
        self._stepped_s = now_s

    def _step_to(self, factor: float) -> None:
        self.factor = factor
        self.next_s = min(self.base_s * factor, max(self.base_s, LONGEST_S), float(MAX_NEXT_S))


def scattered(next_s: float, waited_s: float, chance: float) -> float:
    """Return when a device calls next whose batch waited so long; `chance`, 0…1, takes it to a side of the pace."""
    if waited_s < CROWD_S:
        return next_s
    most_s = min(SCATTER * waited_s, SPREAD * next_s)
    return min(round(next_s + most_s * (2 * chance - 1), 3), float(MAX_NEXT_S))
