"""Verification: a repair is proven by the signal, not by a click.

After a clear the ticket watches a window of event time, from the clear to `clear + window_s`. The window is cut into
slots at least two sample periods wide; good signal is at least one valid reading in every slot and no alarm.
Silence proves nothing: a slot without a reading makes the window start anew after it, and a window whose data
has not come yet waits for it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from statistics import median

from agent.wire.units import US_PER_S

WINDOW_SAMPLES = 20  # sample periods
WINDOW_LEAST_US = 30 * 60 * US_PER_S
SLOTS = 10  # of a window: each is two sample periods or more


class Outcome(StrEnum):
    """What can be said of a window now."""

    WAITING = "waiting"  # it is not over, or its data is not here yet
    PASSED = "passed"
    UNKNOWN = "unknown"  # data is missing in it: it starts anew


@dataclass(frozen=True, slots=True)
class Judgement:
    """The outcome, and until when to verify if it starts anew."""

    outcome: Outcome
    until_us: int


def sample_period_us(times_us: Sequence[int]) -> int:
    """Return the median distance between readings (µs); 0 if there are fewer than two."""
    steps = [later - earlier for earlier, later in pairwise(times_us)]
    return int(median(steps)) if steps else 0


def window_us(period_us: int) -> int:
    """Return how long good signal must last: max(20 sample periods, 30 min), in µs."""
    return max(WINDOW_SAMPLES * period_us, WINDOW_LEAST_US)


def judge(from_us: int, until_us: int, times_us: Iterable[int]) -> Judgement:
    """Judge the window `from_us` ≤ t < `until_us` by the event times of the valid readings since `from_us`, in order.

    The first reading at or after `until_us` says that the window's data is all here; nothing after it is looked at.
    """
    width = max(1, -(-(until_us - from_us) // SLOTS))
    first: dict[int, int] = {}  # by slot: its first reading; the window's end counts as one more slot
    for t_us in times_us:
        slot = SLOTS if t_us >= until_us else (t_us - from_us) // width
        first.setdefault(slot, t_us)
        if slot == SLOTS:
            break
    if SLOTS not in first:
        return Judgement(Outcome.WAITING, until_us)
    silent = [slot for slot in range(-(-(until_us - from_us) // width)) if slot not in first]
    if not silent:
        return Judgement(Outcome.PASSED, until_us)
    return Judgement(Outcome.UNKNOWN, first[min(slot for slot in first if slot > silent[-1])] + until_us - from_us)
