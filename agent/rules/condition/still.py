"""Conditions on whether a value moves at all: stuck, changed."""

from dataclasses import dataclass

from agent.rules.condition.kind import Memory, Move, seconds
from agent.wire.messages import Value


@dataclass(frozen=True, slots=True)
class Stuck:
    """Bad while the value has stayed within `tolerance` of itself for `stuck_us`, though readings came.

    A silence of more than half of `stuck_us` proves nothing: the stretch starts anew, and until the value moves or
    the stretch is long enough the state is unknown.
    """

    stuck_us: int
    tolerance: float

    def look(self, memory: Memory, t_us: int, value: Value, *, was_bad: bool) -> tuple[bool | None, Memory]:  # noqa: ARG002 - the stretch is its own hysteresis
        """Judge one reading."""
        if value is None:
            return None, memory
        if not memory:
            return None, (t_us, value, t_us, 0)
        since_us, kept, last_us, moved = memory
        if not self._is_same(value, kept):
            return False, (t_us, value, t_us, 1)
        if t_us - last_us > self.stuck_us // 2:
            return None, (t_us, value, t_us, 0)
        bad = True if t_us - since_us >= self.stuck_us else False if moved else None
        return bad, (since_us, kept, t_us, moved)

    def since_us(self, memory: Memory, t_us: int) -> int:
        """Return when the value was seen to move last."""
        return int(memory[0]) if memory else t_us

    def moved(self, memory: Memory, move: Move) -> Memory:
        """Return the memory with its times moved."""
        if not memory:
            return memory
        since_us, kept, last_us, has_moved = memory
        return move(since_us), kept, move(last_us), has_moved

    def _is_same(self, value: float | str, kept: float | str) -> bool:
        if isinstance(value, str) or isinstance(kept, str):
            return value == kept
        return abs(value - kept) <= self.tolerance

    def __str__(self) -> str:
        within = f" within {self.tolerance:g}" if self.tolerance else ""
        return f"unchanged{within} for {seconds(self.stuck_us)}"


@dataclass(frozen=True, slots=True)
class Changed:
    """Bad on a reading whose value is not that of the reading before."""

    def look(self, memory: Memory, t_us: int, value: Value, *, was_bad: bool) -> tuple[bool | None, Memory]:  # noqa: ARG002 - a change has no time and no band
        """Judge one reading; None for the first one."""
        if value is None:
            return None, memory
        return (value != memory[0] if memory else None), (value,)

    def since_us(self, memory: Memory, t_us: int) -> int:  # noqa: ARG002 - a change is a moment
        """Return the moment itself."""
        return t_us

    def moved(self, memory: Memory, move: Move) -> Memory:  # noqa: ARG002 - there is no time in it
        """Return the memory as it is."""
        return memory

    def __str__(self) -> str:
        return "changed"
