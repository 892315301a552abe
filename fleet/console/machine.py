"""The machine's own condition in a few words, for the device's page: only what it tells, the unusual first."""

import json
from collections.abc import Iterator
from typing import Any

GIB = 1024**3
MB = 1e6
WORN_PERCENT = 80
LAGGING_S = 0.5
LINE_WORDS = (
    ("framing", "framing errors"),
    ("parity", "parity errors"),
    ("overrun", "overruns"),
    ("breaks", "breaks"),
    ("overlong", "lines without an end"),
    ("reopened", "times lost and back"),
)


def facts(health: str | None) -> list[tuple[str, str]]:
    """Return (name, value) pairs of a stored health record (JSON of wire's Health); none if it told none."""
    return list(_facts(json.loads(health))) if health else []


def _facts(health: dict[str, Any]) -> Iterator[tuple[str, str]]:
    machine: dict[str, Any] = health.get("machine") or {}
    yield from _unusual(health, machine)
    yield from _metering(health.get("metering") or {})
    if machine.get("cpu_celsius") is not None:
        yield "processor", f"{machine['cpu_celsius']:.0f} °C"
    if machine.get("disk_bytes"):
        yield "disk", f"{machine.get('disk_free_bytes', 0) / GIB:.1f} of {machine['disk_bytes'] / GIB:.1f} GiB free"
    if machine.get("memory_bytes"):
        free_gib, all_gib = machine.get("memory_free_bytes", 0) / GIB, machine["memory_bytes"] / GIB
        yield "memory", f"{free_gib:.1f} of {all_gib:.1f} GiB free"
    if health.get("written_bytes") is not None and health.get("written_readings"):
        yield "to its disk", f"{health['written_bytes'] / health['written_readings']:.0f} bytes a reading"
    road: dict[str, Any] = health.get("road") or {}
    if road.get("rtt_s") is not None:
        yield "answer", f"in {road['rtt_s'] * 1000:.0f} ms over the {road.get('road')}"


def _unusual(health: dict[str, Any], machine: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if machine.get("throttling"):
        yield "slowed by", ", ".join(machine["throttling"])
    if machine.get("flash_errors"):
        yield "flash", f"{machine['flash_errors']} errors on {machine.get('flash') or 'its disk'}"
    if (machine.get("flash_used_percent") or 0) >= WORN_PERCENT:
        yield "flash", f"worn: up to {machine['flash_used_percent']} % of its life are used"
    if (health.get("loop_lag_s") or 0) >= LAGGING_S:
        yield "held up", f"for {health['loop_lag_s']:.1f} s"
    for source in health.get("sources") or []:
        wrong = port_words(source)
        if wrong:
            yield f"port of {source.get('name')}", wrong


def port_words(source: dict[str, Any]) -> str:
    """Say what is wrong on a source's port (wire's SourceHealth as JSON), and which slaves on it do not answer."""
    line: dict[str, Any] = source.get("line") or {}
    told = ["silent"] if line.get("silent") else []
    told += [f"{line[name]} {words}" for name, words in LINE_WORDS if line.get(name)]
    for slave in source.get("slaves") or []:
        missed = slave.get("timeouts", 0) + slave.get("crc_errors", 0)
        if missed:
            told.append(f"slave {slave.get('address')}: {missed} of {slave.get('asked', 0)} unanswered")
    return ", ".join(told)


def _metering(metering: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if metering.get("saving"):
        yield "holds readings back", metering["saving"]
    if metering.get("bytes_per_day"):
        yield "sent today", f"{metering['spent_bytes'] / MB:.1f} of {metering['bytes_per_day'] / MB:.1f} MB"
