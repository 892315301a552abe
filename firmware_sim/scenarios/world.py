"""A small world on a stage: one fleet server, devices with their agents, boards with their ledgers.

The demo, the tests of the whole and the benchmarks all build on this, each with a story of its own.
"""

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from firmware_sim import ledger
from firmware_sim.scenarios.public import Fleet
from firmware_sim.scenarios.stage import Stage, free_ports
from firmware_sim.scenarios.verdict import Count, Frame, compare, frames

START_S = 30.0
SERVER = "server"


@dataclass(frozen=True, slots=True)
class Board:
    """A simulated board: what it is, and how it speaks."""

    product: str  # freezer, pump, meter, counter …
    protocol: str
    seed: int = 1
    rate_hz: float = 10.0


class World:
    """One server and whatever is enrolled with it."""

    def __init__(self, stage: Stage, *serve_options: str) -> None:
        self.stage = stage
        self.kills_us: dict[str, list[int]] = {}  # device → moments at which its agent was killed
        api, gateway, link = free_ports(3)
        self.url = f"http://127.0.0.1:{api}"
        self.gateway_port, self.link_port = gateway, link
        self.data = stage.folder / "data"
        ports = ("--api-port", str(api), "--gateway-port", str(gateway), "--link-port", str(link))
        self._serve = ("fleet", "serve", "--data", str(self.data), *ports, *serve_options)
        self.fleet = Fleet(self.url, "")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.fleet.close()

    @property
    def token(self) -> str:
        """The administrator's token."""
        return (self.data / "admin.token").read_text().strip()

    def start_server(self) -> None:
        """Start the server, for the first time or again, and wait until it answers."""
        self.stage.start(SERVER, *self._serve)
        self.stage.wait_for("the server answers", self.fleet.healthy, most_s=START_S)
        self.fleet.close()
        self.fleet = Fleet(self.url, self.token)
        self.stage.environment |= {"FLEET_URL": self.url, "FLEET_TOKEN": self.token}

    def kill_server(self, away_s: float = 0.0) -> None:
        """Kill the server and its broker with SIGKILL, and start them again, after a while."""
        self.stage.send(SERVER, signal.SIGKILL)
        time.sleep(away_s)
        self.start_server()

    def enrol(self, device: str, product: str, **facts: str) -> None:
        """Claim and enrol one device; `facts` are its serial and site."""
        made = self.fleet.post("/api/v1/claims", product=product, device=device, **facts)
        self.stage.run("fleet-agent", "enroll", made["claim"], "--state", str(self.state(device)))

    def start_agent(self, device: str, config: str | None = None) -> None:
        """Start a device's agent; `config` seeds its first config."""
        path = self.stage.folder / f"{device}.toml"
        if config is not None:
            path.write_text(config)
        self.stage.start(device, "fleet-agent", "run", "--state", str(self.state(device)), "--config", str(path))

    def kill_agent(self, device: str) -> None:
        """Kill a device's agent with SIGKILL, note when, and start it again."""
        self.stage.send(device, signal.SIGKILL)
        self.kills_us.setdefault(device, []).append(time.time_ns() // 1000)
        self.start_agent(device)

    def start_board(self, device: str, board: Board) -> None:
        """Connect a board to a device."""
        self.stage.start(
            f"{device}-board",
            *("firmware-sim", "board", board.product, "--link", str(self.port(device))),
            *("--protocol", board.protocol, "--rate", f"{board.rate_hz:g}", "--seed", str(board.seed)),
            *("--ledger", str(self.ledger(device))),
        )

    def stop_board(self, device: str) -> None:
        """Disconnect a device's board; its ledger is complete after that."""
        self.stage.stop(f"{device}-board")

    def fault(self, device: str, *words: str) -> None:
        """Make a fault on a device's board, or clear it."""
        self.stage.run("firmware-sim", "fault", str(self.port(device)), *words)

    def state(self, device: str) -> Path:
        """Return the state folder of a device's agent."""
        return self.stage.folder / device

    def port(self, device: str) -> Path:
        """Return the serial port of a device."""
        return self.stage.folder / f"tty-{device}"

    def ledger(self, device: str) -> Path:
        """Return the ledger of a device's board."""
        return self.stage.folder / f"{device}.ledger"

    def emitted(self, device: str, source: str = "board") -> list[Frame]:
        """Return what the device's board put on the wire; certain is only what somebody must have heard.

        What the ledger marks as lost may have been heard after all, in the moment in which a port went away.
        """
        return frames(
            (f"{source}.{row.quantity}", row.t_us, row.value, row.lost_on_wire == ledger.ON_WIRE)
            for row in ledger.read(self.ledger(device))
        )

    def stored(self, device: str, series: Sequence[str]) -> list[Frame]:
        """Return what the fleet has of a device."""
        return frames((name, t_us, v, True) for name in series for t_us, v in self.fleet.readings(device, name))

    def settled(self, device: str, *, excused_s: float, most_s: float) -> Count:
        """Compare a device's ledger with what the fleet has, until nothing is missing or the time is over."""
        until = time.monotonic() + most_s
        while True:
            count = self.compared(device, device=device, source="board", excused_s=excused_s)
            if not count.lost or time.monotonic() > until:
                return count
            time.sleep(0.2)

    def compared(self, board: str, *, device: str, source: str, excused_s: float) -> Count:
        """Compare the ledger of `board` with what the fleet has of the device's source that listens to it."""
        emitted = self.emitted(board, source)
        series = sorted({name for frame in emitted for name, _ in frame.values})
        return compare(emitted, self.stored(device, series), self.kills_us.get(device, ()), excused_s)
