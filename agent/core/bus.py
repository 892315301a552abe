"""Several dialogues on one port.

Those that only listen all hear everything. Those that ask (`agent.ports.Turned`) take turns: whoever has asked holds
the bus until its answer has come or is given up, and hears alone meanwhile; then it is the turn of whoever has been
due the longest.
"""

from collections.abc import Sequence
from typing import cast

from agent.ports import Action, Dialogue, Turned

NEVER = float("inf")

Marked = tuple[int, Sequence[Action]]
"""Actions, and which of the dialogues they are from."""


class Bus:
    """The dialogues of one port, as one. Same calls as a dialogue; the answers say who."""

    def __init__(self, dialogues: Sequence[Dialogue]) -> None:
        self._dialogues = tuple(enumerate(dialogues))
        self._asking = {i: cast("Turned", d) for i, d in self._dialogues if hasattr(d, "waiting")}

    def opened(self, now_s: float) -> list[Marked]:
        """Start all anew."""
        return [(i, dialogue.opened(now_s)) for i, dialogue in self._dialogues]

    def feed(self, data: bytes, now_s: float) -> list[Marked]:
        """Give bytes to whoever listens."""
        return [(i, dialogue.feed(data, now_s)) for i, dialogue in self._free()]

    def tick(self, now_s: float) -> list[Marked]:
        """Let those act that are due: all listeners, and of the asking ones the holder or the next."""
        found: list[Marked] = []
        for i, dialogue in sorted(self._dialogues, key=lambda item: _due(item[1])):
            if _due(dialogue) <= now_s and self._is_free(i):
                found.append((i, dialogue.tick(now_s)))
        return found

    def due(self) -> float | None:
        """Return when the next tick is wanted, monotonic seconds."""
        at_s = min((_due(dialogue) for _, dialogue in self._free()), default=NEVER)
        return None if at_s == NEVER else at_s

    def _free(self) -> list[tuple[int, Dialogue]]:
        return [(i, dialogue) for i, dialogue in self._dialogues if self._is_free(i)]

    def _is_free(self, i: int) -> bool:
        return i not in self._asking or not any(d.waiting() for other, d in self._asking.items() if other != i)


def _due(dialogue: Dialogue) -> float:
    at_s = dialogue.due()
    return NEVER if at_s is None else at_s
