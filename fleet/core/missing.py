"""What of some readings is not held yet: an import brings these, and none a second time.

A reading is known by series, event time and value, exactly: 1 is not 1.0, -0.0 not 0.0. Two readings of one microsecond
and value are two, so they are counted: of three in the file and two that are held, one is missing. Unit and clock are
not compared.
"""

from collections import Counter

import numpy as np

from agent.wire.messages import Value
from fleet.core.chunk import Rows
from fleet.core.column import Ints, pick


def missing(fresh: Rows, held: Rows | None) -> Rows:
    """Return the rows of `fresh` that `held`, of the same series and by time too, does not have."""
    if held is None or not len(held):
        return fresh
    start, end = (int(at) for at in np.searchsorted(held.t_us, [fresh.t_us[0], fresh.t_us[-1] + 1]))
    there = held.span(start, end)
    doubtful = np.isin(fresh.t_us, there.t_us)
    if not doubtful.any():
        return fresh
    if _same(fresh, there):
        return fresh.span(0, 0)
    left = Counter(zip(there.t_us.tolist(), map(_key, there.values()), strict=True))
    keep = np.ones(len(fresh), np.bool_)
    values = fresh.values()
    for row in np.flatnonzero(doubtful).tolist():
        key = (int(fresh.t_us[row]), _key(values[row]))
        if left[key]:
            left[key] -= 1
            keep[row] = False
    return _picked(fresh, np.flatnonzero(keep).astype(np.int64))


def _same(one: Rows, other: Rows) -> bool:
    """Tell at a glance that both hold the same readings, as when an import is run again."""
    if isinstance(one.v, list) or isinstance(other.v, list) or one.v.dtype != other.v.dtype:
        return False
    return np.array_equal(one.t_us, other.t_us) and np.array_equal(one.v.view(np.int64), other.v.view(np.int64))


def _key(value: Value) -> str:
    return repr(value)  # of each type another, and of a float exact


def _picked(rows: Rows, at: Ints) -> Rows:
    return Rows(rows.name, rows.t_us[at], pick(rows.v, at), rows.clock[at], rows.unit[at], rows.units)
