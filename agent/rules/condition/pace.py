"""Conditions on how fast a value moves: its rate of change, and the steps of a counter.

Both look back over a window of event time. Of the window `PARTS` readings are kept, not all, so that memory does not
grow with the rate of readings; the reading that is looked back to is the newest kept one that is a whole window old,
so the span that is judged is the window and up to a `PARTS`th of it. After a silence of more than a window the
state is unknown until the window has filled again.
"""

from dataclasses import dataclass

from agent.rules.condition.kind import Memory, Move, seconds
from agent.rules.condition.limit import Above, Limit
from agent.wire.messages import Value
from agent.wire.units import US_PER_S

PARTS = 16

Points = tuple[tuple[int, float], ...]


def slide(points: Points, t_us: int, value: float, window_us: int) -> Points:
    """Return the kept points, oldest first, with the new one; the first is a window old if there is one that is."""
    start_us = t_us - window_us
    first = 0
    while first + 1 < len(points) and points[first + 1][0] <= start_us:
        first += 1
    if points and points[first][0] < start_us - window_us:
        first += 1
    if first:
        points = points[first:]
    if not points or t_us - points[-1][0] >= window_us // PARTS:
        points = (*points, (t_us, value))
    return points


@dataclass(frozen=True, slots=True)
class Rate:
    """Bad while the change per second over `window_us` is beyond the limit."""

    limit: Limit
    window_us: int

    def look(self, memory: Memory, t_us: int, value: Value, *, was_bad: bool) -> tuple[bool | None, Memory]:
        """Judge one reading; None until the window is full."""
        if value is None or isinstance(value, str) or value != value:  # noqa: PLR0124 - NaN alone is not itself
            return None, memory
        points = slide(memory, t_us, value, self.window_us)
        from_us, before = points[0]
        if t_us - from_us < self.window_us:
            return None, points
        return self.limit.is_bad((value - before) * US_PER_S / (t_us - from_us), was_bad=was_bad), points

    def since_us(self, memory: Memory, t_us: int) -> int:  # noqa: ARG002 - a rate is bad from the moment it is found so
        """Return the moment itself."""
        return t_us

    def moved(self, memory: Memory, move: Move) -> Memory:
        """Return the memory with its times moved."""
        return tuple((move(t_us), value) for t_us, value in memory)

    def __str__(self) -> str:
        return f"rate {self.limit} per s over {seconds(self.window_us)}"


def rolls_over(before: float, now: float, rollover: float) -> bool:
    """Tell whether a counter that went back has rolled over: that makes a step of at most half of `rollover`.

    `rollover` is one more than the counter's greatest value; 0: it never rolls over, it was reset.
    """
    return bool(rollover) and 0 <= now - before + rollover <= rollover / 2


@dataclass(frozen=True, slots=True)
class Step:
    """Bad while a counter's increase is beyond the limit: from reading to reading, or over `window_us` if not 0.

    A counter that goes back has rolled over (`rolls_over`), or else it was reset, and has counted from 0.
    """

    limit: Limit
    window_us: int
    rollover: float  # one more than the counter's greatest value; 0: it never rolls over

    def look(self, memory: Memory, t_us: int, value: Value, *, was_bad: bool) -> tuple[bool | None, Memory]:
        """Judge one reading; None for the first one, and while the window is not full."""
        if value is None or isinstance(value, str) or value != value:  # noqa: PLR0124 - NaN alone is not itself
            return None, memory
        if not memory:
            return None, (value, 0, ((t_us, 0),) if self.window_us else ())
        before, total, points = memory
        step = self._step(before, value)
        if not self.window_us:
            return self.limit.is_bad(step, was_bad=was_bad), (value, 0, ())
        total += step
        points = slide(points, t_us, total, self.window_us)
        from_us, then = points[0]
        bad = self.limit.is_bad(total - then, was_bad=was_bad)
        if t_us - from_us < self.window_us and not (bad and isinstance(self.limit, Above)):
            bad = None  # the whole window may hold more than the part that was seen
        return bad, (value, total, points)

    def since_us(self, memory: Memory, t_us: int) -> int:  # noqa: ARG002 - a step is bad at the moment it is found
        """Return the moment itself."""
        return t_us

    def _step(self, before: float, now: float) -> float:
        if now >= before:
            return now - before
        return now - before + self.rollover if rolls_over(before, now, self.rollover) else max(now, 0)

    def moved(self, memory: Memory, move: Move) -> Memory:
        """Return the memory with its times moved."""
        if not memory:
            return memory
        before, total, points = memory
        return before, total, tuple((move(t_us), then) for t_us, then in points)

    def __str__(self) -> str:
        return f"step {self.limit}" + (f" in {seconds(self.window_us)}" if self.window_us else "")
