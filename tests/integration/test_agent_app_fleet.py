"""The whole agent against a whole fleet: enrolment, config, restart, renewal, the end."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import Board, board, call, running, until
from fleet_process import Server, enrolled, serving

RULE = """
[[rule]]
name = "too-warm"
series = "board.temp"
above = -5.0
hold_s = 0
severity = "critical"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("fleet") / "data") as it:
        yield it


@pytest.fixture
def port():
    with board() as it:
        yield it


def seed(tmp_path: Path, port: Board) -> str:
    path = tmp_path / "first.toml"
    path.write_text(port.config("[agent]\nflush_s = 0.2"))
    return str(path)


def test_a_claim_is_good_for_one_device(server: Server, tmp_path: Path):
    claim, device = server.claim()

    first = call("enroll", claim, "--state", str(tmp_path / "a"))
    second = call("enroll", claim, "--state", str(tmp_path / "b"))

    assert f"Enrolled as {device}" in first.stdout
    assert second.returncode == 1
    assert f"The fleet refused: the claim for {device} was used already." in second.stderr
    assert list((tmp_path / "b").iterdir()) == []


def test_an_unknown_secret_is_refused(server: Server, tmp_path: Path):
    claim, _ = server.claim()
    made_up = claim.rpartition("/")[0] + "/" + "A" * 22

    done = call("enroll", made_up, "--state", str(tmp_path / "a"))

    assert done.returncode == 1
    assert "this fleet has given out no such claim" in done.stderr


def test_readings_reach_the_fleet_and_the_agent_ends_with_nothing_left(server: Server, port: Board, tmp_path: Path):
    device = enrolled(server, tmp_path / "state")
    with running(tmp_path / "state", "--config", seed(tmp_path, port)) as agent:
        until(lambda: agent.status()["sync"]["road"] == "link", "the link is used")
        until(lambda: agent.status()["sources"][0]["connected"], "the port is open")
        port.say(100)
        until(lambda: agent.status()["sources"][0]["readings"] == 200, "all is read")

        took_s = agent.stop()

    assert took_s < 5
    readings = server.get(f"/devices/{device}/readings?series=board.n&limit=1000")["items"]
    assert [it["v"] for it in readings] == list(range(100))
    assert call("status", "--state", str(tmp_path / "state")).stdout.count("empty: the fleet has everything") == 1


def test_a_config_is_applied_reported_and_kept_over_a_kill(server: Server, port: Board, tmp_path: Path):
    device = enrolled(server, tmp_path / "state")
    first = seed(tmp_path, port)
    with running(tmp_path / "state", "--config", first) as agent:
        until(lambda: agent.status()["sync"]["last_ack_us"], "the first ack")
        revision = server.post("/configs", device=device, toml=port.config(RULE))["revision"]
        until(
            lambda: server.get(f"/devices/{device}")["config"]["applied"] == revision, "the fleet knows it is applied"
        )
        until(lambda: agent.status()["sources"][0]["connected"], "the port is open")
        port.say(3, temp=4.0)
        until(lambda: server.get(f"/alarms?device={device}")["items"], "the alarm is raised")
        agent.stop(signal.SIGKILL)

    with running(tmp_path / "state", "--config", first) as agent:
        assert agent.status()["config"]["applied"] == revision
        assert call("config", "--state", str(tmp_path / "state")).stdout == port.config(RULE)


def test_a_bad_config_is_refused_with_its_reason_and_the_old_one_runs(server: Server, port: Board, tmp_path: Path):
    device = enrolled(server, tmp_path / "state")
    with running(tmp_path / "state", "--config", seed(tmp_path, port)) as agent:
        until(lambda: agent.status()["sync"]["last_ack_us"], "the first ack")
        bad = port.config("[agent]\nflush = 1")
        revision = server.post("/configs", device=device, toml=bad)["revision"]

        config = until(
            lambda: (it := server.get(f"/devices/{device}")["config"])["handled"] == revision and it, "it is handled"
        )

        assert (config["outcome"], config["applied"]) == ("refused", 0)
        assert config["reason"] == "agent.flush: unknown key; did you mean 'flush_s'?"
        port.say(3)
        until(lambda: agent.status()["sources"][0]["readings"] == 6, "the old one keeps reading")


def test_a_certificate_is_renewed_beside_the_running_agent(server: Server, port: Board, tmp_path: Path):
    device = enrolled(server, tmp_path / "state")
    with running(tmp_path / "state", "--config", seed(tmp_path, port)) as agent:
        until(lambda: agent.status()["sync"]["last_ack_us"], "the first ack")
        before = (tmp_path / "state" / "cert.pem").read_bytes()

        done = call("renew", "--state", str(tmp_path / "state"))

        assert done.stdout.startswith(f"Renewed: {device}'s certificate is valid until")
        assert (tmp_path / "state" / "cert.pem").read_bytes() != before
        acked = agent.status()["sync"]["last_ack_us"]
        until(lambda: agent.status()["sync"]["last_ack_us"] > acked, "it goes on syncing")


def test_a_due_certificate_is_renewed_by_the_agent_itself(server: Server, port: Board, tmp_path: Path):
    enrolled(server, tmp_path / "state")
    identity = tmp_path / "state" / "identity.toml"
    text = identity.read_text()
    identity.write_text(re.sub(r"cert_issued_us = \d+", "cert_issued_us = 1000000", text))
    identity.write_text(re.sub(r"cert_expires_us = \d+", "cert_expires_us = 2000000", identity.read_text()))

    with running(tmp_path / "state", "--config", seed(tmp_path, port)) as agent:
        until(lambda: agent.status()["certificate"]["days_left"] == 89, "the certificate is new")

    assert (tmp_path / "state" / "key.pem").stat().st_mode & 0o777 == 0o600
