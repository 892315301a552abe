"""The condition that no reading can make bad: data that does not come.

Time alone does, so whoever runs the engine has to say how late it is (`Judge.tick`). The verdict is dated by the event
time at which the silence had lasted too long, not by the tick that noticed, so any ticks give the same alarms.
"""

from dataclasses import dataclass

from agent.rules.condition.kind import Memory, Move, seconds
from agent.wire.messages import Value


@dataclass(frozen=True, slots=True)
class Absent:
    """Bad when no reading with a value has come for more than `absent_us`."""

    absent_us: int

    def look(self, memory: Memory, t_us: int, value: Value, *, was_bad: bool) -> tuple[bool | None, Memory]:  # noqa: ARG002 - a reading ends the silence, whatever it says
        """Take note of a reading; one without a value does not count as data."""
        if value is None:
            return None, memory
        return False, (t_us,) if not memory or t_us > memory[0] else memory

    def due_us(self, memory: Memory) -> int | None:
        """Return when silence makes it bad, if nothing comes; None if it is not known since when there is silence."""
        return memory[0] + self.absent_us if memory else None

    def since_us(self, memory: Memory, t_us: int) -> int:
        """Return when data came last."""
        return int(memory[0]) if memory else t_us

    def moved(self, memory: Memory, move: Move) -> Memory:
        """Return the memory with its times moved."""
        return tuple(move(t_us) for t_us in memory)

    def __str__(self) -> str:
        return f"no data for {seconds(self.absent_us)}"
