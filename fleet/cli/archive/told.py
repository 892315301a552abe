"""What files tell, item by item, before anybody believes it: devices, gaps, readings, and what cannot be read.

The limits are those of the wire (`agent.wire.limits`); the server checks them again.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from agent.wire import limits
from agent.wire.codec import NAME
from agent.wire.messages import Clock, Value
from agent.wire.topics import DEVICE_ID
from fleet.cli.archive.journal import Machine

MAX_KNOWN = 100_000  # heads of readings that need not be checked again
CLOCKS = frozenset(clock.value for clock in Clock)
LONE = re.compile("[\ud800-\udfff]")  # half of a character: no UTF-8 says it

GAP = (
    *("device", "lane", "store_id", "from_seq", "to_seq"),
    *("from_us", "to_us", "count", "reason", "received_us"),
)

Place = tuple[int, int]
"""Where an item stands: byte and line of a text; number of a file and row of it."""


class Head(NamedTuple):
    """What readings that follow on each other have in common."""

    device: str
    product: str
    serial: str
    site: str
    series: str
    unit: str
    clock: str

    @property
    def machine(self) -> Machine:
        """Return the device."""
        return Machine(self.device, self.product, self.serial, self.site)


class Reading(NamedTuple):
    """One reading."""

    place: Place
    head: Head
    t_us: int
    v: Value


class Run(NamedTuple):
    """Readings that follow on each other, by time, and were all looked at; at most as many as a line of the API has."""

    place: Place  # of the first; each of the others stands in the next row
    head: Head
    t_us: list[int]
    v: list[Value]


@dataclass(frozen=True, slots=True)
class Gap:
    """One gap, as a line of the API has it, and the device that it is of."""

    place: Place
    machine: Machine
    line: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Device:
    """A device of which more is to come."""

    place: Place
    machine: Machine


@dataclass(frozen=True, slots=True)
class Reject:
    """What cannot be read, and why."""

    place: Place
    where: str  # file, for people; "" where there is only one
    line: int  # from 1; 0: the whole file
    reason: str
    text: str


Item = Reading | Run | Gap | Device | Reject

_known: set[Head] = set()


def problem(head: Head, t_us: object, v: object) -> str | None:
    """Return what keeps a reading from being one; None if nothing does."""
    if head not in _known:
        wrong = _problem_of(head)
        if wrong is not None:
            return wrong
        if len(_known) >= MAX_KNOWN:
            _known.clear()
        _known.add(head)
    if type(t_us) is not int or not limits.MIN_TIME_US <= t_us <= limits.MAX_TIME_US:
        return f"t_us: {_short(t_us)} is no time in microseconds from 1970 to 2100"
    return _problem_of_value(v)


def _problem_of(head: Head) -> str | None:
    if not isinstance(head.device, str) or DEVICE_ID.fullmatch(head.device) is None:
        return f"device: {_short(head.device)} is no device's id"
    if not isinstance(head.series, str) or NAME.fullmatch(head.series) is None:
        return f"series: {_short(head.series)} is no name"
    if head.clock not in CLOCKS:
        return f"clock: {_short(head.clock)} is none of {', '.join(sorted(CLOCKS))}"
    most = {"unit": limits.MAX_UNIT_CHARS, "product": 64, "serial": 128, "site": 256}
    for name, count in most.items():
        said = getattr(head, name)
        if not _is_text(said, count):
            return f"{name}: {_short(said)} is no text of up to {count} characters"
    return None


def _problem_of_value(v: object) -> str | None:
    kind = type(v)
    if kind is float:
        return None if math.isfinite(v) else f"value: {v} is no finite number"  # type: ignore[arg-type] # a float
    if kind is int:
        fits = -limits.MAX_INTEGER - 1 <= v <= limits.MAX_INTEGER  # type: ignore[operator] # an int
        return None if fits else f"value: {_short(v)} does not fit 64 bits"
    if isinstance(v, str):
        return (
            None
            if _is_text(v, limits.MAX_VALUE_CHARS)
            else f"value: a text has up to {limits.MAX_VALUE_CHARS} characters, none of them NUL"
        )
    return None if v is None else f"value: {_short(v)} is neither number nor text nor nothing"


def gap_of(place: Place, said: dict[str, Any]) -> Gap | str:
    """Return a gap, or what keeps it from being one; `said` has the keys of a line of the API."""
    machine = machine_of(said)
    wrong = machine if isinstance(machine, str) else _problem_of_gap(said)
    if wrong is not None or isinstance(machine, str):
        return wrong or ""
    return Gap(place, machine, {"kind": "gap", **{name: said.get(name) for name in GAP}})


def _problem_of_gap(said: dict[str, Any]) -> str | None:
    for name in ("lane", "store_id", "reason"):
        if not _is_text(said.get(name), limits.MAX_TEXT_CHARS):
            return f"{name}: {_short(said.get(name))} is no text"
    if said["lane"] not in ("telemetry", "events") or NAME.fullmatch(said["store_id"]) is None:
        return f"lane, store_id: {_short(said['lane'])}, {_short(said['store_id'])} are none"
    for name in ("from_seq", "to_seq", "from_us", "to_us", "received_us", "count"):
        number, most = said.get(name), limits.MAX_TIME_US if name.endswith("_us") else limits.MAX_SEQ
        if name == "count" and number is None:
            continue
        if type(number) is not int or not 0 <= number <= most:
            return f"{name}: {_short(number)} is no number from 0 to {most}"
    backwards = said["from_us"] > said["to_us"] or said["from_seq"] > said["to_seq"]
    return "the gap ends before it begins" if backwards else None


def _is_text(said: object, most: int) -> bool:
    return isinstance(said, str) and len(said) <= most and "\0" not in said and not LONE.search(said)


def machine_of(said: dict[str, Any]) -> Machine | str:
    """Return a device, or what keeps it from being one."""
    about = {name: said.get(name) or "" for name in ("product", "serial", "site")}
    head = Head(said.get("device") or "", **about, series="x", unit="", clock="unknown")
    return _problem_of(head) or head.machine


def _short(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a number beyond all bounds"
    return text if len(text) <= 60 else text[:57] + "..."  # noqa: PLR2004 - of a sentence
