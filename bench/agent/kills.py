"""Numbered lines at 1,000 a second for 60 s while the agent is killed five times and the server three times.

Prints what became of every line: stored, lost (must be 0), doubled (must be 0), and those that were read but not yet
committed when SIGKILL struck, beside their bound: flush_s at the rate for each kill.
"""

import time

from firmware_sim.scenarios.cast import COUNTER, config
from firmware_sim.scenarios.stage import Stage
from firmware_sim.scenarios.world import Board, World

DEVICE = "counter-1"
RATE_HZ, SECONDS, FLUSH_S = 1000.0, 60.0, 1.0
KILLS = ("agent", "server", "agent", "agent", "server", "agent", "server", "agent")


def main() -> None:
    """Play it and print the figures."""
    with Stage() as stage, World(stage) as world:
        world.start_server()
        world.enrol(DEVICE, "counter")
        world.start_agent(DEVICE, config(world.port(DEVICE), COUNTER))
        world.start_board(DEVICE, Board("counter", "csv", rate_hz=RATE_HZ))
        began = time.monotonic()
        for number, whom in enumerate(KILLS, 1):
            time.sleep(max(0.0, began + SECONDS * number / (len(KILLS) + 1) - time.monotonic()))
            world.kill_agent(DEVICE) if whom == "agent" else world.kill_server()
        time.sleep(max(0.0, began + SECONDS - time.monotonic()))
        world.stop_board(DEVICE)
        count = world.settled(DEVICE, excused_s=FLUSH_S + 0.5, most_s=120)
    bound = KILLS.count("agent") * FLUSH_S * RATE_HZ * 2  # two series a line
    print(f"readings on the wire {count.produced}, stored {count.stored}")
    print(f"lost {count.lost}, doubled {count.duplicated} (limit 0 and 0)")
    ratio = count.uncommitted_at_kill / bound
    print(f"uncommitted at a kill {count.uncommitted_at_kill}, bound {bound:.0f}, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
