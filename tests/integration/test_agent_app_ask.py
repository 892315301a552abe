"""The agent's answers on its machine: over the socket while it runs, from its files when it does not."""

import asyncio
import csv
import json
import signal
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agents import Board, RunningAgent, board, call, running, until
from est_server import EstServer

from agent.adapters import lookup
from agent.adapters.buffer import Buffer
from agent.adapters.clock import SystemClock
from agent.adapters.enrol import enrol
from agent.adapters.local_api import answering, ask
from agent.core.answers import ReadingsQuestion
from agent.core.export import Format, batched, reading_line
from agent.core.outbox import Columns, Moment
from agent.errors import Unavailable
from agent.ports import Reading
from agent.settings import StateDir
from agent.wire.messages import Clock, Lane

RULE = """
[agent]
flush_s = 0.1
[[rule]]
name = "too-warm"
series = "board.temp"
above = -5.0
hold_s = 0
severity = "critical"
"""
START_US = 1_800_000_000_000_000


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    folder = tmp_path / "est"
    folder.mkdir()
    found = StateDir(tmp_path / "state")
    with EstServer(folder).serving() as est:
        enrol(est.claim, found, SystemClock().now_us())
    return found


@pytest.fixture
def port() -> Iterator[Board]:
    with board() as it:
        yield it


def told(state: StateDir, *args: str) -> dict[str, Any]:
    done = call(*args, "--state", str(state.root), "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def read(agent: RunningAgent, port: Board, lines: int, temp: float = -18.5) -> None:
    """Have lines read and committed."""
    until(lambda: agent.status()["sources"][0]["connected"], "the port is open")
    before = agent.status()["buffer"]["readings"]
    port.say(lines, temp)
    until(lambda: agent.status()["buffer"]["readings"] == before + 2 * lines, "all is committed")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_the_answers_are_the_same_while_it_runs_and_after(state: StateDir, port: Board, tmp_path: Path, how: int):
    (tmp_path / "first.toml").write_text(port.config(RULE))
    with running(state.root, "--config", str(tmp_path / "first.toml")) as agent:
        read(agent, port, 5, temp=4.0)
        until(lambda: told(state, "alarms")["items"], "the alarm is on the disk")
        live = [told(state, *words) for words in (["latest"], ["readings"], ["alarms"], ["buffer"])]
        agent.stop(how)

    after = [told(state, *words) for words in (["latest"], ["readings"], ["alarms"], ["buffer"])]

    assert [it["running"] for it in (*live, *after)] == [True] * 4 + [False] * 4
    assert [it["v"] for it in live[0]["items"]] == [4, 4.0]
    assert [it["v"] for it in live[1]["items"] if it["series"] == "board.n"] == [0, 1, 2, 3, 4]
    assert [(it["rule"], it["phase"], it["severity"]) for it in live[2]["items"]] == [
        ("too-warm", "active", "critical")
    ]
    assert live[3]["lanes"][1]["readings"] == 10
    assert [it["items"] for it in live[:3]] == [it["items"] for it in after[:3]]
    assert after[3]["lanes"][1]["readings"] == 10


def test_other_programs_ask_with_one_line(state: StateDir, port: Board, tmp_path: Path):
    (tmp_path / "first.toml").write_text(port.config(RULE))
    with running(state.root, "--config", str(tmp_path / "first.toml")) as agent:
        read(agent, port, 5)
        two = json.loads(ask(state.socket, 'readings {"series":"board.n","limit":2}'))
        bad = json.loads(ask(state.socket, 'readings {"limit":0}'))
        no_json = json.loads(ask(state.socket, "readings what?"))
        unknown = json.loads(ask(state.socket, "reboot"))

    assert [it["v"] for it in two["items"]] == [3, 4]
    assert two["more"] is True
    assert bad == {"error": "$.limit: 0 is not within 1…10000"}
    assert no_json == {"error": "$: not JSON"}
    assert unknown == {"error": "unknown question; known: status, config, latest, readings, alarms, buffer, log"}


def test_an_answer_that_fails_is_an_error_and_no_end(tmp_path: Path):
    async def fails(_asked: bytes) -> bytes:
        raise Unavailable("The disk is gone.")

    async def main() -> bytes:
        async with answering(tmp_path / "s.sock", {"fails": fails}):
            return await asyncio.to_thread(ask, tmp_path / "s.sock", "fails")

    assert json.loads(asyncio.run(main())) == {"error": "The disk is gone."}


def test_people_are_shown_the_same(state: StateDir, port: Board, tmp_path: Path):
    (tmp_path / "first.toml").write_text(port.config(RULE))
    with running(state.root, "--config", str(tmp_path / "first.toml")) as agent:
        read(agent, port, 3)
        shown = {
            word: call(word, "--state", str(state.root)).stdout for word in ("latest", "readings", "alarms", "buffer")
        }

    assert "board.temp                           -18.5  Cel" in shown["latest"]
    assert shown["readings"].count("board.temp") == 3
    assert shown["alarms"] == "No rule has anything to tell.\n"
    assert "6 readings wait" in shown["buffer"]


def test_a_directory_that_is_not_there_is_told(tmp_path: Path):
    done = call("latest", "--state", str(tmp_path / "nowhere"))

    assert done.returncode == 1
    assert "--state" in done.stderr


def test_the_last_lines_of_the_log_are_kept_in_memory(state: StateDir):
    with running(state.root):
        shown = call("log", "--state", str(state.root))
        two = told(state, "log", "--lines", "1")
    gone = call("log", "--state", str(state.root))

    assert 'level=info from=app msg="the agent' in shown.stdout
    assert len(two["lines"]) == 1
    assert gone.returncode == 1
    assert "journalctl -u fleet-agent" in gone.stderr


# Export.


async def fill(path: Path, readings: int, series: int = 4) -> None:
    """Commit readings of several series, each a segment a second."""
    async with Buffer.open(path) as buffer:
        columns, seq = Columns(), 1
        for first in range(0, readings, 2000):
            columns.add(
                Reading(f"board.s{i % series}", "Cel", START_US + i * 1000, i / 8) for i in range(first, first + 2000)
            )
            rows = columns.cut(seq, Moment(START_US, 0, "boot", Clock.SYNCED))
            seq += len(rows)
            await buffer.commit(rows, {})


@pytest.fixture
def filled(tmp_path: Path) -> StateDir:
    state = StateDir(tmp_path)
    asyncio.run(fill(state.buffer, 20_000))
    return state


def test_all_readings_are_exported_to_csv_in_order_and_nothing_is_taken(filled: StateDir, tmp_path: Path):
    before = filled.buffer.read_bytes()
    done = call("buffer", "--state", str(tmp_path), "export", str(tmp_path / "out.csv"))
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    assert done.returncode == 0, done.stderr
    assert "20000 readings are in" in done.stdout
    assert sorted(float(row["value"]) for row in rows) == [i / 8 for i in range(20_000)]
    assert [row["t_us"] for row in rows if row["series"] == "board.s1"] == sorted(
        row["t_us"] for row in rows if row["series"] == "board.s1"
    )
    assert filled.buffer.read_bytes() == before


def test_a_range_of_one_series_goes_to_standard_output_as_ndjson(filled: StateDir):
    done = call(
        "buffer", "--state", str(filled.root), "export", "-", "--format", "ndjson", "--series", "board.s1",
        "--from", "2027-01-15T08:00:01Z", "--to", "2027-01-15T08:00:01.009Z",
    )  # fmt: skip

    assert [json.loads(line)["v"] for line in done.stdout.splitlines()] == [1001 / 8, 1005 / 8, 1009 / 8]


def test_only_what_waits_is_exported_if_asked(filled: StateDir):
    async def ack() -> None:
        async with Buffer.open(filled.buffer) as buffer:
            await buffer.give_up(Lane.TELEMETRY, 9)

    asyncio.run(ack())
    done = call("buffer", "--state", str(filled.root), "export", "-", "--format", "ndjson", "--waiting")

    assert done.stdout.count("\n") == 2000


def test_a_file_that_is_there_is_not_written_over(filled: StateDir, tmp_path: Path):
    out = tmp_path / "out.csv"
    out.write_text("mine")

    refused = call("buffer", "--state", str(tmp_path), "export", str(out))
    nameless = call("buffer", "--state", str(tmp_path), "export", str(tmp_path / "out"))
    forced = call("buffer", "--state", str(tmp_path), "export", str(out), "--force")

    assert (refused.returncode, nameless.returncode, forced.returncode) == (1, 2, 0)
    assert "--force" in refused.stderr
    assert "--format" in nameless.stderr
    assert filled.buffer.exists()


def test_a_full_stick_leaves_no_file_that_looks_whole(filled: StateDir):
    done = call("buffer", "--state", str(filled.root), "export", "/dev/full/x.csv")
    gone = list(filled.root.glob("*.part"))

    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert gone == []


def test_an_export_needs_little_memory_however_much_waits(filled: StateDir):
    question = ReadingsQuestion()

    def lines() -> Iterator[str]:
        for segment in lookup.segments(filled.buffer, 0, 2**62):
            for reading in lookup.readings_of(segment, question):
                yield reading_line(Format.CSV, reading, segment.clock)

    tracemalloc.start()
    size = sum(map(len, batched(lines(), 64 * 1024)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert size > 1_000_000
    assert peak < 3_000_000
