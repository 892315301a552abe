"""Saying the same of the same device seldom: whoever can make the server log must not be able to fill its disk."""

MAX_KEYS = 10_000  # devices and addresses remembered; beyond it all are forgotten at once


class Seldom:
    """Tells whether a thing may be said again: once for each key in `every_s`."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._said: dict[str, float] = {}

    def may(self, key: str, now_s: float) -> bool:
        """Tell whether `key` may be said at `now_s` (monotonic seconds), and take it as said."""
        last = self._said.get(key)
        if last is not None and now_s - last < self._every_s:
            return False
        if len(self._said) >= MAX_KEYS:
            self._said.clear()
        self._said[key] = now_s
        return True
