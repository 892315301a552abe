"""How long to wait before the next try.

Full jitter: a uniform draw between 0 and a ceiling that doubles with each failure. Of the usual schemes it spreads a
fleet that lost its server at the same moment best and makes the fewest calls (M. Brooker, "Exponential Backoff And
Jitter", AWS Architecture Blog, 2015).
"""

from collections.abc import Callable

Rng = Callable[[], float]
"""A source of uniform numbers in [0, 1), as `random.Random(seed).random`."""

MAX_DOUBLINGS = 32  # beyond any ceiling; keeps 2**n an ordinary number after years of failures


class Backoff:
    """Waiting times after failures in a row; `succeeded` starts anew.

    `base_s` is the first ceiling and `cap_s` the last, in seconds.
    """

    def __init__(self, rng: Rng, *, base_s: float, cap_s: float) -> None:
        self._rng = rng
        self._base_s = base_s
        self._cap_s = cap_s
        self.failures = 0

    def failed(self) -> float:
        """Count one more failure; returns the seconds to wait, 0 … min(cap, base · 2ⁿ)."""
        ceiling_s = min(self._cap_s, self._base_s * 2.0 ** min(self.failures, MAX_DOUBLINGS))
        self.failures += 1
        return self._rng() * ceiling_s

    def succeeded(self) -> None:
        """Forget the failures."""
        self.failures = 0
