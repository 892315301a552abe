"""A tired card, end to end: the real agent on a disk that fails under it, and the real fleet that has to know."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agents import Board, board, running, until
from fleet_process import Server, enrolled

MIB = 2**20


@pytest.fixture
def port() -> Iterator[Board]:
    with board() as it:
        yield it


class Card:
    """An ext4 card of its own, which can fail as a card does: the kernel makes it read-only under whoever writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "card"
        self.folder.mkdir()
        self._image = folder / "card.img"
        self._run("truncate", "-s", str(48 * MIB), self._image)
        self._run("mkfs.ext4", "-q", self._image)
        self._run("mount", "-o", "loop", self._image, self.folder)

    def fail(self) -> None:
        """Do what an error on the card makes the kernel do (ext4(5), `abort`)."""
        self._run("mount", "-o", "remount,abort", self.folder)

    def replace(self) -> None:
        """Mount what is on it anew, as after a repair; those who hold its files go on holding the old ones."""
        again = self._image.with_name("again.img")
        shutil.copyfile(self._image, again)
        self.remove()
        with contextlib.suppress(subprocess.CalledProcessError):  # 1: it mended something
            self._run("e2fsck", "-p", again)
        self._run("mount", "-o", "loop", again, self.folder)

    def remove(self) -> None:
        """Take it away, whoever holds files of it."""
        self._run("umount", "-l", self.folder)

    @staticmethod
    def _run(*command: object) -> None:
        subprocess.run([str(word) for word in command], check=True, capture_output=True)


@pytest.fixture
def card(tmp_path: Path) -> Iterator[Card]:
    try:
        made = Card(tmp_path)
    except (OSError, subprocess.CalledProcessError) as error:
        why = f"needs root, loop devices and ext4 to make a disk fail: {error}"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    yield made
    made.remove()


def seed(tmp_path: Path, port: Board) -> str:
    path = tmp_path / "first.toml"
    path.write_text(port.config("[agent]\nflush_s = 0.05"))
    return str(path)


def arrived(server: Server, device: str) -> list[int]:
    return [it["v"] for it in server.get(f"/devices/{device}/readings?series=board.n&limit=10000")["items"]]


def events(server: Server, device: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.get(f"/events?device={device}&limit=500")["items"]
    return found


def test_a_disk_that_turns_read_only_is_survived_told_and_recovered_from(
    fleet_server: Server, port: Board, card: Card, tmp_path: Path
):
    device = enrolled(fleet_server, card.folder / "state")
    with running(card.folder / "state", "--config", seed(tmp_path, port)) as agent:
        until(lambda: agent.status()["sources"][0]["connected"], "the port is open")
        port.say(20)
        until(lambda: arrived(fleet_server, device) == list(range(20)), "what was read is in the fleet")

        card.fail()
        port.say(20)
        problem = until(lambda: agent.status()["buffer"]["problem"], "the agent tells that nothing can be stored")
        port.say(20)
        assert agent.process.poll() is None

        card.replace()
        until(lambda: len(arrived(fleet_server, device)) == 60, "what was read meanwhile is in the fleet")
        told = until(
            lambda: [it["text"] for it in events(fleet_server, device) if it["kind"] == "buffer.recovered"],
            "the fleet is told",
        )

        assert "buffer.db cannot be written" in problem
        assert "can be again" in told[0]
        assert arrived(fleet_server, device) == list(range(60))


def spoil_the_middle(path: Path, count: int) -> None:
    """Overwrite pages that hold rows of readings, in the middle of those that there are."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        pages = [
            page for (page,) in db.execute("SELECT pageno FROM dbstat WHERE name = 'segment' AND pagetype = 'leaf'")
        ]
        size = db.execute("PRAGMA page_size").fetchone()[0]
    at = len(pages) * 2 // 3
    assert len(pages) > 3 * count
    with path.open("r+b") as file:
        for page in pages[at : at + count]:
            file.seek((page - 1) * size)
            file.write(b"\xa5" * size)


def store_id(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return str(db.execute("SELECT value FROM value WHERE key = 'store_id'").fetchone()[0])


def test_a_buffer_that_was_damaged_while_the_agent_was_off_loses_what_cannot_be_read_and_no_more(
    fleet_server: Server, port: Board, tmp_path: Path
):
    state, first = tmp_path / "state", seed(tmp_path, port)
    device = enrolled(fleet_server, state)
    with running(state, "--config", first) as agent:
        until(lambda: agent.status()["sources"][0]["connected"], "the port is open")
        port.say(100)
        until(lambda: len(arrived(fleet_server, device)) == 100, "the first are in the fleet")
        agent.stop()

    fleet_server.process.send_signal(signal.SIGSTOP)
    try:
        with running(state, "--config", first) as agent:
            until(lambda: agent.status()["sources"][0]["connected"], "the port is open")
            for _ in range(60):
                port.say(10)
                time.sleep(0.06)  # rows of their own: a commit each
            until(lambda: agent.status()["buffer"]["readings"] >= 1200, "all wait in the buffer")
            agent.stop(signal.SIGKILL)
    finally:
        fleet_server.process.send_signal(signal.SIGCONT)
    before = store_id(state / "buffer.db")
    spoil_the_middle(state / "buffer.db", 3)

    with running(state, "--config", first) as agent:
        until(lambda: agent.status()["buffer"]["rows"] == 0, "the fleet has all that was left")
        told = events(fleet_server, device)
        found = arrived(fleet_server, device)

    lost = set(range(700)) - set(found)
    gaps = fleet_server.get(f"/devices/{device}/gaps")["items"]
    assert (state / "buffer.db.damaged").exists()
    assert store_id(state / "buffer.db") != before
    assert next(it["text"] for it in told if it["kind"] == "buffer.damaged").startswith("The buffer was damaged")
    assert 0 < len(lost) < 400  # three pages; how many lines a row holds depends on how busy the machine is
    assert sorted(found) == sorted(set(found))
    assert sum(gap["count"] or 0 for gap in gaps) == 2 * len(lost)  # each line is two readings
