"""After an outage of the real server: what is newest and what happened come first, then the backlog from its oldest.

The fleet's own tables tell in which order they were written: triggers keep a note of each write while it goes on.
"""

import json
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise

import pytest

from agent.adapters.local_api import ask
from agent.errors import Unavailable
from firmware_sim.scenarios.cast import FREEZER, config
from firmware_sim.scenarios.stage import Stage
from firmware_sim.scenarios.world import SERVER, Board, World

pytestmark = [pytest.mark.xdist_group("fresh"), pytest.mark.timeout(240)]

DEVICE = "freezer-1"
S = 1_000_000
BACKLOG_BYTES = 100_000  # what waits: more than the first batch carries (STEADY_BATCH_BYTES)
COLUMNS, _, _ = FREEZER.partition("\n[[rule]]")
RULE = """
[[rule]]
name = "warm"
series = "board.temp"
above = -10.0
hold_s = 0
[agent]
flush_s = 0.2
"""

NOTES = """
CREATE TABLE written (n INTEGER PRIMARY KEY, what TEXT, from_us INTEGER, to_us INTEGER);
CREATE TRIGGER written_batch AFTER INSERT ON batch
BEGIN INSERT INTO written (what, from_us, to_us) VALUES ('batch', NEW.from_us, NEW.to_us); END;
CREATE TRIGGER written_event AFTER INSERT ON event
BEGIN INSERT INTO written (what, from_us, to_us) VALUES (NEW.kind, NEW.t_us, NEW.received_us); END;
CREATE TRIGGER written_latest AFTER UPDATE ON latest
BEGIN INSERT INTO written (what, from_us, to_us)
SELECT 'latest', max(json_extract(value, '$[0]')), 0 FROM json_each(NEW.body); END;
"""


@dataclass(frozen=True, slots=True)
class Written:
    """One write at the fleet; `from_us` is the oldest reading of a batch, an event's date, the newest of the latest."""

    what: str
    from_us: int
    to_us: int


def noting(world: World) -> None:
    with closing(sqlite3.connect(world.data / "fieldline.db")) as db:
        db.executescript(NOTES)


def written(world: World) -> list[Written]:
    with closing(sqlite3.connect(world.data / "fieldline.db", timeout=30)) as db:
        return [Written(*row) for row in db.execute("SELECT what, from_us, to_us FROM written ORDER BY n")]


def has_backlog(world: World) -> bool:
    """Tell whether more waits than a batch carries, an alarm among it."""
    socket = world.state(DEVICE) / "agent.sock"
    try:
        waits = json.loads(ask(socket, "status"))["buffer"]["bytes"]
        alarms = json.loads(ask(socket, "alarms"))["items"]
        return bool(waits > BACKLOG_BYTES and any(it["phase"] == "active" for it in alarms))
    except Unavailable:
        return False


def test_after_an_outage_the_fleet_has_newest_values_and_alarms_before_the_backlog_which_comes_oldest_first():
    with Stage() as stage, World(stage, "--sync-every", "1") as world:
        world.start_server()
        world.enrol(DEVICE, "freezer")
        world.start_board(DEVICE, Board("freezer", "csv", rate_hz=500))
        world.start_agent(DEVICE, config(world.port(DEVICE), COLUMNS + RULE))
        stage.wait_for("readings", lambda: (world.fleet.get(f"/api/v1/devices/{DEVICE}") or {})["latest"], most_s=60)
        stage.send(SERVER, signal.SIGKILL)
        noting(world)
        gone_us = time.time_ns() // 1000
        world.fault(DEVICE, "overheat")
        stage.wait_for("a backlog", lambda: has_backlog(world), most_s=60)
        world.kill_agent(DEVICE)  # which makes an outage of what lasted for less than 15 s
        back_us = time.time_ns() // 1000
        world.start_server()

        def drained() -> list[Written]:
            found = written(world)
            return found if any(it.what == "batch" and it.to_us > back_us for it in found) else []

        found = stage.wait_for("the backlog has drained", drained, most_s=60)

    batches = [it for it in found if it.what == "batch"]
    before = found[: found.index(batches[0])]
    (alarm,) = [it for it in found if it.what == "alarm.raised"]
    assert gone_us < alarm.from_us < back_us
    assert alarm in before
    assert not [
        it for it in found[len(before) :] if gone_us < it.from_us < back_us and it.what not in {"batch", "latest"}
    ]
    assert max(it.from_us for it in before if it.what == "latest") > back_us
    assert len([it for it in batches if it.from_us < back_us]) > 1
    assert batches[0].from_us < gone_us + S
    assert all(one.to_us <= two.from_us for one, two in pairwise(batches))
