"""`fleet-agent doctor` on real files, ports and TLS servers."""

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from agents import Board, board, call
from est_server import EstServer

from agent.adapters.clock import SystemClock
from agent.adapters.doctor import check_certificate, check_disk, check_ports, check_state
from agent.adapters.enrol import enrol
from agent.adapters.network import check_network
from agent.adapters.usb import resolve
from agent.adapters.vitals import Vitals
from agent.core.config import parse_config
from agent.core.finding import Finding, Level
from agent.core.standing import Standing
from agent.protocols import find
from agent.settings import Identity, StateDir, load_identity
from agent.wire.codec import config_hash
from agent.wire.messages import ConfigDocument

DAY_US = 86_400_000_000


@pytest.fixture
def est(tmp_path: Path) -> Iterator[EstServer]:
    folder = tmp_path / "est"
    folder.mkdir()
    with EstServer(folder).serving() as server:
        yield server


@pytest.fixture
def state(tmp_path: Path, est: EstServer) -> StateDir:
    found = StateDir(tmp_path / "state")
    enrol(est.claim, found, SystemClock().now_us())
    return found


@pytest.fixture
def port() -> Iterator[Board]:
    with board() as it:
        yield it


def levels(findings: Iterator[Finding]) -> dict[str, Level]:
    return {finding.check: finding.level for finding in findings}


def one(findings: Iterator[Finding], check: str) -> Finding:
    return next(finding for finding in findings if finding.check == check)


def ports(state: StateDir, toml: str, by_id: Path) -> list[Finding]:
    state.config.write_bytes(Standing().seeded(toml).to_json())
    return list(check_ports(state, lambda text, local: parse_config(text, find, local).sources, by_id))


def test_a_device_that_is_not_enrolled_is_told_what_to_do(tmp_path: Path):
    done = call("doctor", "--state", str(tmp_path))

    assert done.returncode == 1
    assert "fail  identity" in done.stdout
    assert "fleet-agent enroll CLAIM" in done.stdout


def test_each_check_is_told_to_programs_with_what_to_do(state: StateDir):
    done = call("doctor", "--state", str(state.root), "--json")
    told: dict[str, Any] = json.loads(done.stdout)
    found = {it["check"]: it for it in told["findings"]}

    assert (done.returncode, told["worst"]) == (0, "warn")  # the agent does not run
    assert {"state", "clock", "disk", "identity", "certificate", "service", "ports", "buffer", "dns", "proxy"} <= set(
        found
    )
    assert found["gateway"]["level"] == "ok"
    assert [it for it in found.values() if it["level"] != "ok" and not it["do"]] == []


def test_a_key_that_others_may_read_is_found(state: StateDir):
    state.key.chmod(0o644)

    finding = next(check_state(state))

    assert (finding.level, finding.do) == (Level.FAIL, f"sudo chmod 600 {state.key}")


def test_a_port_is_well_where_it_is_there_and_may_be_used(state: StateDir, port: Board, tmp_path: Path):
    (finding,) = ports(state, port.config(), tmp_path / "by-id")

    assert finding.level is Level.OK


def test_a_port_that_is_gone_is_told_with_those_that_are_there(state: StateDir, port: Board, tmp_path: Path):
    by_id = tmp_path / "by-id"
    by_id.mkdir()
    (by_id / "usb-Arduino-if00").symlink_to(port.path)

    (finding,) = ports(state, port.config().replace(port.path, "/dev/ttyUSB77"), by_id)

    assert finding.level is Level.FAIL
    assert "/dev/ttyUSB77 (board) is not there" in finding.said
    assert f"{by_id}/usb-Arduino-if00" in finding.do


def test_a_name_that_may_change_is_told_with_the_one_that_stays(state: StateDir, port: Board, tmp_path: Path):
    by_id = tmp_path / "by-id"
    by_id.mkdir()
    (by_id / "usb-Arduino-if00").symlink_to(port.path)

    (finding,) = ports(state, port.config(), by_id)

    assert finding.level is Level.WARN
    assert finding.do == f'In the config: port = "{by_id}/usb-Arduino-if00"'


def test_the_ports_of_a_config_on_trial_are_the_ones_that_are_looked_at(state: StateDir, port: Board, tmp_path: Path):
    on_trial = ConfigDocument(1, config_hash(port.config()), port.config())
    state.config.write_bytes(Standing().trying(on_trial).to_json())

    (finding,) = check_ports(state, lambda text, local: parse_config(text, find, local).sources, tmp_path / "by-id")

    assert finding.level is Level.OK


def test_a_file_is_no_port(state: StateDir, port: Board, tmp_path: Path):
    (finding,) = ports(state, port.config().replace(port.path, str(state.identity)), tmp_path)

    assert "is no serial port" in finding.said


def test_a_damaged_buffer_is_found(state: StateDir):
    state.buffer.write_bytes(b"no database, but long enough to be looked at " * 100)

    done = call("doctor", "--state", str(state.root))

    assert done.returncode == 1
    assert "fail  buffer" in done.stdout


@pytest.mark.parametrize(("days", "level"), [(61, Level.OK), (5, Level.WARN), (-2, Level.FAIL)])
def test_the_certificate_is_judged_by_the_days_left(state: StateDir, days: int, level: Level):
    clock = SystemClock()
    identity = replace(load_identity(state), cert_expires_us=clock.now_us() + days * DAY_US)

    assert levels(check_certificate(identity, clock)) == {"certificate": level}


def test_the_room_on_the_disk_is_told(state: StateDir):
    assert "MiB are free" in one(check_disk(state, Vitals()), "disk").said


def test_a_name_that_nobody_knows_ends_the_checks_of_the_network(state: StateDir):
    identity = replace(load_identity(state), host="fleet.invalid")

    assert levels(check_network(identity, 0, {})) == {"dns": Level.FAIL, "proxy": Level.OK}


def test_a_gateway_that_is_not_there_is_told_by_its_port(state: StateDir):
    identity = replace(load_identity(state), gateway_port=1)

    finding = one(check_network(identity, 0, {}), "gateway")

    assert (finding.level, finding.said) == (Level.FAIL, "127.0.0.1:1 cannot be reached: Connection refused.")


def test_a_server_of_another_fleet_is_no_gateway(state: StateDir, tmp_path: Path):
    folder = tmp_path / "other"
    folder.mkdir()
    with EstServer(folder).serving() as other:
        identity = replace(load_identity(state), gateway_port=other.port)

        finding = one(check_network(identity, 0, {}), "gateway")

    assert finding.level is Level.FAIL
    assert "did not prove to be this device's fleet" in finding.said


def test_a_link_that_takes_tls_is_well(state: StateDir, est: EstServer):
    finding = one(check_network(load_identity(state), est.port, {}), "link")

    assert finding.level is Level.OK


def test_a_link_that_speaks_no_tls_is_told(state: StateDir):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        plain = threading.Thread(target=_answer_plainly, args=(listening,))
        plain.start()
        finding = one(check_network(load_identity(state), listening.getsockname()[1], {}), "link")
        plain.join()

    assert finding.level is Level.FAIL


def _answer_plainly(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.recv(16)
        connection.sendall(b"220 no TLS is spoken here\r\n")


def test_a_clock_apart_from_the_fleets_is_told(state: StateDir, est: EstServer, tmp_path: Path):
    identity: Identity = load_identity(state)
    late = EstServer(tmp_path / "est", ca=est.ca, date="Sun, 01 Mar 2026 00:00:00 GMT")
    with late.serving():
        found = list(check_network(replace(identity, gateway_port=late.port), 0, {}))

    assert [it.check for it in found if it.level is Level.WARN] == ["clock", "link"]


def test_a_proxy_is_told_without_its_password(state: StateDir):
    finding = one(check_network(load_identity(state), 0, {"HTTPS_PROXY": "http://me:secret@proxy:3128"}), "proxy")

    assert finding.level is Level.WARN
    assert "proxy:3128" in finding.said
    assert "secret" not in finding.said


def test_a_port_that_is_set_at_the_machine_is_the_one_that_is_checked(state: StateDir, port: Board, tmp_path: Path):
    state.local.write_text(f'[ports]\nboard = "{port.path}"\n')

    (finding,) = ports(state, port.config().replace(port.path, "/dev/ttyUSB77"), tmp_path / "by-id")

    assert (finding.level, finding.said) == (Level.OK, f"{port.path} (board) is there and may be used.")


def test_a_port_named_by_id_is_followed_to_its_device(state: StateDir, port: Board, tmp_path: Path):
    link = tmp_path / "usb-Arduino-if00"
    link.symlink_to(port.path)

    (finding,) = ports(state, port.config().replace(port.path, str(link)), tmp_path)

    assert finding.level is Level.OK


def test_a_usb_address_is_found_under_its_present_name_or_told_as_missing(state: StateDir, port: Board):
    def plugged_in(name: str) -> str:
        return port.path if name.endswith(":A10K3V2J") else resolve(name)

    toml = port.config().replace(port.path, "usb:0403:6001:A10K3V2J")
    gone = toml.replace("A10K3V2J", "B22")
    state.config.write_bytes(Standing().seeded(toml + gone.replace('"board"', '"other"')).to_json())

    there, missing = check_ports(state, lambda it, at: parse_config(it, find, at).sources, find_port=plugged_in)

    assert (there.level, there.said) == (
        Level.OK,
        f"usb:0403:6001:A10K3V2J, now {port.path}, (board) is there and may be used.",
    )
    assert (missing.level, missing.said) == (Level.FAIL, "usb:0403:6001:B22 is not there (other).")


def test_an_agent_toml_that_cannot_be_followed_is_told_and_the_fleets_ports_are_checked(
    state: StateDir, port: Board, tmp_path: Path
):
    state.local.write_text("[agent]\nflush = 5\n")

    told, checked = ports(state, port.config(), tmp_path / "by-id")

    assert (told.check, told.level) == ("config", Level.WARN)
    assert "agent.toml is not followed: agent.flush: unknown key" in told.said
    assert checked.level is Level.OK
