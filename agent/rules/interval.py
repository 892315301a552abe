"""How often a source reads, as far as its config says: `every_s` of what is polled, `expected_s` of what speaks.

Both stand in the `[[source]]` tables of the device's config. A protocol's own table has an `every_s` for all that it
polls, and each of those may have its own; the longest counts, so that nothing is missed that is not due yet. Without
the one for all a default would count, which only the protocol knows: then the interval is not known here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agent.wire.document import Table
from agent.wire.units import US_PER_S

MAX_INTERVAL_S = 2 * 86_400.0


@dataclass(frozen=True, slots=True)
class Interval:
    """How far apart the readings of a source are at most; 0 where that is not known."""

    device_us: int  # as they are read
    fleet_us: int  # as they arrive: unknown where readings are thinned out (`[[source.sampling]]`)


NOTHING = Interval(0, 0)

Intervals = Mapping[str, Interval]
"""By source."""


def read_intervals(document: Table) -> Intervals:
    """Return the interval of each source that tells one; what is wrong in a source is not for here to say."""
    sources = document.values.get("source")
    found: dict[str, Interval] = {}
    for source in sources if isinstance(sources, list) else ():
        if isinstance(source, dict) and isinstance(source.get("name"), str):
            interval_us = _interval_us(source)
            found[source["name"]] = Interval(interval_us, 0 if source.get("sampling") else interval_us)
    return found


def source_of(series: str) -> str:
    """Return the source of a series, "" where a pattern may mean several."""
    source = series.partition(".")[0]
    return "" if "*" in source else source


def _interval_us(source: Mapping[str, Any]) -> int:
    own = _seconds(source.get("expected_s"))
    polled = source.get(str(source.get("protocol")))
    if own or not isinstance(polled, dict) or not _seconds(polled.get("every_s")):
        return round(own * US_PER_S)
    return round(max(_every(polled)) * US_PER_S)


def _every(polled: Mapping[str, Any]) -> Iterator[float]:
    yield _seconds(polled.get("every_s"))
    for value in polled.values():
        for each in value if isinstance(value, list) else ():
            if isinstance(each, dict):
                yield _seconds(each.get("every_s"))


def _seconds(value: object) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= MAX_INTERVAL_S
    return float(value) if good else 0.0  # type: ignore[arg-type] # a number, as was just seen
