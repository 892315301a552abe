"""The server's disk is full, for real: it refuses and says why, devices keep their data, and it goes on by itself."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from agents import until
from databases import postgres
from killing import Doomed, swarming

pytestmark = [pytest.mark.xdist_group("loss"), pytest.mark.timeout(240)]

MIB = 2**20
FOR_S = 16.0
FULL_S = 3.0  # long enough for every device to call
REFUSALS = ("gateway: 503", "link: no ack in time")  # SQLite's log may have room for some calls: which, is chance
SWARM = ("--devices", "20", "--series", "4", "--every", "0.2s", "--road", "half")


@dataclass(frozen=True, slots=True)
class Small:
    """A file system of some megabytes that can be filled."""

    folder: Path

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"

    def fill(self) -> None:
        """Leave not one byte."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (MIB, 4096, 1):
                with suppress(OSError):
                    while True:
                        file.write(b"\0" * size)

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink()


@contextmanager
def small(size_mib: int) -> Iterator[Small]:
    folder = Path(tempfile.mkdtemp(prefix="fieldline-small-"))  # PostgreSQL's own user must reach it
    folder.chmod(0o755)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=755", "tmpfs", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        why = f"NOT TESTED: needs root and tmpfs to fill a disk: {done.stderr.strip()}"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    try:
        yield Small(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_full_disk_is_told_loses_nothing_and_is_recovered_from(kind: str, tmp_path: Path):
    with ExitStack() as stack:
        disk = stack.enter_context(small(48 if kind == "sqlite" else 256))
        data, options = disk.folder / "data", ["--sync-every", "0.5"]
        if kind == "postgresql":
            url = stack.enter_context(postgres(18, where=disk.folder))
            data, options = tmp_path / "data", [*options, "--database", url]
        server = Doomed(data, options, tmp_path / "log")
        server.start()
        stack.callback(server.end, 15)
        with swarming(server, FOR_S, *SWARM) as report:
            until(lambda: server.tally() != "", "the swarm sends")
            disk.fill()
            refused = until(lambda: _refusal(server), "the API refuses to write")
            time.sleep(FULL_S)
            still = _refusal(server)
            readable = _asked(server, "GET", "devices?limit=1").status_code
            disk.free()
            until(lambda: _asked(server, "POST", "claims").is_success, "the API writes again")
        told = server.doctor()
        running = server.process is not None and server.process.poll() is None

    assert (refused["status"], still is not None, readable, running) == (503, True, 200, True)
    assert "disk is full" in refused["detail"]
    assert "Free space on the server" in refused["hint"]
    assert report["verdict"]["clean"], report["verdict"]
    assert report["verdict"]["acked"] == report["verdict"]["stored"] > 0
    assert sum(report["errors"].get(refusal, 0) for refusal in REFUSALS) > 0
    assert report["counts"]["batches"] > report["counts"]["acks"]
    assert [one for one in told["findings"] if one["level"] == "fail" and one["check"] != "disk"] == []


def _asked(server: Doomed, method: str, path: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {server.environment['FLEET_TOKEN']}"}
    body = {"product": "freezer"} if method == "POST" else None
    return httpx.request(method, f"{server.url}/api/v1/{path}", headers=headers, json=body, trust_env=False, timeout=30)


def _refusal(server: Doomed) -> dict[str, Any] | None:
    """What the API says when it cannot write, None if it can."""
    answer = _asked(server, "POST", "claims")
    if answer.is_success:
        return None
    assert answer.headers["Retry-After"]
    found: dict[str, Any] = answer.json()
    return found
