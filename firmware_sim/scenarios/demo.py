"""The main job as a story.

A reading leaves a board as bytes, survives what happens to it, raises an alarm, opens a ticket with evidence, and is
answered by a config that the device applies. Everything is real: a fleet server with its broker, five agents on ptys,
the fleet command. The story is told while it happens and the machines then stay until Ctrl-C; with `check` it plays
unattended, kills an agent twice and blocks the server on the way, and then compares every ledger with what the API
returns.
"""

import json
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from firmware_sim.scenarios.cast import EARLY_WARNING, MACHINES, Machine
from firmware_sim.scenarios.stage import BIN, Stage, StageError
from firmware_sim.scenarios.verdict import Count
from firmware_sim.scenarios.world import SERVER, START_S, World

Say = Callable[[str], None]

WARM, KILLED = MACHINES[0], MACHINES[1]
BLOCKED_S = 10.0
FLUSH_S = 1.0  # the agents' default
EXCUSED_S = FLUSH_S + 0.5  # read and not yet committed at a kill: flush_s, and a commit that was under way
STEP_S = 30.0  # for each thing that the story waits for


class Demo:
    """One performance."""

    def __init__(self, world: World, say: Say) -> None:
        self._world = world
        self._stage = world.stage
        self._say = say

    def set_up(self) -> None:
        """Start the server, enrol five devices, connect their boards; returns when readings flow."""
        self._say("A fleet server starts: SQLite, its own CA, an embedded broker, the console.")
        self._world.start_server()
        self._say("Five machines make their keys, enrol with their claims, and listen to their boards.")
        with ThreadPoolExecutor(len(MACHINES)) as pool:
            list(pool.map(self._connect, MACHINES))
        self._stage.wait_for("readings of all five devices", self._all_flow, most_s=START_S)
        self._say("Readings flow from all five: serial port, outbox, mutual TLS, commit, ack.")

    def play(self, *, check: bool) -> None:
        """Play the story to its end."""
        if check:
            self._kill()
        self._say(f"The server hangs for {BLOCKED_S:g} s. The machines do not care: readings go to their outboxes.")
        self._stage.send(SERVER, signal.SIGSTOP)
        until = time.monotonic() + BLOCKED_S
        time.sleep(BLOCKED_S / 5)
        self._say(f"Meanwhile {WARM.device} gets warm: its compressor has stopped.")
        self._world.fault(WARM.device, "overheat")
        if check:
            self._kill()
        time.sleep(max(0.0, until - time.monotonic()))
        self._stage.send(SERVER, signal.SIGCONT)
        self._say("The server is back. The alarm overtakes the backlog.")
        ticket = self._stage.wait_for("a ticket for the warm freezer", self._ticket, most_s=STEP_S)
        self._tell_evidence(ticket)
        self._repair(ticket)

    def verdict(self) -> dict[str, object]:
        """Stop the boards, let the outboxes drain, and compare every ledger with the API."""
        self._say("The boards stop. Every ledger is compared with what the API returns.")
        with ThreadPoolExecutor(len(MACHINES)) as pool:
            list(pool.map(self._world.stop_board, [machine.device for machine in MACHINES]))
        counts = {
            machine.device: self._world.settled(machine.device, excused_s=EXCUSED_S, most_s=STEP_S)
            for machine in MACHINES
        }
        total = sum(counts.values(), Count())
        tickets = self._world.fleet.items("/api/v1/tickets")
        applied = self._config_state() == "in_sync"
        flawless = not total.lost and not total.duplicated and all(count.stored for count in counts.values())
        return {
            **asdict(total),
            "devices": {device: asdict(count) for device, count in counts.items()},
            "tickets": len(tickets),
            "ticket_state": tickets[0]["state"] if tickets else None,
            "config_applied": applied,
            "kills": sum(len(kills) for kills in self._world.kills_us.values()),
            "blocked_s": BLOCKED_S,
            "ok": flawless and applied and len(tickets) == 1,
        }

    def invitation(self) -> str:
        """Return the console's address and five commands to try."""
        url, token = self._world.url, self._world.token
        return f"""
Console: {url}   token: {token}

Try, in another terminal:
  export PATH={BIN}:$PATH FLEET_URL={url} FLEET_TOKEN={token}
  fleet device list
  fleet latest {WARM.device}
  fleet ticket show 1
  fleet watch
  firmware-sim fault {self._world.port(WARM.device)} overheat

Ctrl-C stops everything and leaves nothing behind.
"""

    def _tell_evidence(self, ticket: dict[str, Any]) -> None:
        shown = json.loads(self._stage.run("fleet", "ticket", "show", str(ticket["id"]), "--json"))
        count = sum(int(line["count"]) for line in shown["evidence"]["readings"])
        self._say(f"Ticket T-{ticket['id']} was opened by the alarm, {ticket['title']!r}. Nobody typed anything:")
        self._say(f"first bad sample {shown['first_bad']}, {count} readings around it, agent and config as they were.")

    def _repair(self, ticket: dict[str, Any]) -> None:
        self._stage.run("fleet", "ticket", "assign", str(ticket["id"]), "anna")
        path = self._stage.folder / "early-warning.toml"
        path.write_text(WARM.config(self._world.port(WARM.device)) + EARLY_WARNING)
        self._stage.run("fleet", "config", "set", "--device", WARM.device, str(path))
        self._say("Anna takes it and pushes a config that warns earlier next time.")
        tried = {"trying", "in_sync"}
        self._stage.wait_for("the config is applied", lambda: self._config_state() in tried, most_s=STEP_S)
        self._say("The device applied it without a restart, and tries it: were it no good, it would go back by itself.")
        self._world.fault(WARM.device, "clear")
        self._say("The compressor runs again.")
        moved = self._stage.wait_for("verification starts", lambda: self._ticket(state="verifying"), most_s=STEP_S)
        self._say(f"The signal is good: T-{moved['id']} is {moved['state']}, until the signal has proven the repair.")
        self._stage.wait_for("the config is kept", lambda: self._config_state() == "in_sync", most_s=STEP_S)
        self._say("The config has proven itself: the device keeps it, and has confirmed its revision and hash.")

    def _connect(self, machine: Machine) -> None:
        self._world.start_board(machine.device, machine.board)
        self._world.enrol(machine.device, machine.product, serial=machine.serial, site=machine.site)
        self._world.start_agent(machine.device, machine.config(self._world.port(machine.device)))

    def _kill(self) -> None:
        self._world.kill_agent(KILLED.device)
        self._say(f"The agent of {KILLED.device} was killed with SIGKILL, and started again.")

    def _all_flow(self) -> bool:
        answers = [self._world.fleet.get(f"/api/v1/devices/{machine.device}") for machine in MACHINES]
        return all(answer and answer["latest"] for answer in answers)

    def _ticket(self, **query: str) -> dict[str, Any] | None:
        return next(iter(self._world.fleet.items("/api/v1/tickets", device=WARM.device, **query)), None)

    def _config_state(self) -> str:
        found = self._world.fleet.get(f"/api/v1/devices/{WARM.device}")
        return str(found["config"]["state"]) if found else ""


def run(*, check: bool, say: Say) -> int:
    """Perform the demo; returns the exit status. With `check` the last line said is one JSON object."""
    began = time.monotonic()

    def tell(text: str) -> None:
        say(f"[{time.monotonic() - began:5.1f} s] {text}")

    with Stage() as stage, World(stage) as world:
        demo = Demo(world, tell)
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
            tell(f"The demo stopped: {error}")
            if check:
                say(json.dumps({"ok": False, "problem": str(error)}))
            return 1
    return 0
