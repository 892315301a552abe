"""The fleet's rules at work: readings of a device judged, in the transaction that stores them.

What time it is for a device is said by the device: the event time up to which its telemetry has arrived. While a
device cannot be reached that time stands still, so data that is late because the link is down is never taken for data
that is absent (docs/decisions/0093).
"""

from collections.abc import Sequence
from itertools import accumulate

from sqlalchemy import Connection

from agent.rules.engine import Change, Judge
from agent.rules.rule import Rule
from agent.wire.messages import AlarmChange, AlarmState, Newest, Segment, Severity, Value
from fleet.core.actor import FLEET
from fleet.core.cases import MAX_CASES, remembered
from fleet.core.event import Event
from fleet.store import alarm, config, event, rule_state
from fleet.store.alarm import Alarm

GONE = "its rule is no longer part of the config."


def judge(  # noqa: PLR0913 - one batch
    conn: Connection,
    device_id: str,
    rules: Sequence[Rule],
    segments: Sequence[Segment],
    *,
    newest: Sequence[Newest] = (),
    until_us: int,
    received_us: int,
) -> None:
    """Judge new readings by the fleet's rules, on event time; what is older than a rule has seen moves nothing.

    `until_us` is how far the device's telemetry has arrived; `newest` are readings that are known although their rows
    wait on the device: they prove that data comes, and are judged when their rows are here.
    """
    states = rule_state.get(conn, device_id)
    judging = Judge(rules, states)
    changes = [
        change for t_us, series, value in _in_order(judging, segments) for change in judging.feed(series, t_us, value)
    ]
    for new in newest:
        judging.hear(new.name, new.t_us, new.v)
    changes += judging.tick(until_us)
    met = judging.states()
    after = remembered(rules, met)
    if len(after) < len(met) and len(states) != MAX_CASES:  # said once: it stays so for as long as names come
        _tell_forgotten(conn, device_id, t_us=until_us, received_us=received_us)
    if after != states:
        rule_state.put(conn, device_id, after)
    for change in sorted(changes, key=lambda change: change.t_us):
        told = _alarm_change(change)
        alarm.apply_change(conn, device_id, told, t_us=change.t_us, received_us=received_us, origin="fleet")


def is_gone(conn: Connection, known: Alarm) -> bool:
    """Tell whether no rule of the device's config stands behind an alarm of the fleet's any more."""
    rules = config.fleet_rules(conn, known.device_id)
    return not any(rule.name == known.rule and rule.matches(known.series) for rule in rules)


def clear_gone(conn: Connection, known: Alarm, *, now_us: int) -> None:
    """Clear an alarm of the fleet's if its rule is gone, and forget how the rule stood."""
    if not is_gone(conn, known):
        return
    states = rule_state.get(conn, known.device_id)
    if states.pop((known.rule, known.series), None) is not None:
        rule_state.put(conn, known.device_id, states)
    told = AlarmChange(
        rule=known.rule,
        series=known.series,
        state=AlarmState.CLEARED,
        severity=Severity(known.severity),
        first_bad_us=known.first_bad_us,
        ticket=False,
        value=None,
        condition=known.condition,
    )
    t_us = max(now_us, known.changed_us)
    alarm.apply_change(conn, known.device_id, told, t_us=t_us, received_us=now_us, origin="fleet", why=GONE)


def _tell_forgotten(conn: Connection, device_id: str, *, t_us: int, received_us: int) -> None:
    text = f"The fleet's rules meet more than {MAX_CASES} series of {device_id}: how they stand on those not heard of "
    text += "longest is forgotten from now on. Do its names change, or does a rule's series match too many?"
    about = (device_id, FLEET.id, FLEET.origin, text, device_id, {"most": MAX_CASES})
    event.append(conn, Event(t_us, received_us, "rule.forgotten", "device", *about))


def _in_order(judging: Judge, segments: Sequence[Segment]) -> list[tuple[int, str, Value]]:
    """Return the readings that a rule hears, in order of time; those of one moment in the order they came."""
    heard: list[tuple[int, str, Value]] = []
    for segment in segments:
        for series in segment.series:
            if judging.hears(series.name):
                times = accumulate(series.dt[1:], initial=series.t0_us)
                heard.extend((t_us, series.name, v) for t_us, v in zip(times, series.v, strict=True))
    heard.sort(key=lambda reading: reading[0])
    return heard


def _alarm_change(change: Change) -> AlarmChange:
    return AlarmChange(
        rule=change.rule.name,
        series=change.series,
        state=change.state,
        severity=change.rule.severity,
        first_bad_us=change.first_bad_us,
        ticket=change.rule.ticket,
        value=change.value,
        condition=str(change.rule.condition),
    )
