"""Our side of a comparison: one real agent on a wire of numbered lines, and the fleet server it reports to."""

import contextlib
import json
import signal
import sqlite3
from pathlib import Path

from _feed import Wire

from agent.adapters.local_api import ask
from agent.settings import StateDir
from firmware_sim.scenarios.stage import Stage
from firmware_sim.scenarios.world import SERVER, World

DEVICE, SOURCE = "feed-1", "feed"
PREFILL = Path(__file__).with_name("_prefill.py")
COMPILED = "import agent.app, agent.cli.run, agent.cli.enroll, agent.adapters.https, agent.protocols.lines"
"""Written to bytecode before anything is measured, as pip does when it installs: compiling costs 5 MB and 0.3 s."""
CONFIG = """
[[source]]
name = "{source}"
port = "{port}"
baudrate = 115200
protocol = "lines"
[source.lines]
format = "csv"
columns = [{columns}]
"""


class Ours:
    """The agent `feed-1`, enrolled, and its wire."""

    def __init__(self, stage: Stage, world: World, columns: int = 1) -> None:
        self._stage, self._world = stage, world
        stage.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        stage.run("python", "-c", COMPILED)
        world.start_server()
        world.enrol(DEVICE, "feed")
        self.wire = Wire(world.port(DEVICE))
        self.buffer = world.state(DEVICE) / "buffer.db"
        names = ("n", *(f"c{i}" for i in range(1, columns)))
        listed = ", ".join(f'{{ name = "{name}", unit = "1" }}' for name in names)
        self._config: str | None = CONFIG.format(source=SOURCE, port=self.wire.path, columns=listed)
        self.series = [f"{SOURCE}.{name}" for name in names]

    @property
    def pid(self) -> int:
        """The agent's process."""
        return self._stage.pid(DEVICE)

    def start(self) -> None:
        """Start the agent."""
        self._world.start_agent(DEVICE, self._config)

    def stop(self) -> None:
        """Stop the agent."""
        self._stage.stop(DEVICE)

    def stop_server(self) -> None:
        """Take the fleet away."""
        self._stage.send(SERVER, signal.SIGKILL)

    def prefill(self, seconds: int, readings_s: int, *most_bytes: str) -> dict[str, int]:
        """Leave a backlog in the buffer of the agent, which must not run; returns its rows, readings and bytes."""
        words = (str(self.buffer), str(seconds), str(readings_s), *most_bytes)
        return dict(json.loads(self._stage.run("python", str(PREFILL), *words, most_s=900)))

    def has_stored(self, after_seq: int = 0) -> bool:
        """Tell whether readings have reached the buffer on the disk."""
        return self.newest_seq() > after_seq

    def newest_seq(self) -> int:
        """Return the number of the newest row of readings on the disk; 0 if there is none."""
        with contextlib.suppress(sqlite3.Error):
            if self.buffer.exists():
                with contextlib.closing(sqlite3.connect(f"file:{self.buffer}?mode=ro", uri=True)) as connection:
                    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM segment").fetchone()[0])
        return 0

    def waiting(self) -> int:
        """Return how many readings wait for an ack, as the agent says."""
        return int(json.loads(ask(StateDir(self._world.state(DEVICE)).socket, "status"))["buffer"]["readings"])

    def arrived(self, first: int, after: int) -> list[int]:
        """Return the numbers `first` … `after - 1` that the fleet has, as often as it has them."""
        found = (v for _, v in self._world.fleet.readings(DEVICE, self.series[0]))
        return [v for v in found if isinstance(v, int) and first <= v < after]
