"""What the families of conditions share."""

from collections.abc import Callable
from typing import Any

from agent.wire.units import US_PER_S

Memory = tuple[Any, ...]

Move = Callable[[int], int]
"""Returns a time as the clock would have told it that was set meanwhile."""
"""What a condition remembers: numbers, strings, None and tuples of them; () before the first reading."""


def seconds(us: int) -> str:
    """Return a duration in words: `90 s`."""
    return f"{us / US_PER_S:g} s"
