"""Evidence: what was known of the machine when its ticket was opened, frozen, so that nobody types it in.

The window is 15 min to either side of the moment the alarm was raised. What lies after the opening cannot be in it
yet, and the readings that broke the rule may still be on their way (events overtake telemetry), so the readings alone
are taken again when the window has passed; `complete` says whether that has been done. All else stays as it was.

Sizes are bounded, and what was left out is said: a series that had more readings than it may keep is thinned to the
least and the greatest of equal stretches of time, which keeps every peak. A device chooses how long its texts are, so
what they take is bounded in bytes; the series that the ticket is about comes first.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from agent.wire.messages import Value
from agent.wire.units import US_PER_S

T = TypeVar("T")

BEFORE_US = 15 * 60 * US_PER_S
AFTER_US = 15 * 60 * US_PER_S
SETTLE_US = 60 * US_PER_S  # after the window, for what is still on its way
EVENTS_US = 7 * 86_400 * US_PER_S  # events of this long before
ELSEWHERE_US = 30 * 86_400 * US_PER_S  # tickets of the same symptom of this long before
MAX_SERIES_READINGS = 2_000  # of one series
MAX_READINGS = 20_000  # of all series together
MIN_SERIES_READINGS = 100  # of one series, however many there are
MAX_OPENING_READINGS = 20_000  # looked at while the ticket is opened, newest first; all are when it is completed
MAX_SERIES = 512  # whose readings are collected
MAX_READINGS_BYTES = 1024 * 1024  # of JSON, for all series together
MAX_LATEST_BYTES = 64 * 1024  # of JSON: about 700 series with ordinary names
MAX_EVENTS = 100
MAX_EVENTS_BYTES = 64 * 1024  # of JSON
MAX_ELSEWHERE = 20
MAX_ALARMS = 50
MAX_GAPS = 50


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """The machine, as it was."""

    id: str
    product: str
    serial: str
    site: str
    agent_version: str


@dataclass(frozen=True, slots=True)
class ConfigFacts:
    """The config, as it was: revision 0 is none (desired) or the device's own seed (applied)."""

    desired: int
    applied: int
    applied_hash: str


@dataclass(frozen=True, slots=True)
class LatestFacts:
    """The newest value of one series."""

    series: str
    unit: str
    t_us: int
    v: Value


@dataclass(frozen=True, slots=True)
class AlarmFacts:
    """An alarm that was open."""

    id: int
    series: str
    rule: str
    severity: str
    state: str
    condition: str
    first_bad_us: int
    raised_us: int


@dataclass(frozen=True, slots=True)
class EventFacts:
    """Something that happened to the device before."""

    t_us: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class ElsewhereFacts:
    """A ticket of another device with the same symptom."""

    ticket: int
    device: str
    state: str
    opened_us: int


@dataclass(frozen=True, slots=True)
class GapFacts:
    """Readings or events that existed and will not come."""

    lane: str
    from_us: int
    to_us: int
    reason: str


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """The readings of one series in the window, in columns; `count` of them existed."""

    series: str
    unit: str
    count: int
    thinned: bool
    t_us: tuple[int, ...]
    v: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How much had no room."""

    latest: int = 0  # series
    readings: int = 0  # series
    events: int = 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that goes with a ticket; see the module."""

    taken_us: int
    from_us: int
    to_us: int
    complete: bool
    device: DeviceFacts
    config: ConfigFacts
    latest: tuple[LatestFacts, ...]
    readings: tuple[SeriesFacts, ...]
    open_alarms: tuple[AlarmFacts, ...]
    events: tuple[EventFacts, ...]  # newest first
    elsewhere: tuple[ElsewhereFacts, ...]  # newest first
    gaps: tuple[GapFacts, ...]
    repeat_of: int | None = None  # the ticket of the same trouble, resolved 7 to 30 days before
    log: tuple[str, ...] = ()  # the agent's last lines before the alarm, oldest first; none if the fleet raised it
    series: str = ""  # that the ticket is about
    left_out: LeftOut = LeftOut()


def series_share(series: int) -> int:
    """Return how many readings each of so many series may keep."""
    return max(MIN_SERIES_READINGS, min(MAX_SERIES_READINGS, MAX_READINGS // max(1, series)))


def opening_readings(open_tickets: int) -> int:
    """Return how many readings are looked at while a ticket of a device that has so many open already is opened.

    All of them together take three times what the first takes, not twenty times: the writer waits for each.
    """
    return MAX_OPENING_READINGS // (1 + open_tickets)


def fit(facts: Iterable[T], size_bytes: Callable[[T], int], most_bytes: int) -> tuple[list[T], int]:
    """Return those that have room, in their order, and how many have none; one that is too large hides no other."""
    kept: list[T] = []
    left_out = 0
    for one in facts:
        size = size_bytes(one)
        if size <= most_bytes:
            kept.append(one)
            most_bytes -= size
        else:
            left_out += 1
    return kept, left_out


_Row = tuple[int, int, Value]
"""Event time (µs), place in the order in which readings came, value."""


class Collector:
    """Takes the readings of one series in `from_us` ≤ t < `to_us`, in any order, and keeps at most `most` of them.

    All of them while they are few enough. Beyond that, of each of equal stretches of time the least and the greatest;
    of a stretch without numbers (text, or no value) the first that came. Memory is bounded however many come.
    """

    def __init__(self, *, from_us: int, to_us: int, most: int) -> None:
        self._from_us = from_us
        self._to_us = to_us
        self._most = most
        self._stretches = max(1, most // 2)
        self._width = max(1, -(-(to_us - from_us) // self._stretches))
        self._all: list[_Row] | None = []
        self._least: dict[int, _Row] = {}  # by stretch
        self._greatest: dict[int, _Row] = {}
        self._others: dict[int, _Row] = {}  # the first that is no number
        self._count = 0

    def add(self, readings: Iterable[tuple[int, Value]]) -> None:
        """Take readings `(t_us, value)`; what lies outside the span is left out."""
        from_us, to_us = self._from_us, self._to_us
        rows = [(t_us, self._count + i, value) for i, (t_us, value) in enumerate(readings) if from_us <= t_us < to_us]
        self._count += len(rows)
        if self._all is not None:
            self._all += rows
            if len(self._all) <= self._most:
                return
            rows, self._all = self._all, None
        self._thin(rows)

    def facts(self, series: str, unit: str) -> SeriesFacts:
        """Return what was kept, in order of time."""
        found = self._all
        if found is None:
            others = (row for at, row in self._others.items() if at not in self._least)
            found = list({*self._least.values(), *self._greatest.values(), *others})
        found.sort(key=lambda row: row[:2])
        times, values = tuple(row[0] for row in found), tuple(row[2] for row in found)
        return SeriesFacts(series, unit, self._count, self._all is None, times, values)

    def _thin(self, rows: Iterable["_Row"]) -> None:
        least, greatest, last = self._least, self._greatest, self._stretches - 1
        for row in rows:
            at = min(last, (row[0] - self._from_us) // self._width)
            value = row[2]
            if value is None or isinstance(value, str):
                self._others.setdefault(at, row)
                continue
            if at not in least:
                least[at] = greatest[at] = row
            elif value < least[at][2]:  # type: ignore[operator] # only numbers are kept there
                least[at] = row
            elif value > greatest[at][2]:  # type: ignore[operator] # only numbers are kept there
                greatest[at] = row


def collect(  # noqa: PLR0913 - one argument a fact
    series: str, unit: str, readings: Iterable[tuple[int, Value]], *, from_us: int, to_us: int, most: int
) -> SeriesFacts:
    """Take the readings of one series at once; see `Collector`."""
    collector = Collector(from_us=from_us, to_us=to_us, most=most)
    collector.add(readings)
    return collector.facts(series, unit)
