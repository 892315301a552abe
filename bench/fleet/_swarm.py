"""A server of its own for a benchmark, swarms against it, and figures as they are printed.

What a benchmark started ends with it, however that ends: on SIGTERM in order, its folder with it; on SIGKILL the
server and its broker die with it.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fixtures")]

from databases import postgres  # noqa: E402 - found through the line above

from firmware_sim.swarm.meter import Usage, usages  # noqa: E402 - the same
from fleet.gateway import tether  # noqa: E402 - the same

READY_S = 60.0
SWARM_S = 1800.0  # that a swarm may take, all told: it has deadlines of its own
SWARM = (sys.executable, "-m", "firmware_sim", "swarm")


@dataclass(frozen=True, slots=True)
class Running:
    """A server that runs: its process, its API, where it keeps things, what to watch."""

    process: "subprocess.Popen[str]"
    url: str
    folder: Path
    watched: dict[str, int]
    idle_broker_bytes: int  # resident, before anybody connects

    @property
    def token(self) -> str:
        """Admin token."""
        return (self.folder / "data" / "admin.token").read_text().strip()

    def swarm(self, *options: str, show: bool = False) -> dict[str, Any]:
        """Play a swarm and return its report; identities are kept from one to the next."""
        where = ("--url", self.url, "--state", str(self.folder / "state"))
        secret = ("--token-file", str(self.folder / "data" / "admin.token"))
        watched = [word for name, pid in self.watched.items() for word in ("--watch", f"{name}={pid}")]
        try:
            done = subprocess.run(  # noqa: S603 - our own program
                _tied([*SWARM, *where, *secret, *watched, *options, "--json"]),
                stdout=subprocess.PIPE,
                stderr=None if show else subprocess.DEVNULL,
                check=False,
                cwd=ROOT,
                timeout=SWARM_S,
            )
        except subprocess.TimeoutExpired:
            sys.exit(f"the swarm did not end in {SWARM_S:.0f} s: {' '.join(options)}")
        if not done.stdout:
            sys.exit(f"the swarm failed: {' '.join(options)}")
        report: dict[str, Any] = json.loads(done.stdout)
        if not report["verdict"]["clean"]:
            print(f"  NOT CLEAN: {report['verdict']}")
        return report


@contextmanager
def serving(kind: str, *options: str) -> Iterator[Running]:
    """Run `fleet serve` on an empty database that waits for the disk ("sqlite" or "postgresql")."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit("ended by SIGTERM"))
    with tempfile.TemporaryDirectory(prefix="fieldline-bench-", dir=Path.cwd(), ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if kind == "sqlite":
            with _server(folder, {}, options) as running:
                yield running
            return
        with postgres(18, durable=True) as url:
            host = url.partition("host=")[2]
            pid = int((Path(host) / "data" / "postmaster.pid").read_text().split()[0])
            with _server(folder, {"postgres": pid}, ("--database", url, *options)) as running:
                yield running


@contextmanager
def _server(folder: Path, watched: dict[str, int], options: Sequence[str]) -> Iterator[Running]:
    ports = ("--api-port", "0", "--gateway-port", "0", "--link-port", "0", "--name", "127.0.0.1")
    command = [sys.executable, "-m", "fleet.cli", "serve", "--data", str(folder / "data"), *ports, *options]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(_tied(command), stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT)  # noqa: S603 - ours
        assert process.stdout is not None  # noqa: S101 - asked for above
        impatient = threading.Timer(READY_S, process.kill)
        impatient.start()
        found = None
        for line in process.stdout:
            if (found := re.search(r"console (http://\S+)", line)) is not None:
                break
        impatient.cancel()
        if found is None:
            sys.exit(f"the server did not start: {(folder / 'log').read_text()[-500:]}")
        listening = threading.Thread(target=process.stdout.read)
        listening.start()
        try:
            broker = usages({"fleet": process.pid}).get("nats-server", Usage(0.0, 0))
            yield Running(process, found[1], folder, {"fleet": process.pid, **watched}, broker.rss_bytes)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            listening.join()
            process.stdout.close()


def _tied(command: Sequence[str]) -> list[str]:
    """Return the command as one that dies with this process."""
    return [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *command]


def beside(value: float, limit: float, unit: str, *, digits: int = 1) -> str:
    """Write a figure beside the most that it may be: "19.7 s = 0.33 of the limit, 60 s"."""
    return f"{value:,.{digits}f} {unit} = {value / limit:.2f} of the limit, {limit:g} {unit}"


def middle(values: Sequence[float]) -> str:
    """Write the median of some rates with their spread: "512,000 (498,000-520,000)"."""
    if len(values) == 1:
        return f"{values[0]:,.0f}"
    return f"{median(values):,.0f} ({min(values):,.0f}-{max(values):,.0f})"


def cores(report: dict[str, Any]) -> str:
    """Write what a run took of the machine: cores on average, and memory at most."""
    own = report["counts"]["own cpu ms"] / 1000 / max(report["samples"][-1]["t_s"], 1e-3)
    parts = [f"{name} {use['cores']:.2f} ({use['most_rss_mib']:.0f} MiB)" for name, use in report["usage"].items()]
    return f"cores: {', '.join(parts)}, swarm {own:.2f}"
