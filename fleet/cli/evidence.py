"""Evidence as a person reads it: the alarmed signal against its threshold, what changed before, where else."""

import re

from fleet.cli.client import Item
from fleet.cli.output import age_of, console, dig, facts, heading, say, sparkline, text, value, word
from fleet.cli.times import clock, span

CONDITION = re.compile(r"(?P<side>above|below)\s+(?P<threshold>[-+]?\d+(\.\d+)?([eE][-+]?\d+)?)")
SPARK_COLUMNS = 72
CHANGES = 10  # newest events before the ticket that are shown
OTHERS = 4  # other series that are drawn
LOG_LINES = 20  # of the agent's log, newest
NOT_CHANGES = ("device.online", "device.late", "device.offline", "ticket.", "alarm.")
"""Kinds of events that are no change of the machine; they show where there is nothing better."""


def print_evidence(evidence: Item, ticket: Item) -> None:
    """Print what was frozen when the ticket was opened."""
    if not evidence:
        return
    alarmed, condition = _alarmed(evidence, ticket)
    drawn = {one["series"]: one for one in evidence.get("readings") or []}
    if alarmed in drawn:
        heading(f"{alarmed}: {condition}" if condition else alarmed)
        _signal(drawn[alarmed], condition)
    others = [one for name, one in drawn.items() if name != alarmed and _numbers(one)]
    if others:
        heading("Beside it")
        for one in others[:OTHERS]:
            _small(one)
        if len(others) > OTHERS:
            say(text(f"  … and {len(others) - OTHERS} more (--json has all)", "dim"))
    left_out = dig(evidence, "left_out", "readings")
    if left_out:
        say(text(f"  Of {left_out} more series no readings had room here; `fleet readings` has them.", "dim"))
    _gaps(evidence.get("gaps") or [])
    _changes(evidence)
    _elsewhere(evidence)
    _machine(evidence)
    _log(evidence.get("log") or [])


def _alarmed(evidence: Item, ticket: Item) -> tuple[str, str]:
    """Return the series that the ticket is about and its condition: the ticket's own alarm among those open."""
    own = [one for one in evidence.get("open_alarms") or [] if one.get("id") == ticket.get("alarm")]
    return str(ticket.get("series") or ""), str(own[0].get("condition") or "") if own else ""


def _numbers(series: Item) -> list[float | None]:
    """Return a series' values as numbers; what is none is missing. Empty if there is no number at all."""
    found = [float(v) if isinstance(v, int | float) else None for v in series.get("v") or []]
    return found if any(v is not None for v in found) else []


def _signal(series: Item, condition: str) -> None:
    numbers = _numbers(series)
    if not numbers:
        say("  no readings arrived in this window")
        return
    width = max(10, min(SPARK_COLUMNS, console().width - 4))
    say("  ", text(sparkline(numbers, width), "red"))
    marks = _outside(numbers, condition, width)
    if marks:
        say("  ", text(marks, "red"), text("  out of bounds" if len(marks) + 18 < console().width else "", "dim"))
    say("  ", text(_caption(series, numbers), "dim"))


def _outside(numbers: list[float | None], condition: str, width: int) -> str:
    """Mark below the sparkline where the threshold was crossed; "" where the condition names none."""
    found = CONDITION.search(condition)
    if found is None:
        return ""
    threshold, above = float(found["threshold"]), found["side"] == "above"
    columns = min(width, len(numbers))
    marks = ""
    for index in range(columns):
        part = numbers[index * len(numbers) // columns : (index + 1) * len(numbers) // columns]
        bad = any(one is not None and (one > threshold if above else one < threshold) for one in part)
        marks += "‾" if bad else " "
    return marks.rstrip()


def _caption(series: Item, numbers: list[float | None]) -> str:
    known = [one for one in numbers if one is not None]
    times_us = series["t_us"]
    unit = series.get("unit", "")
    text_of = f"{value(min(known), unit)} … {value(max(known), unit)}, last {value(known[-1], unit)}"
    length = span(times_us[-1] - times_us[0])
    thinned = ", thinned" if series.get("thinned") else ""
    return f"{text_of}; {series.get('count')} readings in {length} up to {clock(times_us[-1])}{thinned}"


def _small(series: Item) -> None:
    numbers = _numbers(series)
    known = [one for one in numbers if one is not None]
    unit = series.get("unit", "")
    bounds = f"{value(min(known), unit)} … {value(max(known), unit)}"
    say(f"  {series['series']:<24} ", text(sparkline(numbers, 30)), text(f"  {bounds}", "dim"))


def _gaps(gaps: list[Item]) -> None:
    if gaps:
        heading("Missing for good")
    for one in gaps:
        say(f"  {clock(one['from_us'])} to {clock(one['to_us'])}: {one.get('reason')}")


def _changes(evidence: Item) -> None:
    events = evidence.get("events") or []
    changes = [one for one in events if not str(one.get("kind", "")).startswith(NOT_CHANGES)] or events
    if changes:
        heading("What changed in the days before")
    taken_us = evidence.get("taken_us")
    for one in changes[:CHANGES]:
        before = f"{span(taken_us - one['t_us'])} before" if isinstance(taken_us, int) else clock(one["t_us"])
        say(text(f"  {before:<14}", "dim"), one.get("text"))


def _elsewhere(evidence: Item) -> None:
    elsewhere = evidence.get("elsewhere") or []
    if elsewhere:
        heading("The same symptom elsewhere")
    for one in elsewhere:
        say(f"  {one.get('device')}: T-{one.get('ticket')}, ", word(one.get("state")), f", {age_of(one, 'opened')}")
    if evidence.get("repeat_of"):
        say(f"  This is a repeat of T-{evidence['repeat_of']} on the same machine.")


def _machine(evidence: Item) -> None:
    heading("The machine then")
    also = evidence.get("open_alarms") or []
    facts(
        (
            ("serial", dig(evidence, "device", "serial")),
            ("site", dig(evidence, "device", "site")),
            ("agent", dig(evidence, "device", "agent_version")),
            ("config", _revision(evidence)),
            ("open alarms", ", ".join(f"{one.get('rule')} on {one.get('series')}" for one in also)),
        )
    )


def _log(lines: list[str]) -> None:
    """Print the newest of the agent's lines; `--json` has all."""
    if lines:
        heading("The agent's log then")
    for line in lines[-LOG_LINES:]:
        say(text(f"  {line}", "dim"))
    if len(lines) > LOG_LINES:
        say(text(f"  … and {len(lines) - LOG_LINES} before; --json has all", "dim"))


def _revision(evidence: Item) -> str:
    desired, applied = dig(evidence, "config", "desired"), dig(evidence, "config", "applied")
    running = f"revision {applied}" if applied else "its own seed"
    return running if not desired or desired == applied else f"{running}, though {desired} was desired"
