"""The main job as a story.

A reading leaves a board as bytes, survives what happens to it, raises an alarm, opens a ticket with evidence, and is
answered by a config that the device applies. Everything is real: a fleet server with its broker, five agents on ptys, the fleet command. `play` tells the story and
stays until Ctrl-C; with `check` it plays unattended, kills an agent twice and blocks the server on the way, and then
compares every ledger with what the API returns.
"""

import json
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from firmware_sim import ledger
from firmware_sim.scenarios.cast import EARLY_WARNING, MACHINES, Machine
from firmware_sim.scenarios.public import Fleet
from firmware_sim.scenarios.stage import Stage, StageError, free_ports
from firmware_sim.scenarios.verdict import Count, Frame, compare, frames

Say = Callable[[str], None]

WARM, KILLED = MACHINES[0], MACHINES[1]
BLOCKED_S = 10.0
FLUSH_S = 1.0  # the agents' default
EXCUSED_S = FLUSH_S + 0.5  # what is read and not yet committed at a kill: flush_s, and a commit that was under way
START_S, ALARM_S, CONFIG_S, CLEAR_S, DRAIN_S = 30.0, 30.0, 30.0, 30.0, 30.0
US_PER_S = 1_000_000


class Demo:
    """One performance."""

    def __init__(self, stage: Stage, say: Say) -> None:
        self._stage = stage
        self._say = say
        self._kills_us: list[int] = []
        self._api_port, self._gateway_port, self._link_port = free_ports(3)
        self._url = f"http://127.0.0.1:{self._api_port}"
        self._fleet = Fleet(self._url, "")

    def set_up(self) -> None:
        """Start the server, enrol five devices, connect their boards; returns when readings flow."""
        self._say("A fleet server starts: SQLite, its own CA, an embedded broker, the console.")
        self._stage.start(
            "server",
            *("fleet", "serve", "--data", str(self._stage.folder / "data")),
            *("--api-port", str(self._api_port), "--gateway-port", str(self._gateway_port)),
            *("--link-port", str(self._link_port)),
        )
        self._stage.wait_for("the server answers", self._fleet.healthy, most_s=START_S)
        token = (self._stage.folder / "data" / "admin.token").read_text().strip()
        self._fleet = Fleet(self._url, token)
        self._stage.environment |= {"FLEET_URL": self._url, "FLEET_TOKEN": token}
        self._say("Five machines are claimed, make their keys and enrol.")
        with ThreadPoolExecutor(len(MACHINES)) as pool:
            list(pool.map(self._enrol, MACHINES))
        for machine in MACHINES:
            self._start_board(machine)
            self._start_agent(machine)
        self._stage.wait_for("readings of all five devices", self._all_flow, most_s=START_S)
        self._say("Readings flow from all five: serial port, outbox, mutual TLS, commit, ack.")

    def play(self, *, check: bool) -> None:
        """Play the story to its end."""
        if check:
            self._kill()
        self._say(f"The server hangs for {BLOCKED_S:g} s. The machines do not care: readings go to their outboxes.")
        self._stage.send("server", signal.SIGSTOP)
        until = time.monotonic() + BLOCKED_S
        time.sleep(2.0)
        self._say(f"Meanwhile {WARM.device} gets warm: its compressor has stopped.")
        self._fault(WARM, "overheat")
        if check:
            self._kill()
        time.sleep(max(0.0, until - time.monotonic()))
        self._stage.send("server", signal.SIGCONT)
        self._say("The server is back. The alarm overtakes the backlog.")
        ticket = self._stage.wait_for("a ticket for the warm freezer", self._ticket, most_s=ALARM_S)
        self._tell_evidence(ticket)
        self._repair(ticket)

    def _tell_evidence(self, ticket: dict[str, Any]) -> None:
        shown = json.loads(self._stage.run("fleet", "ticket", "show", str(ticket["id"]), "--json"))
        evidence = shown["evidence"]
        count = sum(int(line["count"]) for line in evidence["readings"])
        self._say(f"Ticket T-{ticket['id']} was opened by the alarm, {ticket['title']!r}. Nobody typed anything:")
        self._say(
            f"  first bad sample {shown['first_bad']}, {count} readings around it, agent and config as they were."
        )

    def _repair(self, ticket: dict[str, Any]) -> None:
        self._stage.run("fleet", "ticket", "assign", str(ticket["id"]), "anna")
        path = self._stage.folder / "early.toml"
        path.write_text(WARM.config(self._link(WARM)) + EARLY_WARNING)
        self._stage.run("fleet", "config", "set", "--device", WARM.device, str(path))
        self._say("Anna takes it, restarts the compressor, and pushes a config that warns earlier next time.")
        self._stage.wait_for("the config is applied", lambda: self._config_state() == "in_sync", most_s=CONFIG_S)
        self._say("The device applied the config without a restart and confirmed its revision.")
        self._fault(WARM, "clear")
        self._stage.wait_for("the alarm clears", lambda: not self._open_alarms(), most_s=CLEAR_S)
        moved = self._stage.wait_for("verification starts", lambda: self._ticket(state="verifying"), most_s=CLEAR_S)
        self._say(
            f"The signal is good again: T-{moved['id']} is {moved['state']}, until the signal has proven the repair."
        )

    def verdict(self) -> dict[str, object]:
        """Stop the boards, let the outboxes drain, and compare every ledger with the API."""
        self._say("The boards stop. Every ledger is compared with what the API returns.")
        for machine in MACHINES:
            self._stage.stop(self._board(machine))
        emitted = {machine: self._emitted(machine) for machine in MACHINES}
        counts = self._settle(emitted)
        total = sum(counts.values(), Count())
        tickets = self._fleet.items("/api/v1/tickets")
        return {
            **asdict(total),
            "devices": {machine.device: asdict(count) for machine, count in counts.items()},
            "tickets": len(tickets),
            "ticket_state": tickets[0]["state"] if tickets else None,
            "config_applied": self._config_state() == "in_sync",
            "kills": len(self._kills_us),
            "blocked_s": BLOCKED_S,
            "ok": not total.lost and not total.duplicated and total.stored > 0 and len(tickets) == 1,
        }

    def _settle(self, emitted: dict[Machine, list[Frame]]) -> dict[Machine, Count]:
        until = time.monotonic() + DRAIN_S
        while True:
            counts = {machine: self._count(machine, emitted[machine]) for machine in MACHINES}
            if not any(count.lost for count in counts.values()) or time.monotonic() > until:
                return counts
            time.sleep(0.2)

    def _count(self, machine: Machine, emitted: Sequence[Frame]) -> Count:
        series = sorted({name for frame in emitted for name, _ in frame.values})
        stored = frames(
            (name, t_us, value, True) for name in series for t_us, value in self._fleet.readings(machine.device, name)
        )
        kills = self._kills_us if machine is KILLED else ()
        return compare(emitted, stored, kills, EXCUSED_S)

    def _emitted(self, machine: Machine) -> list[Frame]:
        rows = ledger.read(self._ledger(machine))
        return frames(
            (f"board.{row.quantity}", row.t_us, row.value, row.lost_on_wire == ledger.ON_WIRE)
            for row in rows
            if row.lost_on_wire != ledger.LOST
        )

    def _enrol(self, machine: Machine) -> None:
        words = ("--device", machine.device, "--serial", machine.serial, "--site", machine.site)
        made = self._stage.run("fleet", "claim", "create", "--product", machine.product, *words, "--json")
        self._stage.run("fleet-agent", "enroll", json.loads(made)["claim"], "--state", str(self._state(machine)))
        (self._stage.folder / f"{machine.device}.toml").write_text(machine.config(self._link(machine)))

    def _start_board(self, machine: Machine) -> None:
        self._stage.start(
            self._board(machine),
            *("firmware-sim", "board", machine.product, "--link", str(self._link(machine))),
            *("--protocol", machine.protocol, "--rate", f"{machine.rate_hz:g}", "--seed", str(machine.seed)),
            *("--ledger", str(self._ledger(machine))),
        )

    def _start_agent(self, machine: Machine) -> None:
        config = self._stage.folder / f"{machine.device}.toml"
        self._stage.start(
            machine.device, "fleet-agent", "run", "--state", str(self._state(machine)), "--config", str(config)
        )

    def _kill(self) -> None:
        self._stage.send(KILLED.device, signal.SIGKILL)
        self._kills_us.append(time.time_ns() // 1000)
        self._say(f"The agent of {KILLED.device} is killed with SIGKILL, and started again.")
        self._start_agent(KILLED)

    def _fault(self, machine: Machine, fault: str) -> None:
        self._stage.run("firmware-sim", "fault", str(self._link(machine)), fault)

    def _all_flow(self) -> bool:
        return all(
            (answer := self._fleet.get(f"/api/v1/devices/{machine.device}")) and answer["latest"]
            for machine in MACHINES
        )

    def _ticket(self, **query: str) -> dict[str, Any] | None:
        return next(iter(self._fleet.items("/api/v1/tickets", device=WARM.device, **query)), None)

    def _open_alarms(self) -> int:
        found = self._fleet.get(f"/api/v1/devices/{WARM.device}")
        return int(found["open_alarms"]) if found else 1

    def _config_state(self) -> str:
        found = self._fleet.get(f"/api/v1/devices/{WARM.device}")
        return str(found["config"]["state"]) if found else ""

    def _board(self, machine: Machine) -> str:
        return f"{machine.device}-board"

    def _state(self, machine: Machine) -> Path:
        return self._stage.folder / machine.device

    def _link(self, machine: Machine) -> Path:
        return self._stage.folder / f"tty-{machine.device}"

    def _ledger(self, machine: Machine) -> Path:
        return self._stage.folder / f"{machine.device}.ledger"

    def invitation(self) -> str:
        """Return the console's address and five commands to try."""
        token = self._stage.environment["FLEET_TOKEN"]
        return f"""
Console: {self._url}   token: {token}

Try, in another terminal:
  export FLEET_URL={self._url} FLEET_TOKEN={token}
  fleet device list
  fleet latest {WARM.device}
  fleet ticket show 1
  fleet watch
  firmware-sim fault {self._link(WARM)} overheat

Ctrl-C stops everything and leaves nothing behind.
"""


def run(*, check: bool, say: Say) -> int:
    """Perform the demo; returns the exit status. With `check` the last thing said is one JSON object."""
    began = time.monotonic()

    def tell(text: str) -> None:
        say(f"[{time.monotonic() - began:5.1f} s] {text}" if text[:1].strip() else text)

    with Stage() as stage:
        demo = Demo(stage, tell)
        try:
            demo.set_up()
            if not check:
                say(demo.invitation())
            demo.play(check=check)
            if check:
                verdict = demo.verdict()
                say(json.dumps({**verdict, "seconds": round(time.monotonic() - began, 1)}))
                return 0 if verdict["ok"] else 1
            tell("That was the story; the machines go on. Ctrl-C ends it.")
            signal.pause()
        except KeyboardInterrupt:
            say("\nStopping.")
        except StageError as error:
            say(f"The demo stopped: {error}")
            if check:
                say(json.dumps({"ok": False, "problem": str(error)}))
            return 1
    return 0
