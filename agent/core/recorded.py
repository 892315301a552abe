"""Readings that were recorded, as lines of text, and what rules would have made of them.

Two forms, told apart by the first line; both may hold more columns or keys than are read:

CSV     a head that names `t_us`, `v` or `value`, and `series` unless it is one series without a name
NDJSON  {"t_us", "v", "series"}, the last with the same exception

That is what `fleet readings --json` and `--csv` print, `fleet-agent buffer export` writes and `fleet-agent port replay`
prints.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from agent.rules.engine import Change, Judge
from agent.rules.rule import Rule
from agent.wire.limits import MAX_TIME_US, MIN_TIME_US
from agent.wire.messages import Value
from agent.wire.units import US_PER_S

MAX_RECORDED = 5_000_000  # readings in one recording: they are sorted in memory


class Unreadable(ValueError):
    """A line is no reading; the message names it."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One reading of a recording."""

    t_us: int
    series: str
    v: Value


def read_recording(lines: Iterable[str], series: str = "") -> list[Recorded]:
    """Read a recording into order of time; `series` names the readings that do not. Raises Unreadable."""
    rest = iter(lines)
    first = next((line for line in rest if line.strip()), "")
    whole = chain((first,), rest)
    rows = _ndjson(whole, series) if first.lstrip().startswith("{") else _csv(whole, series)
    found: list[Recorded] = []
    for row in rows:
        found.append(row)
        if len(found) > MAX_RECORDED:
            raise Unreadable(f"more than {MAX_RECORDED} readings; cut the recording into parts")
    found.sort(key=lambda row: row.t_us)
    return found


def replay(rules: Sequence[Rule], recording: Sequence[Recorded]) -> Iterator[Change]:
    """Judge a recording in order of time, as a device would have, wherever the rules say they are judged.

    Time goes from the first reading to just after the last: what silence may follow is not known.
    """
    judge = Judge(rules)
    second = -1
    for row in recording:
        if row.t_us // US_PER_S != second:
            second = row.t_us // US_PER_S
            yield from judge.tick(row.t_us)
        yield from judge.feed(row.series, row.t_us, row.v)
    if recording:
        yield from judge.tick(recording[-1].t_us + 1)


def _ndjson(lines: Iterable[str], series: str) -> Iterator[Recorded]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except ValueError as error:
            raise Unreadable(f"line {number} is no JSON: {error}") from error
        if not isinstance(fields, dict):
            raise Unreadable(f"line {number} is no JSON object")
        value = fields.get("v")
        if not isinstance(value, float | int | str | None):
            raise Unreadable(f"line {number}: v is neither a number nor a text")
        yield _recorded(number, fields.get("t_us"), fields.get("series", series), value)


def _csv(lines: Iterable[str], series: str) -> Iterator[Recorded]:
    rows = csv.DictReader(line.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}") for line in lines)
    names = rows.fieldnames or ()
    value_name = "v" if "v" in names else "value"
    for name in ("t_us", value_name):
        if name not in names:
            raise Unreadable(f"the first line names no column {name}; it is neither NDJSON nor the head of a CSV")
    try:
        for row in rows:
            yield _recorded(rows.line_num, row["t_us"], row.get("series", series), _value(row[value_name]))
    except csv.Error as error:
        raise Unreadable(f"line {rows.line_num} is no CSV: {error}") from error


def _recorded(number: int, t_us: object, series: object, value: Value) -> Recorded:
    try:
        when = int(str(t_us))
    except ValueError:
        raise Unreadable(f"line {number}: t_us is {t_us!r}, no time in whole microseconds") from None
    if not MIN_TIME_US <= when <= MAX_TIME_US:
        raise Unreadable(f"line {number}: t_us is {when}, which lies outside 1970 … 2100")
    if not isinstance(series, str) or not series:
        raise Unreadable(f"line {number} names no series")
    return Recorded(when, series, value)


def _value(text: str | None) -> Value:
    """Return a cell's value: nothing, a number, or else a text."""
    if not text:
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": 1, "false": 0}.get(text, text)
