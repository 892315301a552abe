"""A minute of the soak: eight sources, faults of every kind."""

import pytest

from firmware_sim.scenarios.soak import BOARDS, Soak
from firmware_sim.scenarios.stage import Stage
from firmware_sim.scenarios.world import World

pytestmark = [pytest.mark.xdist_group("soak"), pytest.mark.timeout(400)]


def test_a_minute_of_faults_of_every_kind_loses_nothing_and_doubles_nothing():
    with Stage() as stage, World(stage, "--sync-every", "1") as world:
        soak = Soak(stage, world, seed=3, every_s=3.0, kill_every_s=10.0)

        found = soak.run(60.0, settle_s=120)

    assert found.count.lost == 0, found
    assert found.count.duplicated == 0, found
    assert all(found.by_source[name].stored > 100 for name in BOARDS), found
