"""Assembling a ticket's evidence from the tables, and keeping it; its shape and bounds are `fleet.core.evidence`."""

from collections.abc import Iterable, Iterator, Mapping
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
    LeftOut,
    SeriesFacts,
)
from fleet.core.verification import sample_period_us
from fleet.errors import NotFound
from fleet.store import config, device, event, gap, latest, query
from fleet.store.latest import Latest
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


def take(  # noqa: PLR0913 - one keyword a fact
    conn: Connection,
    about: Subject,
    *,
    taken_us: int,
    repeat_of: int | None,
    open_tickets: int = 0,
    log: tuple[str, ...] = (),
) -> Evidence:
    """Assemble the evidence of a ticket that is about to be opened; `log` came with the alarm.

    `open_tickets` is how many the device has open: the more, the less is looked at before the evidence is completed.
    """
    from_us, to_us = about.raised_us - core.BEFORE_US, about.raised_us + core.AFTER_US
    found = device.get(conn, about.device_id)
    known = latest.get(conn, about.device_id)
    newest, latest_left_out = _latest(known, about.series)
    readings, readings_left_out = _readings(
        conn, about, known, from_us, to_us, most=core.opening_readings(open_tickets)
    )
    events, events_left_out = _events(conn, about.device_id, about.raised_us)
    return Evidence(
        taken_us=taken_us,
        from_us=from_us,
        to_us=to_us,
        complete=False,
        device=DeviceFacts(found.id, found.product_id, found.serial, found.site, found.agent_version),
        config=_config(conn, about.device_id),
        latest=newest,
        readings=readings,
        open_alarms=_open_alarms(conn, about.device_id),
        events=events,
        elsewhere=_elsewhere(conn, about),
        gaps=_gaps(conn, about.device_id, from_us, to_us),
        repeat_of=repeat_of,
        log=log,
        series=about.series,
        left_out=LeftOut(latest_left_out, readings_left_out, events_left_out),
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
    about = Subject(kept.device.id, kept.series, "", kept.from_us + core.BEFORE_US)
    known = latest.get(conn, about.device_id)
    readings, readings_left_out = _readings(conn, about, known, kept.from_us, kept.to_us)
    return replace(
        kept,
        readings=readings,
        gaps=_gaps(conn, about.device_id, kept.from_us, kept.to_us),
        left_out=replace(kept.left_out, readings=readings_left_out),
    )


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


def _latest(known: Mapping[str, Latest], series: str) -> tuple[tuple[LatestFacts, ...], int]:
    """Return the newest values, in order of name, and how many had no room."""
    facts = [LatestFacts(name, known[name].unit, known[name].t_us, known[name].v) for name in _own_first(known, series)]
    kept, left_out = core.fit(facts, _size_bytes, core.MAX_LATEST_BYTES)
    return tuple(sorted(kept, key=lambda one: one.series)), left_out


def _readings(  # noqa: PLR0913 - one argument a fact
    conn: Connection,
    about: Subject,
    known: Mapping[str, Latest],
    from_us: int,
    to_us: int,
    *,
    most: int | None = None,
) -> tuple[tuple[SeriesFacts, ...], int]:
    """Collect the readings of all series in one pass over what is kept, newest first, `most` looked at (about).

    Returns them in order of name, and how many series had no room.
    """
    bounds = {"from_us": from_us, "to_us": to_us, "most": core.series_share(len(known))}
    names = _own_first(known, about.series)
    found: dict[str, Collector] = {name: Collector(**bounds) for name in names[: core.MAX_SERIES]}
    missed = set(names[core.MAX_SERIES :])
    seen = 0
    for count, all_series in query.recent(conn, about.device_id, from_us, to_us):
        for name, readings in all_series:
            if name not in found and len(found) < core.MAX_SERIES:
                found[name] = Collector(**bounds)
            if name in found:
                found[name].add(readings)
            else:
                missed.add(name)
        seen += count
        if most is not None and seen >= most:
            break
    facts = [found[name].facts(name, known[name].unit if name in known else "") for name in found]
    kept, left_out = core.fit(facts, _size_bytes, core.MAX_READINGS_BYTES)
    return tuple(sorted(kept, key=lambda one: one.series)), left_out + len(missed)


def _own_first(names: Iterable[str], series: str) -> list[str]:
    """Return names in order, but first that which the ticket is about."""
    return sorted(names, key=lambda name: (name != series, name))


def _size_bytes(facts: object) -> int:
    return len(msgspec.json.encode(facts))


def _open_alarms(conn: Connection, device_id: str) -> tuple[AlarmFacts, ...]:
    here = (alarm.c.device_id == device_id) & (alarm.c.state != AlarmState.CLEARED.value)
    names = ("id", "series", "rule", "severity", "state", "condition", "first_bad_us", "raised_us")
    wanted = select(*(alarm.c[name] for name in names)).where(here).order_by(alarm.c.id.desc()).limit(core.MAX_ALARMS)
    return tuple(AlarmFacts(*row) for row in conn.execute(wanted))


def _events(conn: Connection, device_id: str, raised_us: int) -> tuple[tuple[EventFacts, ...], int]:
    """Return what happened before the alarm was raised, and how much had no room; the alarm is no news here."""
    from_us = raised_us - core.EVENTS_US
    before = event.page(conn, device_id=device_id, from_us=from_us, to_us=raised_us, limit=core.MAX_EVENTS)
    facts = [EventFacts(one.t_us, one.kind, one.text) for one in before]
    kept, left_out = core.fit(facts, _size_bytes, core.MAX_EVENTS_BYTES)
    return tuple(kept), left_out


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
