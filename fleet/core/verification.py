"""Verification: a repair is proven by the signal, not by a click.

After a clear the ticket watches a window of event time, from the clear to `clear + window_s`. The window is cut into
slots at least two sample periods wide; good signal is at least one valid reading in every slot and no alarm.
Silence proves nothing: a slot without a reading makes the window start anew after it, and a window whose data
has not come yet waits for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from statistics import median

US_PER_S = 1_000_000
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


def judge(from_us: int, until_us: int, times_us: Sequence[int]) -> Judgement:
    """Judge the window `from_us`…`until_us` by the event times of the valid readings since `from_us`, in order.

    Two readings a slot say as much as all of them. The newest reading tells how far the data has come.
    """
    width = max(1, (until_us - from_us) // SLOTS)
    if not times_us or times_us[-1] < until_us:
        return Judgement(Outcome.WAITING, until_us)
    filled = {(t_us - from_us) // width for t_us in times_us if from_us <= t_us < until_us}
    missing = [slot for slot in range(SLOTS) if slot not in filled]
    if not missing:
        return Judgement(Outcome.PASSED, until_us)
    resumed = next((t_us for t_us in times_us if t_us >= from_us + (missing[-1] + 1) * width), times_us[-1])
    return Judgement(Outcome.UNKNOWN, resumed + (until_us - from_us))
