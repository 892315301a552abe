"""Evidence: what was known of the machine when its ticket was opened, frozen, so that nobody types it in.

The window is 15 min to either side of the moment the alarm was raised. What lies after the opening cannot be in it
yet, and the readings that broke the rule may still be on their way (events overtake telemetry), so the readings alone
are taken again when the window has passed; `complete` says whether that has been done. All else stays as it was.

Sizes are bounded, and what was left out is said: a series that had more readings than it may keep is thinned to the
least and the greatest of equal stretches of time, which keeps every peak.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from agent.wire.messages import Value

US_PER_S = 1_000_000
BEFORE_US = 15 * 60 * US_PER_S
AFTER_US = 15 * 60 * US_PER_S
SETTLE_US = 60 * US_PER_S  # after the window, for what is still on its way
EVENTS_US = 7 * 86_400 * US_PER_S  # events of this long before
ELSEWHERE_US = 30 * 86_400 * US_PER_S  # tickets of the same symptom of this long before
MAX_SERIES_READINGS = 2_000  # of one series
MAX_READINGS = 20_000  # of all series together
MIN_SERIES_READINGS = 100  # of one series, however many there are
MAX_EVENTS = 100
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


def series_share(series: int) -> int:
    """Return how many readings each of so many series may keep."""
    return max(MIN_SERIES_READINGS, min(MAX_SERIES_READINGS, MAX_READINGS // max(1, series)))


def collect(  # noqa: PLR0913 - one argument a fact
    series: str, unit: str, readings: Iterable[tuple[int, Value]], *, from_us: int, to_us: int, most: int
) -> SeriesFacts:
    """Take the readings `(t_us, value)` of one series in `from_us` ≤ t < `to_us`, at most `most`; more are thinned.

    Memory is bounded by `most` readings however many come.
    """
    kept: list[tuple[int, Value]] = []
    rest = iter(readings)
    for reading in rest:
        kept.append(reading)
        if len(kept) > most:
            break
    count = len(kept)
    thinned = count > most
    if thinned:
        count, kept = thin(chain(kept, rest), from_us=from_us, to_us=to_us, most=most)
    return SeriesFacts(series, unit, count, thinned, tuple(t_us for t_us, _ in kept), tuple(v for _, v in kept))


def thin(
    readings: Iterable[tuple[int, Value]], *, from_us: int, to_us: int, most: int
) -> tuple[int, list[tuple[int, Value]]]:
    """Count readings, and keep at most `most`: of each equal stretch of time the least and the greatest, in order.

    Of a stretch without numbers (text, or no value) the first reading stays.
    """
    stretches = max(1, most // 2)
    width = max(1, -(-(to_us - from_us) // stretches))
    kept: dict[int, tuple[_Ranked, _Ranked]] = {}
    count = 0
    for t_us, value in readings:
        at = max(0, min(stretches - 1, (t_us - from_us) // width))
        ranked = _Ranked(t_us, count, value)
        least, greatest = kept.get(at, (ranked, ranked))
        kept[at] = (_better(ranked, least, sign=-1), _better(ranked, greatest, sign=1))
        count += 1
    rows = [{least.order: least, greatest.order: greatest} for _, (least, greatest) in sorted(kept.items())]
    return count, [(row.t_us, row.value) for pair in rows for _, row in sorted(pair.items())]


@dataclass(frozen=True, slots=True)
class _Ranked:
    t_us: int
    order: int
    value: Value


def _better(one: _Ranked, held: _Ranked, *, sign: int) -> _Ranked:
    if not isinstance(one.value, int | float):
        return held
    if not isinstance(held.value, int | float):
        return one
    return one if sign * one.value > sign * held.value else held
