"""A real agent tries configs of a real fleet, and is killed in the middle of every step of it."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agents import AGENT, Board, board, call, running, until
from fleet_process import Server, enrolled, serving

WINDOW_S = 4
TRIAL = f"[agent]\nhealth_window_s = {WINDOW_S}\n"
DEADLY = """
import os, signal

def read(table):
    table.done()

def open(options, settings):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("fleet") / "data") as it:
        yield it


@pytest.fixture
def port() -> Iterator[Board]:
    with board() as it, it.talking():
        yield it


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def first(tmp_path: Path, port: Board) -> tuple[str, str]:
    path = tmp_path / "first.toml"
    path.write_text(port.config())
    return "--config", str(path)


def config_of(server: Server, device: str) -> dict[str, Any]:
    found: dict[str, Any] = server.get(f"/devices/{device}/config")
    return found


def kinds(server: Server, device: str) -> list[str]:
    return [one["kind"] for one in server.get(f"/events?device={device}&kind=config.")["items"]]


def stored(state: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((state / "config.json").read_text())
    return found


def reads(agent: Any) -> bool:  # noqa: ANN401 - a RunningAgent
    sources = agent.status()["sources"]
    return bool(sources) and sources[0]["readings"] > 40


def test_a_config_is_tried_and_kept(server: Server, port: Board, state: Path, tmp_path: Path):
    device = enrolled(server, state)
    with running(state, *first(tmp_path, port)) as agent:
        until(lambda: reads(agent), "the source reads")
        server.post("/configs", device=device, toml=port.config(TRIAL))
        until(lambda: config_of(server, device)["state"] == "trying", "the fleet knows that it is tried")
        assert "runs ON TRIAL" in call("status", "--state", str(state)).stdout

        until(lambda: config_of(server, device)["state"] == "in_sync", "it is kept")

    assert kinds(server, device) == ["config.set", "config.trying", "config.applied"]
    assert call("config", "--state", str(state)).stdout == port.config(TRIAL)


def test_a_config_that_silences_a_source_is_rolled_back_and_never_sent_again(
    server: Server, port: Board, state: Path, tmp_path: Path
):
    device = enrolled(server, state)
    with running(state, *first(tmp_path, port)) as agent:
        until(lambda: reads(agent), "the source reads")
        until(lambda: agent.status()["uptime_s"] >= 4, "it is known to read steadily")
        wrong = port.config(TRIAL).replace(port.path, "/dev/fieldline-nowhere")
        revision = server.post("/configs", device=device, toml=wrong)["revision"]

        config = until(lambda: (it := config_of(server, device))["state"] == "rolled_back" and it, "it is rolled back")

        assert (config["applied"], config["handled"]) == (0, revision)
        assert "board did not read as before (/dev/fieldline-nowhere is not there)" in config["reason"]
        until(lambda: reads(agent), "the one before reads again")
        acked = agent.status()["sync"]["last_ack_us"]
        until(lambda: agent.status()["sync"]["last_ack_us"] > acked + 2_000_000, "further acks have come")
        assert agent.status()["config"]["outcome"] == "rolled_back"
    assert kinds(server, device) == ["config.set", "config.trying", "config.rolled_back"]


@pytest.mark.parametrize("phase", ["staged", "trying", "kept"])
def test_a_kill_in_any_phase_costs_nothing_but_time(
    server: Server, port: Board, state: Path, tmp_path: Path, phase: str
):
    device = enrolled(server, state)
    options = first(tmp_path, port)
    with running(state, *options) as agent:
        until(lambda: reads(agent), "the source reads")
        server.post("/configs", device=device, toml=port.config(TRIAL))
        if phase == "staged":
            until(lambda: stored(state).get("staged"), "it is staged")
        elif phase == "trying":
            until(lambda: agent.status()["config"]["outcome"] == "trying", "it is tried")
        else:
            until(lambda: agent.status()["config"]["outcome"] == "applied", "it is kept")
        agent.stop(signal.SIGKILL)

    with running(state, *options) as agent:
        until(lambda: config_of(server, device)["state"] == "in_sync", "it is kept after all")
        until(lambda: reads(agent), "the source reads")
    assert stored(state)["running"]["toml"] == port.config(TRIAL)


def test_a_config_that_kills_the_agent_is_rolled_back_after_two_deaths(
    server: Server, port: Board, state: Path, tmp_path: Path
):
    device = enrolled(server, state)
    options = first(tmp_path, port)
    env = {"PYTHONPATH": f"{deadly(tmp_path)}:{Path.cwd()}"}
    with board() as second:
        bad = f'[[source]]\nname = "bad"\nport = "{second.path}"\nprotocol = "deadly"\n'
        with running(state, *options, env=env) as agent:
            until(lambda: reads(agent), "the source reads")
            server.post("/configs", device=device, toml=bad + port.config(TRIAL))
            until(lambda: agent.process.poll() is not None, "the config has killed the agent")
            agent.process.communicate()
        command = [*AGENT, "run", "--state", str(state), *options]
        again = subprocess.run(command, env={**os.environ, **env}, timeout=60, check=False, capture_output=True)
        assert again.returncode == -signal.SIGKILL

        with running(state, *options, env=env) as agent:
            config = until(lambda: (it := config_of(server, device))["state"] == "rolled_back" and it, "it is known")
            until(lambda: reads(agent), "the source reads again")
    assert config["reason"] == "The agent died 2 times while it was tried."


def deadly(folder: Path) -> Path:
    """Install a protocol that kills the process when it is opened."""
    site = folder / "site"
    (site / "deadly-1.dist-info").mkdir(parents=True)
    (site / "deadly-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: deadly\nVersion: 1\n")
    (site / "deadly-1.dist-info" / "entry_points.txt").write_text("[fieldline.protocols]\ndeadly = deadly_protocol\n")
    (site / "deadly_protocol.py").write_text(DEADLY)
    return site
