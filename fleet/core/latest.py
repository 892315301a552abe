"""The newest reading of each series of a device: late and historical data never move a live value back."""

from collections.abc import Iterable, Mapping
from typing import Any

MAX_SERIES = 2048  # series of one device that are kept; beyond it, those not heard of longest are forgotten

Entry = list[Any]
"""One series as it was last heard of: [event time in µs, value, unit]."""

Known = Mapping[str, Entry]
"""By series."""


def merge(known: Known, heard: Iterable[tuple[str, Entry]]) -> dict[str, Entry] | None:
    """Return what is known with what was heard, None if nothing changes; of two readings of one time the later wins."""
    merged = dict(known)
    changed = False
    for name, entry in heard:
        old = merged.get(name)
        if old is None or entry[0] >= old[0]:
            changed = changed or old != entry
            merged[name] = entry
    if not changed:
        return None
    if len(merged) > MAX_SERIES:
        newest = sorted(merged, key=lambda name: merged[name][0], reverse=True)[:MAX_SERIES]
        merged = {name: merged[name] for name in newest}
    return merged
