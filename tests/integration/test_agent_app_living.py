"""A whole agent on a whole fleet: what the fleet knows of the machine, and what the doctor says of the way there."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import call, running, until
from fleet_process import Server, enrolled, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("fleet") / "data") as it:
        yield it


def test_the_fleet_knows_the_machine_and_the_doctor_finds_both_roads_open(server: Server, tmp_path: Path):
    state = tmp_path / "state"
    device = enrolled(server, state)
    with running(state) as agent:
        until(lambda: agent.status()["sync"]["road"] == "link", "the link is used")
        health = until(lambda: server.get(f"/devices/{device}")["health"], "the fleet has the device's health")
        told = json.loads(call("doctor", "--state", str(state), "--json").stdout)

    levels = {it["check"]: it["level"] for it in told["findings"]}
    assert health["machine"]["memory_bytes"] > health["machine"]["memory_free_bytes"] > 0
    assert health["machine"]["disk_free_bytes"] > 0
    assert health["loop_lag_s"] >= 0
    assert [levels[check] for check in ("state", "identity", "certificate", "service", "dns", "gateway", "link")] == [
        "ok"
    ] * 7


def test_the_doctor_says_that_a_revoked_device_is_shut_out(server: Server, tmp_path: Path):
    state = tmp_path / "state"
    device = enrolled(server, state)
    server.post(f"/devices/{device}/revoke", reason="stolen")

    done = call("doctor", "--state", str(state), "--json")
    gateway = next(it for it in json.loads(done.stdout)["findings"] if it["check"] == "gateway")

    assert (done.returncode, gateway["level"]) == (1, "fail")
    assert "claim" in gateway["do"]
