"""Resident memory of the demo's agents over time, beside the peer.

Five agents, each with a board: csv, json and Modbus. MINUTES=10 by default. The peer's figure is thingsboard-gateway
3.8.5 with one serial source and SQLite storage, as measured beside an earlier run; the limit is this project's own.
"""

import os
import time
from pathlib import Path

from firmware_sim.scenarios.cast import MACHINES
from firmware_sim.scenarios.stage import Stage
from firmware_sim.scenarios.world import World

MINUTES = float(os.environ.get("MINUTES", "10"))
PEER_MB, LIMIT_MB = 72.0, 45.0


def rss_mb(pid: int) -> float:
    """Return the resident set of a process, MB (2^20 bytes)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


def main() -> None:
    """Run the demo's machines and print their agents' memory each minute."""
    with Stage() as stage, World(stage) as world:
        world.start_server()
        for machine in MACHINES:
            world.enrol(machine.device, machine.product)
            world.start_board(machine.device, machine.board)
            world.start_agent(machine.device, machine.config(world.port(machine.device)))
        began = time.monotonic()
        while (minute := (time.monotonic() - began) / 60) < MINUTES:
            time.sleep(min(60.0, MINUTES * 60 - minute * 60))
            stage.fail_if_ended()
            sizes = {machine.device: rss_mb(stage.pid(machine.device)) for machine in MACHINES}
            print(
                f"{(time.monotonic() - began) / 60:5.1f} min",
                *(f"{name} {size:.1f} MB" for name, size in sizes.items()),
            )
        largest = max(sizes.values())
        print(
            f"largest {largest:.1f} MB; peer {PEER_MB:g} MB, ratio {largest / PEER_MB:.2f}; limit {LIMIT_MB:g} MB,",
            end=" ",
        )
        print(f"ratio {largest / LIMIT_MB:.2f}")


if __name__ == "__main__":
    main()
