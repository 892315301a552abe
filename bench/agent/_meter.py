"""What the kernel says of a process: memory, CPU, bytes to disk. And how a figure is printed."""

import os
from dataclasses import dataclass
from pathlib import Path

MB = 2**20
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Use:
    """What one process has used so far."""

    cpu_s: float
    disk_bytes: int

    def __sub__(self, before: "Use") -> "Use":
        return Use(self.cpu_s - before.cpu_s, self.disk_bytes - before.disk_bytes)


def use(pid: int) -> Use:
    """Return the CPU seconds and the bytes to disk of a process, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
    written = int(next(line.split()[1] for line in lines if line.startswith("write_bytes")))
    return Use((int(fields[11]) + int(fields[12])) / _TICKS, written)


def rss_mb(pid: int) -> float:
    """Return the resident set of a process, MB of 2^20 bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE") / MB


def peak_mb(pid: int) -> float:
    """Return the largest resident set that a process has had, MB of 2^20 bytes."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


HEAD = f"{'':44} {'peer':>10} {'ours':>10} {'ours/peer':>10} {'limit':>10} {'ours/limit':>10}"


def row(name: str, unit: str, ours: float, limit: float, peer: float | None = None) -> str:
    """Return one line of a table: what the peer and we have measured, and both ratios."""
    shown = f"{name}, {unit}" if unit else name
    told = f"{'-':>10}" if peer is None else f"{peer:10.4g}"
    ratio = f"{ours / peer:10.3g}" if peer else f"{'-':>10}"
    return f"{shown:44} {told} {ours:10.4g} {ratio} {limit:10.4g} {ours / limit:10.3g}"
