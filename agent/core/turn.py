"""When something that is polled is asked next.

Turns keep to a grid of `every_s`, so that readings of one second stay apart by one second however long an answer
takes; turns that were missed are not made up for. What does not answer is asked after `every_s`, twice that, four
times … up to `MAX_BACKOFF_S` (or `every_s`, if that is longer), so that the dead do not slow the living.
"""

from dataclasses import dataclass

MAX_BACKOFF_S = 60.0
MOST_DOUBLINGS = 32


@dataclass(slots=True)
class Turn:
    """The next turn of one that is polled each `every_s`; monotonic seconds."""

    every_s: float
    due_s: float = 0.0
    failures: int = 0  # turns without an answer since the last one with

    def start(self, now_s: float) -> None:
        """Begin anew: its turn is now."""
        self.due_s, self.failures = now_s, 0

    def schedule(self, now_s: float, *, answered: bool) -> None:
        """Set the next turn; later each time that there was no answer."""
        every_s = self.every_s
        self.failures = 0 if answered else self.failures + 1
        most_s = max(every_s, MAX_BACKOFF_S)
        wait_s = every_s if answered else min(every_s * 2.0 ** min(self.failures - 1, MOST_DOUBLINGS), most_s)
        self.due_s += wait_s
        if self.due_s <= now_s:
            self.due_s += every_s * ((now_s - self.due_s) // every_s + 1)
