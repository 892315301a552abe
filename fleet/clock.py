"""The one place where the fleet reads a clock."""

import time


def now_us() -> int:
    """Return UTC in microseconds."""
    return time.time_ns() // 1000
