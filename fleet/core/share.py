"""Usage by customer: each is counted only for the time in which a device was theirs.

A share is what one device has counted in one tenure. It begins with the first reading of the tenure: the step that
leads from the last owner's last reading to the new one's first is nobody's. It may have been either's, and the reading
that it begins with is not the new owner's to see.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from fleet.core.meter import Usage
from fleet.core.ownership import Tenure


@dataclass(frozen=True, slots=True)
class Sum:
    """What devices have counted in a period together; `usage` is None where none was read.

    `coverage` is the share of the devices' time with their owner, up to now, that lies in no gap.
    """

    from_us: int
    to_us: int
    usage: Fraction | None
    coverage: float | None
    devices: int  # that were read
    readings: int
    fall_count: int
    gap_count: int
    clocks: int
    exact: bool


def cut(edges: Sequence[int], tenure: Tenure) -> list[int]:
    """Return the borders of periods within a tenure that touches them, its own ends included."""
    from_us, to_us = max(edges[0], tenure.from_us), min(edges[-1], tenure.to_us)
    return [from_us, *(edge for edge in edges if from_us < edge < to_us), to_us]


def sums(edges: Sequence[int], shares: Iterable[tuple[str, Sequence[Usage]]], now_us: int) -> list[Sum]:
    """Return the sum of each period, and after them of the whole span.

    A share is a device, and its parts of periods and after them its whole.
    """
    parts: list[list[Usage]] = [[] for _ in edges]
    devices: list[set[str]] = [set() for _ in edges]
    for device_id, (*periods, whole) in shares:
        for number, one in ((len(edges) - 1, whole), *((bisect_right(edges, one.from_us) - 1, one) for one in periods)):
            parts[number].append(one)
            if one.usage is not None:
                devices[number].add(device_id)
    spans = [*pairwise(edges), (edges[0], edges[-1])]
    columns = zip(spans, parts, devices, strict=True)
    return [_sum(*span, some, len(read), now_us) for span, some, read in columns]


def _sum(from_us: int, to_us: int, some: Sequence[Usage], devices: int, now_us: int) -> Sum:
    read = [one.usage for one in some if one.usage is not None]
    lengths = [max(0, min(one.to_us, now_us) - one.from_us) for one in some]
    covered = sum((one.coverage or 0) * length for one, length in zip(some, lengths, strict=True))
    clocks = 0
    for one in some:
        clocks |= one.clocks
    return Sum(
        from_us,
        to_us,
        sum(read, Fraction(0)) if read else None,
        covered / sum(lengths) if sum(lengths) else None,
        devices,
        sum(one.readings for one in some),
        sum(one.fall_count for one in some),
        sum(one.gap_count for one in some),
        clocks,
        all(one.exact for one in some),
    )
