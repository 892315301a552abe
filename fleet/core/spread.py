"""How the values of many devices are spread: least, greatest, percentiles, a histogram; or how often each text is."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agent.wire.messages import Value

PERCENTILES = (5, 25, 50, 75, 95, 99)
MAX_TEXTS = 20  # distinct texts that are told, the most frequent


@dataclass(frozen=True, slots=True)
class Bar:
    """So many values lie in `low` ≤ v < `high`; in the last bar v = `high` too."""

    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Spread:
    """Of numbers: how many, how they are spread; of the others: how many are no value, and each text's number."""

    count: int
    low: float | None
    high: float | None
    mean: float | None
    percentiles: dict[int, float]
    bars: list[Bar]
    empty: int
    texts: list[tuple[str, int]]


def spread(values: Sequence[Value], *, bars: int) -> Spread:
    """Tell how values are spread. A percentile is one of the values (nearest rank), never something between."""
    numbers = np.array([one for one in values if isinstance(one, int | float)], np.float64)
    empty = sum(one is None for one in values)
    texts = Counter(one for one in values if isinstance(one, str)).most_common(MAX_TEXTS)
    if not len(numbers):
        return Spread(0, None, None, None, {}, [], empty, texts)
    low, high = float(numbers.min()), float(numbers.max())
    found = np.percentile(numbers, PERCENTILES, method="inverted_cdf").tolist()
    return Spread(
        len(numbers),
        low,
        high,
        float(numbers.mean()),
        dict(zip(PERCENTILES, found, strict=True)),
        _bars(numbers, low, high, bars),
        empty,
        texts,
    )


def _bars(numbers: "np.ndarray[tuple[int], np.dtype[np.float64]]", low: float, high: float, most: int) -> list[Bar]:
    edges = np.linspace(low, high, most + 1)
    if not (np.isfinite(edges).all() and (edges[1:] > edges[:-1]).all()):  # all alike, or too near for so many
        return [Bar(low, high, len(numbers))]
    counts, _ = np.histogram(numbers, edges)
    return [
        Bar(start, end, count)
        for start, end, count in zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
    ]
