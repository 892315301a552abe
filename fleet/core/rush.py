"""A rush: batches come so fast that what can wait should, as when many come back at once or drain a backlog."""

MANY_S = 1500  # batches a second that make a rush …
LOOK_S = 0.5  # … counted over so long
OVER_S = 1.0  # after the last look that found so many, it is over
PASS_S = 60.0  # that a rush is let pass; one that lasts is no longer waited for …
CALM_S = 60.0  # … until there was none for so long: what waited has had its turn by then


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


class Patience:
    """How long whoever can wait does so: for a rush that is short, and not again for one that follows on it soon."""

    def __init__(self) -> None:
        self._began_s: float | None = None  # of the rush that is on, or was less than `CALM_S` ago
        self._seen_s = 0.0  # when there was one last

    def waits(self, now_s: float, *, is_rush: bool) -> bool:
        """Tell whether to wait, while there is a rush or is none; ask before each piece of work that can wait."""
        if not is_rush:
            return False
        if self._began_s is None or now_s - self._seen_s >= CALM_S:
            self._began_s = now_s
        self._seen_s = now_s
        return now_s - self._began_s < PASS_S
