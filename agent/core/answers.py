"""What the agent tells programs on its machine: the questions, the answers, and their text for people.

The shapes are stable: fields are added, never renamed. Times come twice, as integer UTC microseconds (`_us`, 0 if
never) and as ISO 8601 (null if never). `running` is false where the files of an agent that does not run were read.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from agent.core.status import NOTHING_WRITTEN, FlashStatus, LatestStatus, ago, flash_words, iso, shown_value
from agent.rules.phase import Phase, RuleState, unpack
from agent.rules.rule import Rule
from agent.wire.limits import MAX_TIME_US
from agent.wire.messages import Value
from agent.wire.units import US_PER_S

VERSION = 1
DEFAULT_LIMIT = 1000
MAX_LIMIT = 10_000  # readings in one answer
RULE_PREFIX = "rule/"  # key of a rule's state in the buffer: rule/<rule>\n<series>


@dataclass(frozen=True, slots=True)
class ReadingsQuestion:
    """Which readings are asked for: the newest `limit` of those from `from_us` up to and with `to_us`."""

    series: str = ""  # "" for all
    from_us: int = 0
    to_us: int = MAX_TIME_US
    limit: int = DEFAULT_LIMIT  # 1…MAX_LIMIT


@dataclass(frozen=True, slots=True)
class ReadingAnswer:
    """One reading of the buffer."""

    series: str
    unit: str
    t_us: int
    t: str | None
    v: Value


@dataclass(frozen=True, slots=True)
class Readings:
    """Readings in order of time, as far as they are committed and still kept."""

    version: int
    running: bool
    items: tuple[ReadingAnswer, ...]
    more: bool  # there are older ones in the range; ask again with `to_us` below the first


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest reading of each series."""

    version: int
    running: bool
    t_us: int
    t: str | None
    items: tuple[LatestStatus, ...]


@dataclass(frozen=True, slots=True)
class AlarmNow:
    """A rule that is not content, on one series."""

    rule: str
    series: str
    phase: str  # pending (bad, not yet for long enough), active, clearing
    severity: str  # "" if the rule is not part of the config that runs
    condition: str
    ticket: bool
    since_us: int  # event time of the first bad reading
    since: str | None


@dataclass(frozen=True, slots=True)
class Alarms:
    """The states of the rules, as they were last committed."""

    version: int
    running: bool
    t_us: int
    t: str | None
    items: tuple[AlarmNow, ...]


@dataclass(frozen=True, slots=True)
class LaneDepth:
    """One lane of the buffer."""

    lane: str  # events, telemetry
    rows: int  # that wait for an ack
    bytes: int
    readings: int  # readings, or events
    oldest_us: int
    oldest: str | None
    age_s: float
    kept_rows: int  # acked, and kept in case the fleet is restored from a backup


@dataclass(frozen=True, slots=True)
class BufferReport:
    """The buffer file."""

    version: int
    running: bool
    path: str
    file_bytes: int  # with what SQLite keeps beside it
    lanes: tuple[LaneDepth, ...]
    problem: str  # why nothing can be stored now; "" if it can
    flash: FlashStatus = NOTHING_WRITTEN  # what it has cost the disk; a running agent alone knows


@dataclass(frozen=True, slots=True)
class LogTail:
    """The last lines of the running agent's log, oldest first."""

    version: int
    lines: tuple[str, ...]


def alarms_of(values: Mapping[str, str], rules: Sequence[Rule]) -> tuple[AlarmNow, ...]:
    """Return the rules that are not content, by the states that the buffer keeps; those that fired first come first."""
    by_name = {rule.name: rule for rule in rules}
    found = []
    for key, text in values.items():
        name, _, series = key.removeprefix(RULE_PREFIX).partition("\n")
        state = _state(text)
        if state.phase is Phase.OK:
            continue
        rule = by_name.get(name)
        found.append(
            AlarmNow(
                rule=name,
                series=series,
                phase=str(state.phase),
                severity=str(rule.severity) if rule else "",
                condition=str(rule.condition) if rule else "",
                ticket=rule.ticket if rule else False,
                since_us=state.first_bad_us,
                since=iso(state.first_bad_us),
            )
        )
    return tuple(sorted(found, key=lambda it: (it.since_us, it.rule, it.series)))


def _state(text: str) -> RuleState:
    """Read a stored state; what an older or a newer agent stored otherwise is one with nothing to tell."""
    try:
        fields = json.loads(text)
        return unpack(list(fields.values()) if isinstance(fields, dict) else fields)  # the first release kept an object
    except (ValueError, TypeError):
        return RuleState()


def age_s(oldest_us: int, now_us: int) -> float:
    """Return the age of what is the oldest, seconds; 0 if there is none."""
    return round(max(0.0, (now_us - oldest_us) / US_PER_S), 3) if oldest_us else 0.0


def latest_lines(latest: Latest) -> Iterator[str]:
    """Return the newest values for a person."""
    if not latest.items:
        yield "No reading yet."
        return
    yield "series                               value  unit        when"
    for it in latest.items:
        yield f"{it.name:<30} {shown_value(it.v):>11}  {it.unit:<10}  {ago(it.t_us, latest.t_us)}"


def readings_lines(readings: Readings) -> Iterator[str]:
    """Return readings for a person."""
    if not readings.items:
        yield "No reading in this range is in the buffer."
    for it in readings.items:
        yield f"{it.t}  {it.series:<30} {shown_value(it.v):>11} {it.unit}"


def alarms_lines(alarms: Alarms) -> Iterator[str]:
    """Return the alarms for a person."""
    if not alarms.items:
        yield "No rule has anything to tell."
    for it in alarms.items:
        since = f"for {ago(it.since_us, alarms.t_us).removesuffix(' ago')}"
        yield f"{it.phase.upper():<9} {it.severity:<8}  {it.rule} on {it.series} ({it.condition}), {since}"


def buffer_lines(report: BufferReport) -> Iterator[str]:
    """Return the buffer for a person."""
    if not report.running:
        yield "The agent does NOT RUN; this is what its file says."
    yield f"{report.path}  {report.file_bytes / 1e6:.1f} MB"
    if report.problem:
        yield f"NOTHING IS STORED: {report.problem}"
    if report.flash.written_bytes is not None:
        yield flash_words(report.flash)
    for it in report.lanes:
        what = "events" if it.lane == "events" else "readings"
        waits = f"{it.readings} {what} wait ({it.bytes / 1e3:.0f} kB), the oldest since {it.oldest}"
        yield f"{it.lane:<10} {waits if it.rows else 'nothing waits'}; {it.kept_rows} acked rows are kept"
