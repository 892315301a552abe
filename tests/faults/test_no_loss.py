"""Numbered lines while agent and server are killed: every number that was committed is stored once."""

import time
from itertools import pairwise

import pytest

from firmware_sim.scenarios.cast import COUNTER, config
from firmware_sim.scenarios.stage import Stage
from firmware_sim.scenarios.world import Board, World

pytestmark = [pytest.mark.xdist_group("loss"), pytest.mark.timeout(240)]

DEVICE = "counter-1"
FLUSH_S = 0.5
AGENT = f"\n[agent]\nflush_s = {FLUSH_S}\n"
EXCUSED_S = FLUSH_S + 1.0  # what was read and not yet committed, and a commit under way on a slow disk


def test_numbered_lines_survive_kills_of_the_agent_and_of_the_server():
    with Stage() as stage, World(stage, "--sync-every", "1") as world:
        world.start_server()
        world.enrol(DEVICE, "counter")
        world.start_board(DEVICE, Board("counter", "csv", rate_hz=1000))
        world.start_agent(DEVICE, config(world.port(DEVICE), COUNTER + AGENT))
        stage.wait_for("readings", lambda: _stored(world), most_s=60)
        for killed in ("agent", "server", "agent"):
            time.sleep(2)
            world.kill_agent(DEVICE) if killed == "agent" else world.kill_server()
        time.sleep(3)
        world.stop_board(DEVICE)

        count = world.settled(DEVICE, excused_s=EXCUSED_S, most_s=60)
        numbers = [v for _, v in world.fleet.readings(DEVICE, "board.n")]

    assert count.lost == 0
    assert count.duplicated == 0
    assert count.stored > 5000
    assert all(isinstance(after, int) and after > before for before, after in pairwise(numbers))  # type: ignore[operator]


def _stored(world: World) -> bool:
    found = world.fleet.get(f"/api/v1/devices/{DEVICE}")
    return bool(found and found["latest"])
