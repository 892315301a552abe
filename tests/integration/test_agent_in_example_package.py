"""The example package of docs/extend/protocol.md, installed as a user would, reads a capture of its scale."""

import json
import os
import subprocess
import sys
from pathlib import Path

from agent.core.capture import Entry, Header, entry_line, header_line
from agent.ports import PortSettings

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "fieldline-acme"
CONFIG = """
[[source]]
name = "scale"
port = "/dev/ttyUSB0"
protocol = "acme"
acme = { unit = "kg", every_s = 0.5 }
"""


def test_it_installs_and_is_found_and_read_with_its_own_line(tmp_path: Path):
    packages, config, capture = tmp_path / "packages", tmp_path / "config.toml", tmp_path / "scale.capture"
    install = [sys.executable, "-m", "uv", "pip", "install", "--offline", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, "--target", str(packages), str(EXAMPLE)], check=True, capture_output=True)
    config.write_text(CONFIG)
    entries = [
        Entry(0.0, tx=b"W"),
        Entry(0.1, rx=b"\x57\x30"),
        Entry(0.2, rx=b"\x39\xc0"),
        Entry(0.5, tx=b"W"),
        Entry(0.6, rx=b"\x57\x30\x39\x00\xff"),
        Entry(1.0, tx=b"W"),
        Entry(1.1, rx=b"\x57\x00\x64\xbb"),
    ]
    header = Header(PortSettings("/dev/ttyUSB0", 2400, 7, "even"), 1_763_791_200_000_000)
    capture.write_text("\n".join([header_line(header), *map(entry_line, entries), ""]))

    done = subprocess.run(
        [sys.executable, "-m", "agent.cli", "port", "replay", str(capture), "--config", str(config)],
        env={**os.environ, "PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    readings = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["series"], one["unit"], one["t"], one["v"]) for one in readings] == [
        ("scale.mass", "kg", "2025-11-22T06:00:00.100Z", 12.345),
        ("scale.mass", "kg", "2025-11-22T06:00:01.100Z", 0.1),
    ]
    assert done.stderr == "2 readings, 1 errors. The last: no answer.\n"
