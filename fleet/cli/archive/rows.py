"""Readings and gaps as lines of text, NDJSON or CSV: one a line, with all that belongs to it.

Written for speed: what is the same for all readings of a line of the API is made once.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any

from fleet.cli.archive.journal import Machine

COLUMNS = (
    *("kind", "device", "product", "serial", "site", "series", "t_us", "t", "value", "type", "unit", "clock"),
    *("to_us", "count", "reason", "lane", "store_id", "from_seq", "to_seq", "received_us"),
)
"""Of CSV. A reading fills the first line of them, a gap `t_us` (where it begins) and the second."""

HOUR_US = 3_600_000_000
SECONDS = [f"{second // 60:02}:{second % 60:02}" for second in range(3600)]
"""How each second of an hour is written."""

_AFTER_READING = "," * 8
_KINDS = {int: "int", float: "float", str: "text", type(None): "none"}

Line = Mapping[str, Any]
"""A line of the API."""


def times(line: Line) -> Iterator[int]:
    """Yield the event times of a line of readings, µs."""
    dt = line["dt"]
    return accumulate(dt[1:], initial=line["t0_us"])


def iso_each(found: Iterable[int]) -> Iterator[str]:
    """Write times as ISO-8601 in UTC, with microseconds."""
    begins, head = 1, ""
    for t_us in found:
        past = t_us - begins
        if not 0 <= past < HOUR_US:
            begins = t_us - t_us % HOUR_US
            past = t_us - begins
            head = datetime.fromtimestamp(begins // 1_000_000, UTC).strftime("%Y-%m-%dT%H:")
        second, micros = divmod(past, 1_000_000)
        yield f"{head}{SECONDS[second]}.{micros:06}Z"


class Ndjson:
    """A JSON object a line; `kind` says what it is."""

    head = ""

    def machine(self, one: Machine) -> str:
        """Return the line that tells of a device; all of them come first."""
        about = {"device": one.device, "product": one.product, "serial": one.serial, "site": one.site}
        return json.dumps({"kind": "device", **about}, ensure_ascii=False, separators=(",", ":")) + "\n"

    def gap(self, line: Line, machine: Machine) -> str:
        """Return the line of a gap."""
        said = {"kind": "gap", "device": line["device"], "product": machine.product}
        return json.dumps(said | dict(line), ensure_ascii=False, separators=(",", ":")) + "\n"

    def readings(self, line: Line, machine: Machine) -> str:
        """Return a line for each reading."""
        named = {"kind": "reading", "device": line["device"], "product": machine.product, "series": line["series"]}
        head = json.dumps(named, ensure_ascii=False, separators=(",", ":"))[:-1] + ',"t_us":'
        rest = {"unit": line["unit"], "clock": line["clock"]}
        tail = "," + json.dumps(rest, ensure_ascii=False, separators=(",", ":"))[1:] + "\n"
        all_us = list(times(line))
        rows = zip(all_us, iso_each(all_us), _literals(line["v"]), strict=True)
        return "".join([f'{head}{t_us},"t":"{t}","v":{v}{tail}' for t_us, t, v in rows])


class Csv:
    """Comma-separated values with a head (RFC 4180); `type` tells 1 from 1.0 and nothing from an empty text."""

    head = ",".join(COLUMNS) + "\n"

    def machine(self, one: Machine) -> str:
        """Return nothing: each line names its device in full."""
        del one
        return ""

    def gap(self, line: Line, machine: Machine) -> str:
        """Return the line of a gap."""
        (begins,) = iso_each([line["from_us"]])
        said = ["gap", *_whose(machine), "", line["from_us"], begins, "", "", "", ""]
        return _row([*said, *(line[name] for name in COLUMNS[12:])])

    def readings(self, line: Line, machine: Machine) -> str:
        """Return a line for each reading."""
        head = _row(["reading", *_whose(machine), line["series"]])[:-1]
        tail = "," + _row([line["unit"], line["clock"]])[:-1] + _AFTER_READING + "\n"
        all_us = list(times(line))
        v: Sequence[Any] = line["v"]
        rows = zip(all_us, iso_each(all_us), _fields(v), [_KINDS[type(one)] for one in v], strict=True)
        return "".join([f"{head},{t_us},{t},{field},{kind}{tail}" for t_us, t, field, kind in rows])


def _whose(machine: Machine) -> list[str]:
    return [machine.device, machine.product, machine.serial, machine.site]


def _row(values: Sequence[object]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(values)
    return out.getvalue()


def _literals(values: Sequence[Any]) -> Iterable[str]:
    """Return values as JSON has them; a float as the shortest decimal that is the same float."""
    kinds = set(map(type, values))
    if kinds <= {float, int}:
        return map(repr, values)
    return (json.dumps(value, ensure_ascii=False) for value in values)


def _fields(values: Sequence[Any]) -> Iterable[str]:
    if set(map(type, values)) <= {float, int}:
        return map(repr, values)
    return (_field(value) for value in values)


def _field(value: object) -> str:
    if value is None:
        return ""
    return '"' + value.replace('"', '""') + '"' if isinstance(value, str) else repr(value)
