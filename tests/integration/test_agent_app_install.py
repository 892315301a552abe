"""`fleet-agent install` into a scratch root: as a checkout and as a wheel, judged by systemd itself."""

import io
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from agents import call
from units import analyze

from agent import __version__
from agent.adapters import service
from agent.adapters.install import FILES, FIRST_CONFIG, LINK, WANTED, Machine
from agent.cli import main
from agent.core.status import BufferStatus, ClockStatus, Status, SyncStatus, certificate, iso
from agent.errors import Misconfigured
from agent.wire.messages import ConfigOutcome, Reported

ROOT = Path(__file__).parents[2]
MOST_EXPOSED = 20  # tenths of `systemd-analyze security`
CONFIG = """
[[source]]
name = "board"
port = "/dev/ttyUSB0"
baudrate = 115200
protocol = "lines"
[source.lines]
format = "csv"
columns = [{ name = "n", unit = "1" }]
"""


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): bytes(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_everything_is_put_in_place_and_a_second_time_changes_nothing(tmp_path: Path):
    first = call("install", "--root", str(tmp_path))
    placed = tree(tmp_path)
    second = call("install", "--root", str(tmp_path))

    assert first.returncode == 0, first.stderr
    assert {str(path)[1:] for path in (*FILES.values(), WANTED, LINK)} == set(placed)
    assert "/etc/systemd/system/fleet-agent.service: written" in first.stdout
    assert "/etc/systemd/system/fleet-agent.service: unchanged" in second.stdout
    assert "written" not in second.stdout
    assert tree(tmp_path) == placed


def test_what_was_changed_by_hand_is_mended(tmp_path: Path):
    call("install", "--root", str(tmp_path))
    unit = Machine(tmp_path).path(FILES["fleet-agent.service"])
    before = unit.read_text()
    unit.write_text("[Service]\nExecStart=/bin/false\n")

    done = call("install", "--root", str(tmp_path))

    assert "fleet-agent.service: replaced" in done.stdout
    assert unit.read_text() == before


def test_the_unit_is_clean_and_well_shut_in(tmp_path: Path):
    call("install", "--root", str(tmp_path))
    unit = Machine(tmp_path).path(FILES["fleet-agent.service"])

    verified = analyze("verify", "--man=no", unit)
    exposed = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", unit)

    assert (verified.returncode, verified.stderr) == (0, "")
    assert exposed.returncode == 0, exposed.stdout.splitlines()[-1]


def test_a_unit_for_a_program_in_a_home_is_as_well_shut_in(tmp_path: Path):
    program = "/home/pi/.local/share/pipx/venvs/fieldline/bin/fleet-agent"
    done = call("install", "--root", str(tmp_path), "--program", program)
    unit = Machine(tmp_path).path(FILES["fleet-agent.service"])

    exposed = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", unit)

    assert "services do not see it" in done.stdout
    assert f"ExecStart={program} run" in unit.read_text()
    assert exposed.returncode == 0, exposed.stdout.splitlines()[-1]


def test_the_servers_unit_is_clean_and_well_shut_in(tmp_path: Path):
    unit = tmp_path / "fleet.service"
    shipped = (ROOT / "systemd" / "fleet.service").read_text()
    unit.write_text(shipped.replace("/opt/fieldline/bin/fleet ", "/bin/true "))  # systemd asks whether it is there

    verified = analyze("verify", "--man=no", unit)
    exposed = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", ROOT / "systemd" / "fleet.service")

    assert (verified.returncode, verified.stderr) == (0, "")
    assert exposed.returncode == 0, exposed.stdout.splitlines()[-1]


def test_the_drop_in_that_lets_the_agent_to_a_tpm_leaves_it_well_shut_in(tmp_path: Path):
    page = (ROOT / "docs" / "operate" / "hardware-key.md").read_text()
    (drop_in,) = re.findall(r"```ini\n(.*?)```", page, re.DOTALL)
    call("install", "--root", str(tmp_path))
    unit = Machine(tmp_path).path(FILES["fleet-agent.service"])
    unit.write_text(unit.read_text() + drop_in)

    verified = analyze("verify", "--man=no", unit)
    exposed = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", unit)

    assert (verified.returncode, verified.stderr) == (0, "")
    assert exposed.returncode == 0, exposed.stdout.splitlines()[-1]


def test_a_first_config_is_checked_copied_and_used(tmp_path: Path):
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text(CONFIG)
    bad.write_text(CONFIG.replace("baudrate", "baudrat"))
    root = tmp_path / "root"
    root.mkdir()

    refused = call("install", "--root", str(root), "--config", str(bad))
    nothing = tree(root)
    done = call("install", "--root", str(root), "--config", str(good))
    machine = Machine(root)

    assert refused.returncode == 1
    assert "baudrat" in refused.stderr
    assert nothing == {}
    assert done.returncode == 0, done.stderr
    assert machine.path(FIRST_CONFIG).read_text() == CONFIG
    assert f"--config {FIRST_CONFIG}" in machine.path(FILES["fleet-agent.service"]).read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fl1/h:8443/x/y"], "claim"),
        (["--program", "bin/fleet-agent"], "absolute path"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_changed(tmp_path: Path, words: list[str], said: str):
    done = call("install", "--root", str(tmp_path), *words)

    assert done.returncode == 2
    assert said in done.stderr
    assert tree(tmp_path) == {}


def test_uninstall_takes_all_of_it_away_and_keeps_the_data(tmp_path: Path):
    call("install", "--root", str(tmp_path))
    state = Machine(tmp_path).state
    state.root.mkdir(parents=True)
    state.config.write_text("{}")

    done = call("uninstall", "--root", str(tmp_path))

    assert done.returncode == 0, done.stderr
    assert tree(tmp_path) == {"var/lib/fieldline/config.json": b"{}"}
    assert "kept, nothing in it waits to be sent" in done.stdout


def test_uninstall_erases_the_data_if_asked(tmp_path: Path):
    call("install", "--root", str(tmp_path))
    state = Machine(tmp_path).state
    state.root.mkdir(parents=True)
    state.config.write_text("{}")

    done = call("uninstall", "--erase-data", "--root", str(tmp_path))
    again = call("uninstall", "--erase-data", "--root", str(tmp_path))

    assert tree(tmp_path) == {}
    assert "/var/lib/fieldline: erased" in done.stdout
    assert again.returncode == 0
    assert "was not there" in again.stdout


def test_the_wheel_holds_what_install_puts_in_place(tmp_path: Path):
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    wheel = next((tmp_path / "dist").glob("*.whl"))
    with zipfile.ZipFile(io.BytesIO(wheel.read_bytes())) as archive:
        archive.extractall(tmp_path / "site")
    root = tmp_path / "root"
    root.mkdir()

    done = subprocess.run(
        [sys.executable, "-m", "agent.cli", "install", "--root", str(root)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "agent" / "systemd" / "fleet-agent.service").is_file()
    assert {str(path)[1:] for path in (*FILES.values(), WANTED, LINK)} == set(tree(root))
    assert Machine(root).path(FILES["udev/60-fieldline.rules"]).read_bytes() == (
        (ROOT / "systemd/udev/60-fieldline.rules").read_bytes()
    )


class Said:
    """Takes the calls to systemd's tools down instead of making them."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, command: Sequence[str]) -> None:
        self.calls.append(" ".join(command))


def test_a_device_that_is_not_enrolled_is_enabled_and_not_started(tmp_path: Path):
    said = Said()

    list(service.start(Machine(tmp_path).state, changed=True, run=said))

    assert "systemctl enable --quiet fleet-agent.service" in said.calls
    assert [one for one in said.calls if "restart" in one] == []


def test_an_enrolled_device_is_started(tmp_path: Path):
    state = Machine(tmp_path).state
    state.root.mkdir(parents=True)
    state.identity.touch()
    said = Said()

    steps = list(service.start(state, changed=False, run=said))

    assert said.calls[-1] == "systemctl restart fleet-agent.service"
    assert steps[-1].did == "started"


def test_a_tool_that_fails_is_told_with_what_it_said():
    with pytest.raises(Misconfigured, match=r"`ls /not/there` failed: ls: cannot access"):
        service.call(["ls", "/not/there"])


def test_udev_is_left_alone_where_it_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(service, "UDEV", tmp_path / "not-there")
    said = Said()

    steps = list(service.start(Machine(tmp_path).state, changed=True, run=said))

    assert [one for one in said.calls if "udevadm" in one] == []
    assert any(step.what == "udev" and "does not run here" in step.did for step in steps)


@pytest.mark.parametrize(("age_s", "does_restart"), [(0, False), (10 * 365 * 86400, True)])
def test_another_build_of_the_same_version_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age_s: int, *, does_restart: bool
):
    state = Machine(tmp_path).state
    state.root.mkdir(parents=True)
    state.identity.touch()
    now = time.time_ns() // 1000
    running = Status(
        version=1,
        running=True,
        device="freezer-1",
        agent_version=__version__,
        pid=1,
        t_us=now,
        t=iso(now),
        uptime_s=age_s,
        rss_bytes=0,
        clock=ClockStatus("synced", 0.0),
        sources=(),
        latest=(),
        buffer=BufferStatus(0, 0, 0, 0, None, 0.0, ""),
        sync=SyncStatus("h:8443", "link", 0, None, ""),
        config=Reported(0, ConfigOutcome.SEEDED, 0, "", ""),
        certificate=certificate(now, now),
    )
    monkeypatch.setattr(service, "running_agent", lambda _state: running)
    said = Said()

    list(service.start(state, changed=False, run=said))

    assert ("systemctl restart fleet-agent.service" in said.calls) is does_restart


def test_who_may_not_look_is_told_to_use_sudo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(os, "access", lambda *_: False)

    with pytest.raises(SystemExit) as ended:
        main(["status", "--state", str(tmp_path)])

    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert f"{tmp_path} is open to the agent and to root alone." in said
    assert "sudo fleet-agent status" in said
