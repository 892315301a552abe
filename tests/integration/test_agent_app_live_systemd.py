"""The agent as the service that `fleet-agent install` makes of it, under a live systemd with the whole sandbox."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from agents import Board, board, until
from fleet_process import Server
from machines import Live, live

pytestmark = [pytest.mark.xdist_group("live-systemd"), pytest.mark.timeout(400)]

PATIENCE_S = 90.0
QUICK = "[Service]\nWatchdogSec=3\n"  # instead of 30 s: a hung agent is not to hold up the tests
PORT = "/dev/ttyBoard0"
SEALED = "etc/credstore.encrypted/fieldline.key"


@dataclass(frozen=True)
class Site:
    """A machine with a board at its port, installed and enrolled, and its fleet."""

    machine: Live
    server: Server
    board: Board
    device: str

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.machine.agent("status", "--json").stdout)
        return found

    def arrived(self) -> list[float]:
        items = self.server.get(f"/devices/{self.device}/readings?series=board.n&limit=1000")["items"]
        return sorted(it["v"] for it in items)

    def say(self, lines: int) -> float:
        """Have the board say lines; returns the number of the last one."""
        self.board.say(lines)
        return float(self.board.said - 1)


@pytest.fixture(scope="module")
def site(fleet_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    work = tmp_path_factory.mktemp("machine")
    with board() as port, live(work, f"{port.path}:{PORT}") as machine:
        os.chmod(port.path, 0o666)  # noqa: PTH101, S103 - udev would make it dialout's
        first = machine.root / "etc/first.toml"
        first.write_text(port.config("[agent]\nflush_s = 0.2").replace(port.path, PORT))
        claim, device = fleet_server.claim()
        done = machine.agent("install", claim, "--config", "/etc/first.toml")
        assert done.returncode == 0, done.stdout + done.stderr
        yield Site(machine, fleet_server, port, device)


def test_the_installed_service_runs_as_its_own_user_and_brings_readings_to_the_fleet(site: Site):
    with site.board.talking():
        until(site.arrived, "readings are in the fleet", PATIENCE_S)
    process = site.machine.call("cat", f"/proc/{_inside(site)}/status").stdout
    owner = site.machine.call("stat", "-c", "%U:%G %a", "/var/lib/fieldline/key.pem").stdout.strip()

    assert site.machine.shows("Type") == "notify"
    assert re.search(r"^CapEff:\t0+$", process, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\t1$", process, re.MULTILINE)
    assert re.search(r"^Seccomp:\t2$", process, re.MULTILINE)
    assert owner == "fieldline:fieldline 600"
    assert "1 of 1 sources connected" in until(
        lambda: "1 of 1" in site.machine.shows("StatusText") and site.machine.shows("StatusText"),
        "the status line",
        PATIENCE_S,
    )


def test_it_is_ready_only_when_it_answers(site: Site):
    restarted = site.machine.call("systemctl", "restart", "fleet-agent")
    status = site.status()

    assert restarted.returncode == 0
    assert (status["running"], status["pid"]) == (True, int(_inside(site)))


def test_one_that_cannot_start_is_never_ready(site: Site):
    identity = site.machine.root / "var/lib/fieldline/identity.toml"
    good = identity.read_text()
    site.machine.call("systemctl", "stop", "fleet-agent")
    identity.write_text("device = 7\n")
    try:
        started = site.machine.call("systemctl", "start", "fleet-agent")
    finally:
        identity.write_text(good)
        site.machine.call("systemctl", "restart", "fleet-agent")

    assert started.returncode != 0
    assert site.machine.shows("ActiveState") == "active"


def test_a_hung_agent_is_killed_by_the_watchdog_and_started_again(site: Site):
    drop_in = site.machine.root / "etc/systemd/system/fleet-agent.service.d/quick.conf"
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    drop_in.write_text(QUICK)
    site.machine.call("systemctl", "daemon-reload")
    site.machine.call("systemctl", "restart", "fleet-agent")
    hung = _inside(site)

    site.machine.call("kill", "-STOP", hung)
    until(lambda: _inside(site) not in {hung, "0"} and site.status()["running"], "another agent runs", PATIENCE_S)
    drop_in.unlink()
    site.machine.call("systemctl", "daemon-reload")

    assert "Watchdog timeout (limit 3s)!" in site.machine.journal()


def test_a_key_that_was_sealed_is_unsealed_for_the_service_alone(site: Site):
    key, sealed = site.machine.root / "var/lib/fieldline/key.pem", site.machine.root / SEALED
    sealed.parent.mkdir(exist_ok=True)
    made = site.machine.call(
        "systemd-creds", "encrypt", "--name=fieldline.key", "/var/lib/fieldline/key.pem", f"/{SEALED}"
    )
    aside = key.rename(key.with_name("aside.pem"))
    claim, _ = site.server.claim()
    try:
        started = site.machine.call("systemctl", "restart", "fleet-agent")
        until(lambda: site.status()["sync"]["last_ack_us"], "the fleet takes the device", PATIENCE_S)
        asked = site.machine.agent("doctor")
        site.machine.call("systemctl", "stop", "fleet-agent")
        anew = site.machine.agent("enroll", claim, "--force")
    finally:
        aside.rename(key)
        sealed.unlink(missing_ok=True)
        site.machine.call("systemctl", "restart", "fleet-agent")

    assert made.returncode == 0, made.stderr
    assert started.returncode == 0, site.machine.journal()
    assert f"/{SEALED} holds the key, sealed" in asked.stdout
    assert f"sudo rm /{SEALED}" in anew.stderr


def test_told_to_stop_it_brings_what_was_read_to_the_fleet_in_time(site: Site):
    site.machine.call("systemctl", "restart", "fleet-agent")
    with site.board.talking():
        until(lambda: site.status()["sync"]["road"] == "link" and _readings(site), "it reads and syncs", PATIENCE_S)
    last = site.say(20)
    until(lambda: _newest(site) == last, "the last line was read", PATIENCE_S)

    site.machine.call("systemctl", "stop", "fleet-agent")

    assert site.machine.shows("Result") == "success"
    assert site.status()["buffer"]["readings"] == 0
    assert site.arrived()[-1] == last
    site.machine.call("systemctl", "start", "fleet-agent")


def test_it_is_taken_off_and_put_back_under_its_identity(site: Site):
    removed = site.machine.agent("uninstall", "--keep-data")
    gone = site.machine.shows("LoadState")
    again = site.machine.agent("install", "--config", "/etc/first.toml")

    assert removed.returncode == 0, removed.stderr
    assert gone == "not-found"
    assert again.returncode == 0, again.stderr
    assert site.machine.shows("ActiveState") == "active"
    assert site.status()["device"] == site.device


def test_a_device_that_is_enrolled_anew_is_told_how_its_service_starts(site: Site):
    claim, device = site.server.claim()
    site.machine.call("systemctl", "stop", "fleet-agent")

    done = site.machine.agent("enroll", claim, "--force")

    assert f"Enrolled as {device}" in done.stdout
    assert done.stdout.endswith("Next: sudo systemctl start fleet-agent\n")


def _inside(site: Site) -> str:
    """Return the agent's process number, as the machine counts."""
    return site.machine.shows("MainPID")


def _readings(site: Site) -> int:
    sources = site.status()["sources"]
    return sources[0]["readings"] if sources else 0


def _newest(site: Site) -> float | None:
    return next((it["v"] for it in site.status()["latest"] if it["name"] == "board.n"), None)
