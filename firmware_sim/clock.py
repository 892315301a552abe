"""The only module of the simulators that reads a clock."""

import time


def now_us() -> int:
    """Return the time of day, UTC microseconds since 1970."""
    return time.time_ns() // 1000


def monotonic_s() -> float:
    """Return seconds that never go back; their zero means nothing."""
    return time.monotonic()


def sleep(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)
