"""A rush: batches come faster than they do in any steady state of a fleet, as when all come back or drain a backlog."""

MANY_S = 1500  # batches a second that make a rush …
LOOK_S = 0.5  # … counted over so long
OVER_S = 1.0  # after the last look that found so many, it is over


class Rush:
    """Counts what comes; times are of one monotonic clock, seconds."""

    def __init__(self) -> None:
        self._counted = 0
        self._since_s = 0.0
        self._found_s = -OVER_S

    def note(self, now_s: float) -> None:
        """Take note of one batch."""
        self._counted += 1
        past_s = now_s - self._since_s
        if past_s >= LOOK_S:
            if self._counted >= MANY_S * past_s:
                self._found_s = now_s
            self._counted, self._since_s = 0, now_s

    def is_on(self, now_s: float) -> bool:
        """Tell whether there is one."""
        return now_s - self._found_s < OVER_S
