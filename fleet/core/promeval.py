"""Queries of PromQL worked out over a grid of times: pure, given what reads the series.

Values of series stand in arrays, one a step; NaN is no sample. Nothing is carried over a time in which nothing was
measured: what reads the series decides that, and here nothing fills it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleet.core.column import Floats, Ints
from fleet.core.label import NAME, Labels
from fleet.core.promql import AGGREGATES, COMPARISONS, Aggregate, Binary, Expression, Number, Over, Selector

Read = Callable[[Selector | Over], "list[Line]"]
"""Reads the series of a leaf at all steps."""


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One series: its labels, and a value for each step."""

    labels: Labels
    values: Floats


def evaluate(query: Expression, times: Ints, read: Read) -> "list[Line] | Floats":
    """Return the series, or numbers, that a query is at each of the times."""
    match query:
        case Number(value):
            return np.full(len(times), value)
        case Selector():
            return read(query)
        case Over():
            return [Line(_without(one.labels, (NAME,)), one.values) for one in read(query)]
        case Aggregate():
            inner = evaluate(query.inner, times, read)
            return _aggregated(query, inner) if isinstance(inner, list) else inner
        case Binary():
            return _binary(query, evaluate(query.left, times, read), evaluate(query.right, times, read))


def _binary(query: Binary, left: "list[Line] | Floats", right: "list[Line] | Floats") -> "list[Line] | Floats":
    if isinstance(left, list) and not isinstance(right, list):
        return [_line(query, one, _worked(query, one.values, right, one.values)) for one in left]
    if isinstance(right, list) and not isinstance(left, list):
        return [_line(query, one, _worked(query, left, one.values, one.values)) for one in right]
    assert not isinstance(left, list)  # noqa: S101 - the parser lets no two series through
    assert not isinstance(right, list)  # noqa: S101
    return _worked(query, left, right, left)


def _line(query: Binary, one: Line, values: Floats) -> Line:
    keeps = query.operator in COMPARISONS and not query.as_number
    return Line(one.labels if keeps else _without(one.labels, (NAME,)), values)


def _worked(query: Binary, left: Floats, right: Floats, kept: Floats) -> Floats:
    with np.errstate(all="ignore"):
        if query.operator in COMPARISONS:
            holds = _COMPARE[query.operator](left, right)
            return np.where(np.isnan(kept), np.nan, holds.astype(float) if query.as_number else _chosen(holds, kept))
        found: Floats = _WORK[query.operator](left, right)
        return found


def _chosen(holds: "NDArray[np.bool_]", kept: Floats) -> Floats:
    return np.where(holds, kept, np.nan)


_WORK: dict[str, Callable[[Floats, Floats], Floats]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
}
_COMPARE: dict[str, Callable[[Floats, Floats], "NDArray[np.bool_]"]] = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    ">": np.greater,
    "<=": np.less_equal,
    ">=": np.greater_equal,
}


def _aggregated(query: Aggregate, lines: Sequence[Line]) -> list[Line]:
    groups: dict[tuple[tuple[str, str], ...], list[Floats]] = {}
    for one in lines:
        if query.without:
            labels = _without(one.labels, (NAME, *query.labels))
        else:
            labels = {name: one.labels[name] for name in query.labels if one.labels.get(name)}
        groups.setdefault(tuple(sorted(labels.items())), []).append(one.values)
    return [Line(dict(labels), _together(query.function, np.array(some))) for labels, some in groups.items()]


def _together(function: str, some: "NDArray[np.float64]") -> Floats:
    assert function in AGGREGATES  # noqa: S101 - the parser's own
    there = ~np.isnan(some)
    count = there.sum(axis=0).astype(float)
    with np.errstate(all="ignore"):
        match function:
            case "count":
                found = count
            case "min":
                found = np.where(there, some, np.inf).min(axis=0)
            case "max":
                found = np.where(there, some, -np.inf).max(axis=0)
            case "sum":
                found = np.where(there, some, 0.0).sum(axis=0)
            case _:
                found = np.where(there, some, 0.0).sum(axis=0) / count
    return np.where(count > 0, found, np.nan)


def _without(labels: Labels, names: Sequence[str]) -> Labels:
    return {name: value for name, value in labels.items() if name not in names}
