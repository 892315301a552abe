import re
import signal
import socket
from pathlib import Path

import pytest
from agents import Board, board, call, running, until
from est_server import EstServer

from agent.adapters.clock import SystemClock
from agent.adapters.enrol import enrol
from agent.adapters.peek import peek
from agent.settings import StateDir


@pytest.fixture
def port():
    with board() as it:
        yield it


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    """A device that is enrolled, with a fleet that is gone since."""
    folder = tmp_path / "server"
    folder.mkdir()
    state = StateDir(tmp_path / "state")
    with EstServer(folder).serving() as server:
        enrol(server.claim, state, SystemClock().now_us())
    return state


def seed(tmp_path: Path, port: Board, extra: str = "") -> str:
    path = tmp_path / "first.toml"
    path.write_text(port.config(extra))
    return str(path)


def test_the_running_agent_tells_its_status(state: StateDir, port: Board, tmp_path: Path):
    with running(state.root, "--config", seed(tmp_path, port)) as agent:
        until(lambda: agent.status()["sources"][0]["connected"], "the port is open")
        port.say(20)
        until(lambda: agent.status()["buffer"]["readings"] == 40, "all is committed")

        status = agent.status()

    assert status["device"] == "freezer-7k3m2q"
    assert [(it["name"], it["unit"], it["v"]) for it in status["latest"]] == [
        ("board.n", "1", 19),
        ("board.temp", "Cel", -18.5),
    ]
    assert status["sync"]["road"] == "none"
    assert "cannot be reached" in status["sync"]["error"]
    assert status["certificate"]["days_left"] == 89
    assert status["config"]["outcome"] == "seeded"


def test_the_status_for_people_shows_it_at_a_glance(state: StateDir, port: Board, tmp_path: Path):
    with running(state.root, "--config", seed(tmp_path, port)):
        shown = call("status", "--state", str(state.root)).stdout

    assert shown.startswith("freezer-7k3m2q  running for")
    assert re.search(r"^certificate  89 days left", shown, re.MULTILINE)


def test_sigterm_commits_all_that_was_read_and_is_quick(state: StateDir, port: Board, tmp_path: Path):
    with running(state.root, "--config", seed(tmp_path, port, "[agent]\nflush_s = 60")) as agent:
        until(lambda: agent.status()["sources"][0]["connected"], "the port is open")
        port.say(50)
        until(lambda: agent.status()["sources"][0]["readings"] == 100, "all is read")

        took_s = agent.stop(signal.SIGTERM)

    assert took_s < 5
    assert agent.process.returncode == 0
    assert peek(state.buffer).readings == 100
    assert {it.name: it.v for it in peek(state.buffer).newest} == {"board.n": 49, "board.temp": -18.5}
    assert not state.socket.exists()


def test_a_stopped_agent_is_told_from_its_files(state: StateDir, port: Board, tmp_path: Path):
    with running(state.root, "--config", seed(tmp_path, port)) as agent:
        until(lambda: agent.status()["sources"][0]["connected"], "the port is open")
        port.say(5)
        until(lambda: agent.status()["buffer"]["readings"] == 10, "all is committed")
        agent.stop(signal.SIGKILL)

        status = agent.status()

    assert status["running"] is False
    assert status["buffer"]["readings"] == 10
    assert [it["v"] for it in status["latest"]] == [4, -18.5]
    assert "NOT RUNNING" in call("status", "--state", str(state.root)).stdout


def test_a_second_agent_on_the_same_state_is_refused(state: StateDir, port: Board, tmp_path: Path):
    with running(state.root, "--config", seed(tmp_path, port)) as agent:
        second = call("run", "--state", str(state.root))

    assert second.returncode == 1
    assert f"Another agent (process {agent.process.pid}) is running on {state.root}." in second.stderr


def test_an_agent_that_is_not_enrolled_says_how_to_enroll(tmp_path: Path):
    done = call("run", "--state", str(tmp_path))

    assert done.returncode == 1
    assert done.stderr.startswith("Error: The device is not enrolled: there is no")
    assert "fleet-agent enroll CLAIM" in done.stderr


def test_a_first_config_with_an_unknown_key_names_file_key_and_nearest(state: StateDir, port: Board, tmp_path: Path):
    path = seed(tmp_path, port, "[agent]\nflush = 1")

    done = call("run", "--state", str(state.root), "--config", path)

    assert done.returncode == 1
    assert f"{path}: agent.flush: unknown key; did you mean 'flush_s'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_buffer_is_set_aside_and_the_agent_goes_on(state: StateDir, port: Board, tmp_path: Path):
    state.buffer.write_bytes(b"this is no database at all" * 400)

    with running(state.root, "--config", seed(tmp_path, port)) as agent:
        until(lambda: agent.status()["sources"][0]["connected"], "the port is open")
        port.say(5)
        until(lambda: agent.status()["buffer"]["readings"] == 10, "all is committed")

    assert (state.root / "buffer.db.damaged").read_bytes().startswith(b"this is no database")


def test_a_damaged_config_file_is_set_aside(state: StateDir, port: Board, tmp_path: Path):
    state.config.write_bytes(b"{")

    with running(state.root, "--config", seed(tmp_path, port)) as agent:
        assert agent.status()["config"]["outcome"] == "seeded"

    assert (state.root / "config.json.damaged").exists()


def test_systemd_is_told_of_readiness_life_and_end(state: StateDir, port: Board, tmp_path: Path):
    told: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0fieldline-test-" + tmp_path.name + str(id(told)))
        manager.settimeout(30)
        env = {"NOTIFY_SOCKET": "@" + manager.getsockname()[1:].decode(), "WATCHDOG_USEC": "600000"}

        with running(state.root, "--config", seed(tmp_path, port), env=env) as agent:
            while told.count("WATCHDOG=1") < 3:
                told.append(manager.recv(4096).decode())
            agent.stop()
            while told[-1] != "STOPPING=1":
                told.append(manager.recv(4096).decode())

    assert told.count("READY=1") == 1
    assert any(it.startswith("STATUS=freezer-7k3m2q: 1 of 1 sources connected") for it in told)


def test_the_config_that_runs_is_printed_as_it_was_written(state: StateDir, port: Board, tmp_path: Path):
    with running(state.root, "--config", seed(tmp_path, port)):
        pass

    assert call("config", "--state", str(state.root)).stdout == port.config()


def test_the_log_is_key_value_and_holds_no_secret(state: StateDir, port: Board, tmp_path: Path):
    with running(state.root, "--config", seed(tmp_path, port)) as agent:
        agent.stop()

    assert all(re.match(r"t=\S+Z level=\w+ from=\S+ msg=\"", line) for line in agent.log)
    assert "PRIVATE" not in "".join(agent.log)
