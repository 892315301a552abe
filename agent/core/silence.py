"""When an open port counts as silent, and when it is heard again.

Where the agent only listens, silence counts from the last byte; where it asks, from the first question since then, so
that a probe which is asked once an hour is not missed for the hour. A port is silent after `LEAST_S`. One that spoke
again after a longer pause is one that pauses: from then on it has to be silent for twice as long, up to `MOST_S`, so a
machine that speaks every ten minutes is told of once, and not 144 times a day.
"""

LEAST_S = 300.0
MOST_S = 86_400.0


class Silence:
    """The silence of one port; all times in monotonic seconds."""

    def __init__(self) -> None:
        self.is_silent = False
        self.after_s = LEAST_S
        self._since_s: float | None = None  # None: nobody has been asked

    def opened(self, now_s: float, *, listens: bool) -> None:
        """Count anew; a port that was silent before it was lost is silent until something comes."""
        self._listens = listens
        self._since_s = now_s if listens else None

    def asked(self, now_s: float) -> None:
        """Take note of a question."""
        if self._since_s is None:
            self._since_s = now_s

    def heard(self, now_s: float) -> bool:
        """Take note of bytes; tells whether they end a silence."""
        before, self.is_silent = self.is_silent, False
        if before:
            self.after_s = min(max(self.after_s, 2 * self.lasts_s(now_s)), MOST_S)
        self._since_s = now_s if self._listens else None
        return before

    def due(self) -> float | None:
        """Return when it will be silent if nothing comes; None if it is, or nothing is awaited."""
        return None if self.is_silent or self._since_s is None else self._since_s + self.after_s

    def tick(self, now_s: float) -> bool:
        """Tell whether it has just become silent."""
        due_s = self.due()
        self.is_silent |= due_s is not None and now_s >= due_s
        return self.is_silent and due_s is not None

    def lasts_s(self, now_s: float) -> float:
        """Return for how long nothing has come."""
        return 0.0 if self._since_s is None else now_s - self._since_s
