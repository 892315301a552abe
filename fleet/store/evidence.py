"""Assembling a ticket's evidence from the tables, and keeping it; its shape and bounds are `fleet.core.evidence`."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import msgspec
from sqlalchemy import Connection, select, update

from agent.wire.messages import AlarmState
from fleet.core import evidence as core
from fleet.core.evidence import (
    AlarmFacts,
    Collector,
    ConfigFacts,
    DeviceFacts,
    ElsewhereFacts,
    EventFacts,
    Evidence,
    GapFacts,
    LatestFacts,
    SeriesFacts,
)
from fleet.core.verification import sample_period_us
from fleet.errors import NotFound
from fleet.store import config, device, event, gap, latest, query
from fleet.store.schema import alarm, reported, ticket

PERIOD_READINGS = 100  # readings from which the sample period is told
PERIOD_SPANS_US = (5 * 60 * 1_000_000, 3600 * 1_000_000, 86_400 * 1_000_000)  # how far back they are looked for
MAX_INCOMPLETE = 10  # tickets completed in one go


@dataclass(frozen=True, slots=True)
class Subject:
    """What the evidence is about: an alarm that was raised at `raised_us`."""

    device_id: str
    series: str
    rule: str
    raised_us: int


def take(
    conn: Connection, about: Subject, *, taken_us: int, repeat_of: int | None, log: tuple[str, ...] = ()
) -> Evidence:
    """Assemble the evidence of a ticket that is about to be opened; `log` came with the alarm."""
    from_us, to_us = about.raised_us - core.BEFORE_US, about.raised_us + core.AFTER_US
    found = device.get(conn, about.device_id)
    return Evidence(
        taken_us=taken_us,
        from_us=from_us,
        to_us=to_us,
        complete=False,
        device=DeviceFacts(found.id, found.product_id, found.serial, found.site, found.agent_version),
        config=_config(conn, about.device_id),
        latest=_latest(conn, about.device_id),
        readings=_readings(conn, about.device_id, from_us, to_us, most=core.MAX_OPENING_READINGS),
        open_alarms=_open_alarms(conn, about.device_id),
        events=_events(conn, about.device_id, about.raised_us),
        elsewhere=_elsewhere(conn, about),
        gaps=_gaps(conn, about.device_id, from_us, to_us),
        repeat_of=repeat_of,
        log=log,
    )


def of_ticket(conn: Connection, ticket_id: int) -> Evidence:
    """Return a ticket's evidence; raises NotFound."""
    kept = conn.execute(select(ticket.c.evidence).where(ticket.c.id == ticket_id)).scalar_one_or_none()
    if kept is None:
        raise NotFound(f"there is no ticket T-{ticket_id}", hint="`fleet ticket list` shows all tickets.")
    return load(kept)


def due_us(about: Subject) -> int:
    """Return when evidence can be completed: its window has passed, and what was on its way is here."""
    return about.raised_us + core.AFTER_US + core.SETTLE_US


def incomplete(conn: Connection, *, now_us: int, limit: int = MAX_INCOMPLETE) -> list[int]:
    """Return tickets whose evidence can be completed."""
    due = select(ticket.c.id).where(ticket.c.evidence_due_us <= now_us).order_by(ticket.c.evidence_due_us)
    return list(conn.execute(due.limit(limit)).scalars())


def complete(conn: Connection, ticket_id: int, whole: Evidence) -> None:
    """Keep evidence as `settled` made it; it is taken no further."""
    values = {"evidence": dump(replace(whole, complete=True)), "evidence_due_us": None}
    conn.execute(update(ticket).where(ticket.c.id == ticket_id).values(**values))


def settled(conn: Connection, kept: Evidence) -> Evidence:
    """Return evidence that is not complete yet with the readings that have come since; nothing is stored."""
    if kept.complete:
        return kept
    device_id = kept.device.id
    readings = _readings(conn, device_id, kept.from_us, kept.to_us)
    return replace(kept, readings=readings, gaps=_gaps(conn, device_id, kept.from_us, kept.to_us))


def dump(evidence: Evidence) -> str:
    """Return evidence as JSON, as it is stored."""
    return msgspec.json.encode(evidence).decode()


def load(text: str) -> Evidence:
    """Read evidence as it was stored."""
    return msgspec.json.decode(text, type=Evidence)


def period_us(conn: Connection, device_id: str, series: str, before_us: int) -> int:
    """Return the sample period of a series, from readings shortly before a moment; 0 if there are too few."""
    for span_us in PERIOD_SPANS_US:
        readings = query.readings(conn, device_id, series, before_us - span_us, before_us + 1)
        times = [t_us for t_us, _ in islice(readings, PERIOD_READINGS)]
        if len(times) > 2:  # noqa: PLR2004 - one step says nothing about a period
            return sample_period_us(times)
    return 0


def valid_times(conn: Connection, device_id: str, series: str, from_us: int, to_us: int) -> Iterator[int]:
    """Yield the event times of a series' readings that have a value, in order."""
    for t_us, value in query.readings(conn, device_id, series, from_us, to_us):
        if value is not None:
            yield t_us


def _config(conn: Connection, device_id: str) -> ConfigFacts:
    row = conn.execute(select(reported).where(reported.c.device_id == device_id)).one_or_none()
    wanted = config.desired_revision(conn, device_id)
    return ConfigFacts(wanted, row.applied if row else 0, row.applied_hash if row else "")


def _latest(conn: Connection, device_id: str) -> tuple[LatestFacts, ...]:
    return tuple(
        LatestFacts(name, newest.unit, newest.t_us, newest.v) for name, newest in latest.get(conn, device_id).items()
    )


def _readings(
    conn: Connection, device_id: str, from_us: int, to_us: int, *, most: int | None = None
) -> tuple[SeriesFacts, ...]:
    """Collect the readings of all series in one pass over what is kept, newest first, `most` looked at (about)."""
    units = {name: newest.unit for name, newest in latest.get(conn, device_id).items()}
    bounds = {"from_us": from_us, "to_us": to_us, "most": core.series_share(len(units))}
    found: dict[str, Collector] = {name: Collector(**bounds) for name in units}
    seen = 0
    for count, all_series in query.recent(conn, device_id, from_us, to_us):
        for name, readings in all_series:
            if name not in found:
                found[name] = Collector(**bounds)
            found[name].add(readings)
        seen += count
        if most is not None and seen >= most:
            break
    return tuple(collector.facts(name, units.get(name, "")) for name, collector in sorted(found.items()))


def _open_alarms(conn: Connection, device_id: str) -> tuple[AlarmFacts, ...]:
    here = (alarm.c.device_id == device_id) & (alarm.c.state != AlarmState.CLEARED.value)
    names = ("id", "series", "rule", "severity", "state", "condition", "first_bad_us", "raised_us")
    wanted = select(*(alarm.c[name] for name in names)).where(here).order_by(alarm.c.id.desc()).limit(core.MAX_ALARMS)
    return tuple(AlarmFacts(*row) for row in conn.execute(wanted))


def _events(conn: Connection, device_id: str, raised_us: int) -> tuple[EventFacts, ...]:
    """Return what happened before the alarm was raised; that it was is no news to its own ticket."""
    from_us = raised_us - core.EVENTS_US
    before = event.page(conn, device_id=device_id, from_us=from_us, to_us=raised_us, limit=core.MAX_EVENTS)
    return tuple(EventFacts(one.t_us, one.kind, one.text) for one in before)


def _elsewhere(conn: Connection, about: Subject) -> tuple[ElsewhereFacts, ...]:
    same = (alarm.c.rule == about.rule) & (ticket.c.device_id != about.device_id)
    wanted = (
        select(ticket.c.id, ticket.c.device_id, ticket.c.state, ticket.c.opened_us)
        .join(alarm, alarm.c.id == ticket.c.alarm_id)
        .where(same, ticket.c.opened_us >= about.raised_us - core.ELSEWHERE_US)
        .order_by(ticket.c.id.desc())
        .limit(core.MAX_ELSEWHERE)
    )
    return tuple(ElsewhereFacts(*row) for row in conn.execute(wanted))


def _gaps(conn: Connection, device_id: str, from_us: int, to_us: int) -> tuple[GapFacts, ...]:
    found = gap.page(conn, device_id, from_us=from_us, to_us=to_us, limit=core.MAX_GAPS)
    return tuple(GapFacts(one.lane.value, one.from_us, one.to_us, one.reason) for one in found)
