"""A fleet of two nodes under a swarm, each of its parts killed: nothing acked is lost or doubled, all are back soon.

The whole, with three nodes and more rounds, is `make bench BENCH="fleet cluster"`.
"""

import json
import os
import shutil

import pytest

from firmware_sim.scenarios.cluster import LIMIT_S, run

pytestmark = [pytest.mark.xdist_group("swarm"), pytest.mark.timeout(300)]

if shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None and os.environ.get("CI") != "true":
    pytest.skip("NOT TESTED WITH A BALANCER: haproxy is not installed", allow_module_level=True)


def test_whatever_is_killed_of_two_nodes_devices_are_back_within_10_s_and_nothing_acked_is_lost():
    said: list[str] = []

    status = run(nodes=2, devices=40, rounds=1, check=True, say=said.append)

    verdict = json.loads(said[-1])
    assert status == 0, "\n".join(said)
    assert (verdict["lost"], verdict["doubled"], verdict["changed"], verdict["jobs_held_twice"]) == (0, 0, 0, 0)
    assert verdict["links_opened"] > 40
    assert verdict["acked"] > 0
    assert [fault["what"] for fault in verdict["faults"]] == [
        "node1 and its broker",
        "the nats-server of node1",
        "PostgreSQL",
    ]
    assert all(fault["resumed_s"] <= LIMIT_S for fault in verdict["faults"])
