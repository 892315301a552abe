"""What a run counts: acks and how long they took, readings, errors by cause, and what the watched processes use."""

import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

BUCKETS_A_FACTOR = 40  # of e: a bucket is 2.5 % wide
LEAST_S = 1e-5
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS_A_S = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


class Latency:
    """Durations in buckets of 2.5 %, so that a million cost no more than a thousand."""

    __slots__ = ("buckets", "count", "most_s")

    def __init__(self) -> None:
        self.buckets: Counter[int] = Counter()
        self.count = 0
        self.most_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.buckets[int(math.log(max(seconds, LEAST_S) / LEAST_S) * BUCKETS_A_FACTOR)] += 1
        self.count += 1
        self.most_s = max(self.most_s, seconds)

    def merge(self, other: "Latency") -> None:
        """Count what another has counted."""
        self.buckets.update(other.buckets)
        self.count += other.count
        self.most_s = max(self.most_s, other.most_s)

    def percentile_s(self, share: float) -> float:
        """Return the duration that `share` (0…1) of all do not exceed; 0 if there are none."""
        left = share * self.count
        for bucket in sorted(self.buckets):
            left -= self.buckets[bucket]
            if left <= 0:
                return min(self.most_s, LEAST_S * math.exp((bucket + 1) / BUCKETS_A_FACTOR))
        return self.most_s


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process, or all of one name below it, has used."""

    cpu_s: float
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class Sample:
    """The state at one moment, and what happened in the second before."""

    t_s: float  # since the start of the run
    connected: int
    readings: int  # acked so far
    acks: int  # so far
    errors: int  # so far
    p50_s: float
    p99_s: float
    usage: Mapping[str, Usage]


@dataclass(slots=True)
class Meter:
    """Everything that is counted; `tick` closes a second."""

    watched: Mapping[str, int] = field(default_factory=dict)  # label → process id
    counts: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    latency: Latency = field(default_factory=Latency)
    samples: list[Sample] = field(default_factory=list)
    connected: int = 0
    readings: int = 0
    _second: Latency = field(default_factory=Latency)

    def acked(self, seconds: float, readings: int) -> None:
        """Count an ack and the readings that it vouches for."""
        self._second.add(seconds)
        self.readings += readings
        self.counts["acks"] += 1

    def error(self, what: str) -> None:
        """Count something that went wrong."""
        self.errors[what] += 1

    def tick(self, t_s: float) -> Sample:
        """Close a second at `t_s` since the start."""
        second, self._second = self._second, Latency()
        self.latency.merge(second)
        usage = usages(self.watched)
        sample = Sample(
            t_s,
            self.connected,
            self.readings,
            self.counts["acks"],
            self.errors.total(),
            second.percentile_s(0.5),
            second.percentile_s(0.99),
            usage,
        )
        self.samples.append(sample)
        return sample


def usages(watched: Mapping[str, int]) -> dict[str, Usage]:
    """Return what each watched process uses, and its descendants by their names; those that are gone are left out."""
    if not watched:
        return {}
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    ticks: dict[int, int] = {}
    for folder in PROC.iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            text = (folder / "stat").read_text()
        except OSError:
            continue
        pid, rest = int(folder.name), text[text.rindex(")") + 2 :].split()
        parents[pid], names[pid] = int(rest[1]), text[text.index("(") + 1 : text.rindex(")")]
        ticks[pid] = int(rest[11]) + int(rest[12])
    found: dict[str, list[int]] = {}
    for label, root in watched.items():
        for pid in parents:
            if pid == root:
                found.setdefault(label, []).append(pid)
            elif root in _ancestors(pid, parents) and pid not in watched.values():
                found.setdefault(names[pid], []).append(pid)
    return {
        label: Usage(sum(ticks[pid] for pid in pids) / TICKS_A_S, _memory(pids))
        for label, pids in sorted(found.items())
    }


def _ancestors(pid: int, parents: Mapping[int, int]) -> set[int]:
    found: set[int] = set()
    while (pid := parents.get(pid, 0)) and pid not in found:
        found.add(pid)
    return found


def _memory(pids: list[int]) -> int:
    """Return resident bytes; of several processes what they share counts once (PSS)."""
    total = 0
    for pid in pids:
        try:
            if len(pids) == 1:
                return int((PROC / str(pid) / "statm").read_text().split()[1]) * PAGE_BYTES
            text = (PROC / str(pid) / "smaps_rollup").read_text()
        except OSError:
            continue
        total += next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)
    return total
