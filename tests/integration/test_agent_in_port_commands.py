"""`fleet-agent port …` on simulated boards: what is made out, captured, and replayed to the same readings."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli.port import COMMANDS, Lazy, command
from firmware_sim.board import Board

REFERENCE = (Path(__file__).parents[2] / "docs" / "reference" / "agent-cli.md").read_text()
TIMEOUT_S = 60


def port(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent.cli", "port", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )


@pytest.mark.parametrize("name", ["list", *COMMANDS])
def test_each_command_has_help_and_an_example_in_the_reference(name: str):
    assert isinstance(command, Lazy)
    import click  # noqa: PLC0415 - of this test alone

    it = command.get_command(click.Context(command), name)
    assert it is not None
    assert it.help
    assert f"fleet-agent port {name}" in it.help
    assert f"\nfleet-agent port {name}" in REFERENCE
    assert [one.name for one in it.params if isinstance(one, click.Option) and not one.help] == []
    assert [opt for one in it.params for opt in one.opts if opt.startswith("--") and f"`{opt}" not in REFERENCE] == []


def test_list_is_json_for_programs():
    assert isinstance(json.loads(port("list", "--json").stdout), list)


@pytest.mark.parametrize(
    ("kind", "options", "protocol"),
    [("freezer", {"rate": 20}, "lines"), ("tracker", {"rate": 5}, "nmea")],
)
def test_probe_makes_out_a_board_that_speaks(kind: str, options: dict[str, object], protocol: str, tmp_path: Path):
    with Board(kind, tmp_path / "tty", **options):
        found = port("probe", tmp_path / "tty", "--seconds", 2, "--baudrate", 9600)

    assert found.returncode == 0, found.stderr
    assert f'protocol = "{protocol}"' in found.stdout
    assert "9600 8N1" in found.stderr


@pytest.mark.parametrize(("kind", "protocol"), [("meter", "modbus"), ("meter", "iec62056"), ("pump", "sdi12")])
def test_probe_asks_one_that_waits(kind: str, protocol: str, tmp_path: Path):
    with Board(kind, tmp_path / "tty", protocol=protocol):
        found = port("probe", tmp_path / "tty", "--seconds", 0.2, "--baudrate", 9600, "--ask")

    assert found.returncode == 0, found.stderr
    assert f'protocol = "{protocol}"' in found.stdout


def test_probe_of_silence_says_so():
    master, slave = os.openpty()

    found = port("probe", os.ttyname(slave), "--seconds", 0.2, "--baudrate", 9600)
    os.close(master)
    os.close(slave)

    assert (found.returncode, found.stdout) == (1, "")
    assert "silence" in found.stderr
    assert "needs --ask" in found.stderr


def test_tail_shows_lines_with_their_time(tmp_path: Path):
    with Board("freezer", tmp_path / "tty", rate=20):
        text = port("tail", tmp_path / "tty", "--seconds", 1).stdout.splitlines()
        rows = port("tail", tmp_path / "tty", "--seconds", 1, "--hex").stdout.splitlines()

    assert len(text) > 5
    assert text[2].count(":") == 2
    assert text[2].count(",") == 5
    assert " 2c " in rows[2]


def test_a_port_that_is_not_there_is_told_in_a_sentence():
    found = port("tail", "/dev/there-is-none")

    assert found.returncode == 1
    assert found.stderr.startswith("Error: /dev/there-is-none: ")


CSV = 'format = "csv", columns = [{ name = "n", unit = "1" }, { name = "temp", unit = "Cel" }, {}, {}, {}, {}]'
MODBUS = """protocol = "modbus"
[source.modbus]
every_s = 0.1
[[source.modbus.slaves]]
id = 1
registers = [{ name = "power", address = 3, type = "i32", unit = "W" }]"""
IEC62056 = """protocol = "iec62056"
[source.iec62056]
every_s = 1
values = [{ code = "1.8.0", name = "energy", unit = "kW.h" }]"""
SDI12 = """protocol = "sdi12"
[source.sdi12]
every_s = 1
crc = true
[[source.sdi12.probes]]
address = "0"
values = [{ name = "pressure", unit = "bar" }]"""
SOURCES = {
    "csv": ("freezer", {"rate": 20}, f'protocol = "lines"\nlines = {{ {CSV} }}', "d.temp"),
    "modbus": ("meter", {}, MODBUS, "d.power"),
    "iec62056": ("meter", {"protocol": "iec62056"}, IEC62056, "d.energy"),
    "sdi12": ("pump", {"protocol": "sdi12"}, SDI12, "d.pressure"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_capture_of_a_source_replays_to_readings(name: str, tmp_path: Path):
    kind, options, source, series = SOURCES[name]
    config, capture = tmp_path / "config.toml", tmp_path / "a.capture"
    config.write_text(f'[[source]]\nname = "d"\nport = "{tmp_path / "tty"}"\n{source}\n')
    with Board(kind, tmp_path / "tty", **options):
        captured = port("capture", "--config", config, "--seconds", 3, "-o", capture)
    assert captured.returncode == 0, captured.stderr

    found = port("replay", capture, "--config", config)

    assert found.returncode == 0, found.stderr
    readings = [json.loads(line) for line in found.stdout.splitlines()]
    assert {one["series"] for one in readings} >= {series}
    assert "0 errors." in found.stderr
    times = [one["t_us"] for one in readings]
    assert times == sorted(times)
    assert len([one for one in readings if one["series"] == series]) >= 2
    assert port("replay", capture, "--config", config).stdout == found.stdout


def test_a_passive_capture_replays_too_and_what_is_no_capture_is_told(tmp_path: Path):
    config, capture = tmp_path / "config.toml", tmp_path / "a.capture"
    config.write_text(f'[[source]]\nname = "d"\nport = "/dev/x"\n{SOURCES["csv"][2]}\n')
    with Board("freezer", tmp_path / "tty", rate=20):
        capture.write_text(port("capture", tmp_path / "tty", "--seconds", 1).stdout)

    found = port("replay", capture, "--config", config, "--source", "d")
    other = port("replay", config, "--config", config)
    nobody = port("replay", capture, "--config", config, "--source", "e")

    assert len(found.stdout.splitlines()) > 10
    assert (other.returncode, "line 1: no header of a capture" in other.stderr) == (1, True)
    assert "has no source 'e'." in nobody.stderr
