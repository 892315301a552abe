"""A soak: one agent with eight sources, and everything that can go wrong, at random, for as long as wanted.

What goes wrong: each fault that a board knows (garbage, half frames, silence, a stuck value, overheating), a port
unplugged and plugged in again, the agent killed, the server killed, away for longer or frozen, the broker killed.
Chance is seeded, so a run can be repeated as far as the machine allows. In the end the boards' ledgers are compared
with what the fleet has.

The agent is killed in the first quarter alone, and meets each other fault of a process in its first minutes: the life
that is left is long enough to tell a leak, which goes on, from what a process takes once as it meets a kind of fault
for the first time (another road to the fleet is a library to load).
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from firmware_sim.scenarios.cast import METER
from firmware_sim.scenarios.stage import Stage, StageError
from firmware_sim.scenarios.verdict import Count
from firmware_sim.scenarios.world import SERVER, Board, World

DEVICE = "soak-1"
FLUSH_S = 1.0
EXCUSED_S = FLUSH_S + 1.0  # what was read and not yet committed, and a commit under way on a slow disk
BOARDS: Mapping[str, Board] = {
    "c1": Board("counter", "csv", 1, 50.0),
    "c2": Board("counter", "json", 2, 20.0),
    "c3": Board("counter", "kv", 3, 20.0),
    "f1": Board("freezer", "csv", 4, 10.0),
    "f2": Board("freezer", "json", 5, 10.0),
    "p1": Board("pump", "json", 6, 10.0),
    "p2": Board("pump", "kv", 7, 10.0),
    "m1": Board("meter", "modbus", 8, 10.0),
}
COLUMNS = {
    "counter": ("n", "temp"),
    "freezer": ("n", "temp", "door", "compressor", "ambient", "power"),
    "pump": ("n", "pressure", "flow", "vibration", "current", "motor_temp"),
}
SAMPLE_S = 10.0  # between looks at the agent's memory
WARM_S = 300.0  # after a start, in which memory is not counted …
WARMING = ("server frozen", "broker killed", "server killed", "server away") * 2  # … and in which these come in turn
AGENT_DIES = 0.25  # of the run, in which the agent is killed too


@dataclass
class Soaked:
    """What a soak has shown."""

    count: Count = field(default_factory=Count)
    by_source: dict[str, Count] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)  # kind → how often
    memory: list[list[tuple[float, float]]] = field(default_factory=list)  # (s, MB) of each life of the agent

    def slope_mb_h(self) -> float:
        """Return how fast the agent's memory grew: least squares over all its lives, each with a level of its own."""
        over = under = 0.0
        for life in self.memory:
            middle_s, middle_mb = (sum(part) / len(life) for part in zip(*life, strict=True))
            over += sum((s - middle_s) * (mb - middle_mb) for s, mb in life)
            under += sum((s - middle_s) ** 2 for s, _ in life)
        return over / under * 3600 if under else 0.0


class Soak:
    """One soak in a world of its own."""

    def __init__(self, stage: Stage, world: World, seed: int, *, every_s: float, kill_every_s: float) -> None:
        self._stage, self._world = stage, world
        self._rng = Random(seed)  # noqa: S311 - a simulation, not a secret
        self._every_s, self._kill_every_s = every_s, kill_every_s
        self._found = Soaked()
        self._seconds = self._began = 0.0
        self._started = 0.0  # when the agent was, last
        self._looked = 0.0
        self._ahead: list[str] = []  # faults of processes that come next; then chance takes over
        self._life: list[tuple[float, float]] = []

    def run(self, seconds: float, *, settle_s: float) -> Soaked:
        """Play it, then wait up to `settle_s` for everything to arrive."""
        world, stage = self._world, self._stage
        self._seconds = seconds
        world.start_server()
        world.enrol(DEVICE, "soak")
        for name, board in BOARDS.items():
            world.start_board(name, board)
        world.start_agent(DEVICE, config(world))
        stage.wait_for("readings", self._has_readings, most_s=60)
        self._began = time.monotonic()
        self._note_start()
        next_fault, next_kill = self._wait(self._every_s), self._next_kill()
        while (now := time.monotonic()) < self._began + seconds:
            stage.fail_if_ended()
            self._look(now)
            if now >= next_fault:
                self._board_fault()
                next_fault = self._wait(self._every_s)
            if now >= next_kill:
                self._process_fault()
                next_kill = self._next_kill()
            time.sleep(0.1)
        self._keep_life()
        for name in BOARDS:
            world.fault(name, "clear")
        time.sleep(3.0)  # the ports that were unplugged are found, and what is on the wire is read
        for name in BOARDS:
            world.stop_board(name)
        self._compare(settle_s)
        return self._found

    def _compare(self, settle_s: float) -> None:
        until = time.monotonic() + settle_s
        for name in BOARDS:
            count = self._settled(name, until)
            self._found.by_source[name] = count
            self._found.count += count

    def _settled(self, name: str, until: float) -> Count:
        while True:
            count = self._world.compared(name, device=DEVICE, source=name, excused_s=EXCUSED_S)
            if not count.lost or time.monotonic() > until:
                return count
            time.sleep(1.0)

    def _wait(self, mean_s: float) -> float:
        return time.monotonic() + mean_s * self._rng.uniform(0.5, 1.5)

    def _next_kill(self) -> float:
        """Return when the next fault of a process comes; those that warm the agent up are over before it counts."""
        every_s = WARM_S / (len(WARMING) + 2)
        return self._wait(min(every_s, self._kill_every_s) if self._ahead else self._kill_every_s)

    def _note_start(self) -> None:
        """Begin a life of the agent; in a run in which its memory is looked at it is warmed up first."""
        self._started = time.monotonic()
        self._ahead = list(WARMING) if self._seconds > WARM_S else []

    def _has_readings(self) -> bool:
        found = self._world.fleet.get(f"/api/v1/devices/{DEVICE}")
        return bool(found and found["latest"])

    def _board_fault(self) -> None:
        name = self._rng.choice(list(BOARDS))
        kind = self._rng.choice(("garbage", "half-frames", "silent", "stuck", "unplug"))
        with contextlib.suppress(StageError):  # some boards do not know some faults, and say so
            self._world.fault(name, kind, "--for", f"{self._rng.uniform(1.0, 5.0):.1f}")
            self._note(kind)

    def _process_fault(self) -> None:
        acts: dict[str, Callable[[], None]] = {
            "server killed": self._world.kill_server,
            "server away": lambda: self._world.kill_server(self._rng.uniform(10.0, 20.0)),
            "server frozen": self._freeze_server,
            "broker killed": self._kill_broker,
        }
        if time.monotonic() - self._began < AGENT_DIES * self._seconds:
            acts["agent killed"] = self._kill_agent
        kind = self._ahead.pop(0) if self._ahead else self._rng.choice(list(acts))
        acts[kind]()
        self._note(kind)

    def _kill_agent(self) -> None:
        self._keep_life()
        self._world.kill_agent(DEVICE)
        self._note_start()

    def _freeze_server(self) -> None:
        self._stage.send(SERVER, signal.SIGSTOP)
        time.sleep(self._rng.uniform(1.0, 6.0))
        self._stage.send(SERVER, signal.SIGCONT)

    def _kill_broker(self) -> None:
        for pid in self._stage.family(SERVER):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == "nats-server":
                    os.kill(pid, signal.SIGKILL)

    def _note(self, kind: str) -> None:
        self._found.faults[kind] = self._found.faults.get(kind, 0) + 1

    def _look(self, now: float) -> None:
        if now - self._looked >= SAMPLE_S and now - self._started >= WARM_S:
            self._looked = now
            pages = int(Path(f"/proc/{self._stage.pid(DEVICE)}/statm").read_text().split()[1])
            self._life.append((now - self._began, pages * os.sysconf("SC_PAGESIZE") / 2**20))

    def _keep_life(self) -> None:
        if self._life:
            self._found.memory.append(self._life)
            self._life = []


def config(world: World) -> str:
    """Return the config of the agent: all its sources, and a rule that has something to do."""
    parts = [f"[agent]\nflush_s = {FLUSH_S}\n"]
    for name, board in BOARDS.items():
        parts.append(f'\n[[source]]\nname = "{name}"\nport = "{world.port(name)}"\nbaudrate = 115200\n')
        if board.protocol == "modbus":
            parts.append(METER.replace("[source.modbus]\nevery_s = 0.5", "[source.modbus]\nevery_s = 0.2"))
            continue
        listed = ", ".join(f'{{ name = "{column}", unit = "1" }}' for column in COLUMNS[board.product])
        parts.append(f'protocol = "lines"\n[source.lines]\nformat = "{board.protocol}"\ncolumns = [{listed}]\n')
    parts.append('\n[[rule]]\nname = "too-warm"\nseries = "f1.temp"\nabove = -15.0\nhold_s = 2\nclear_hold_s = 2\n')
    return "".join(parts)
