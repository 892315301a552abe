"""`fleet doctor` finds what is damaged, says which device it is about, and finds nothing where all is well."""

import asyncio
import json
import sqlite3
from collections.abc import Coroutine, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
from batches import T0_US, segment, telemetry
from click.testing import CliRunner
from desks import DEVICE, a_desk, announce
from fleet_process import serving
from fleets import Fleet, a_fleet
from seals import seal_some

from agent.wire.messages import AlarmState
from fleet.cli import main
from fleet.core.actor import Scope
from fleet.core.finding import Finding, Level
from fleet.core.lane import Run, troubles, unexplained
from fleet.store.examine import sealed
from fleet.store.examine.run import CHECKS, examine

pytest_plugins = ("databases",)

T = TypeVar("T")
S_US = 1_000_000
JOBS = {"sealing": 5.0}


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 100))


async def filled(fleet: Fleet) -> None:
    """A device with sealed readings of two series, a gap, batches that wait, alarms and tickets."""
    rows = [segment(1, [1.0, 2.5]), segment(2, [3.0, 4.0], series="board.hum"), segment(3, [5.0])]
    await fleet.take(telemetry(rows))
    await seal_some(fleet.db, DEVICE, T0_US)
    await fleet.take(telemetry([segment(4, [7.0])]))
    await fleet.take(telemetry([segment(7, [8.0])], prev_seq=4))
    await fleet.take(telemetry([segment(8, [9.0])]))
    await announce(fleet, at_us=T0_US)
    await announce(fleet, AlarmState.CLEARED, at_us=T0_US + S_US)
    await announce(fleet, at_us=T0_US + 2 * S_US, rule="too-cold")


def damage(url: str, statements: Sequence[str]) -> None:
    """Do what no release would do, past every constraint that can be passed."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as conn, conn:
            for statement in statements:
                conn.execute(statement)
        return
    with psycopg.connect(url.replace("+psycopg", "")) as conn:
        conn.execute("SET session_replication_role = replica")
        for statement in statements:
            conn.execute(statement)


def findings(url: str, statements: Sequence[str] = (), *, deep: bool = False, jobs: dict[str, float] | None = None):
    async def story() -> list[Finding]:
        async with a_fleet(url) as fleet:
            await filled(fleet)
            damage(url, statements)
            asked = {"now_us": fleet.clock.now_us, "deep": deep, "jobs": jobs or {}}
            return [finding async for finding in examine(fleet.db, **asked)]

    return run(story())


@pytest.mark.parametrize("deep", [False, True])
def test_a_sound_database_gives_no_trouble_and_an_answer_a_check(database_url: str, *, deep: bool):
    found = findings(database_url, deep=deep)

    assert {one.level for one in found if one.check != "parts"} == {Level.OK}  # the clock of the test stands still
    assert list(dict.fromkeys(one.check for one in found)) == list(dict.fromkeys(check.name for check in CHECKS))
    assert "1 marks" in next(one.said for one in found if one.check == "marks")


DAMAGE = {
    "an index is gone": ("DROP INDEX ix_alarm_state", "schema", "The index ix_alarm_state of the table alarm"),
    "a column is gone": ("ALTER TABLE token DROP COLUMN expires_us", "schema", "token.expires_us is missing"),
    "a schema of another release": ("UPDATE alembic_version SET version_num = '0001'", "schema", "has schema 0001"),
    "a device is gone": ("DELETE FROM device", "database", f"device {DEVICE}, which is not"),
    "a mark went back": ("UPDATE mark SET seq = 6", "marks", "rows up to 8 are there and the mark is 6"),
    "a mark is gone": ("DELETE FROM mark", "marks", "no mark says so"),
    "a batch is there twice": (
        (
            "INSERT INTO batch (device_id, store_id, first_seq, last_seq, from_us, to_us, readings, received_us, body)"
            " SELECT device_id, store_id, first_seq, last_seq, from_us, to_us, readings, received_us, body FROM batch"
            " WHERE first_seq = 7"
        ),
        "marks",
        "rows 7…7 are there twice",
    ),
    "a gap is gone": ("DELETE FROM gap", "marks", "rows 5…6 are missing and no gap says so"),
    "a batch is gone": ("DELETE FROM batch WHERE first_seq = 8", "marks", "rows 8…8 are missing"),
    "a batch is cut": ("UPDATE batch SET body = substr(body, 1, 30)", "batches", "cannot be read"),
    "a batch counts wrong": ("UPDATE batch SET readings = 5", "batches", "other than its row says"),
    "a latest value is old": (
        """UPDATE latest SET body = '{"board.temp":[5,1.0,"Cel"]}'""",
        "latest",
        "older than its newest reading",
    ),
    "chunks overlap": (
        "INSERT INTO chunk SELECT device_id, sensor, from_us + 1, part, to_us, rows, readings, body FROM chunk",
        "chunks",
        "overlaps the one before it",
    ),
    "a chunk crosses its day": ("UPDATE chunk SET to_us = from_us + 86400000000", "chunks", "not within the day"),
    "a chunk counts wrong": ("UPDATE chunk SET readings = readings + 1", "chunks", "holds 3 rows, 5 readings"),
    "a chunk is cut": ("UPDATE chunk SET body = substr(body, 1, 40)", "chunks", "its CRC-32 is another"),
    "a window is another's": (
        (
            "UPDATE rollup SET body = (SELECT body FROM rollup WHERE series = 'board.hum' AND step_s = 900)"
            " WHERE series = 'board.temp' AND step_s = 900"
        ),
        "rollups",
        "board.temp: the windows of 15 minutes are not what its readings say",
    ),
    "a day is gone": ("DELETE FROM rollup WHERE step_s = 86400", "rollups", "the day is not what its windows"),
    "a window is left over": ("DELETE FROM chunk", "rollups", "not what its readings say"),
    "an alarm was opened by hand": (
        "UPDATE alarm SET state = 'active' WHERE rule = 'too-warm'",
        "alarms",
        "is active, its events say cleared",
    ),
    "an alarm has no event": ("DELETE FROM event WHERE noun = 'alarm'", "alarms", "no event that raised it"),
    "a ticket was moved by hand": (
        "UPDATE ticket SET state = 'closed' WHERE state = 'verifying'",
        "tickets",
        "is closed, its events say verifying",
    ),
    "a ticket has no event": ("DELETE FROM event WHERE kind = 'ticket.opened'", "tickets", "no event that opened it"),
    "a lease is held for ever": (
        "INSERT INTO lease VALUES ('sealing', 'node-1', 9000000000000000000)",
        "jobs",
        "held by node-1",
    ),
    "a lease ran out": ("INSERT INTO lease VALUES ('sealing', 'node-1', 5)", "jobs", "nobody has taken it since"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_found(case: str, database_url: str):
    statement, check, said = DAMAGE[case]

    found = findings(database_url, [statement])

    failed = [one for one in found if one.level is Level.FAIL and one.check == check]
    assert [one for one in failed if said in one.said and one.do] != []
    about_devices = [one.device_id for one in failed if DEVICE in one.said]
    assert set(about_devices) <= {DEVICE}


@pytest.mark.parametrize(
    ("table", "index", "check", "said"),
    [
        ("alarm", "uq_alarm_open", "alarms", f"2 alarms too-cold on board.temp of {DEVICE} are open at once"),
        ("ticket", "uq_ticket_open", "tickets", f"2 tickets of {DEVICE} are open for one trouble"),
    ],
)
def test_what_is_open_twice_is_found(table: str, index: str, check: str, said: str, database_url: str):
    columns = {
        "alarm": "device_id, series, rule, origin, severity, state, condition, value, first_bad_us, raised_us,"
        " changed_us, received_us, count",
        "ticket": "device_id, correlation, title, severity, state, first_bad_us, opened_us, changed_us, evidence",
    }[table]
    twice = f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {table} WHERE state NOT IN ('cleared', 'verifying')"  # noqa: S608 - a test's own

    found = findings(database_url, [f"DROP INDEX {index}", twice])

    assert [one for one in found if one.check == check and said in one.said] != []


def test_an_index_that_postgresql_does_not_use_is_found(postgresql_url: str):
    broken = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_event_device_id_t_us'::regclass"
    loose = "ALTER TABLE token ADD CONSTRAINT named CHECK (name <> '') NOT VALID"

    found = findings(postgresql_url, [broken, loose])

    said = [one.said for one in found if one.level is Level.FAIL and one.check == "database"]
    assert ["ix_event_device_id_t_us" in said[0], "named of token" in said[1]] == [True, True]


def test_a_part_that_nobody_made_is_a_warning(postgresql_url: str):
    async def story() -> list[Finding]:
        async with a_fleet(postgresql_url) as fleet:
            years_us = 10 * 365 * 24 * 3600 * S_US
            late = examine(fleet.db, now_us=fleet.clock.now_us + years_us, deep=False, jobs={})
            return [finding async for finding in late]

    found = [one for one in run(story()) if one.check == "parts"]

    assert [one.level for one in found] == [Level.WARN, Level.WARN]
    assert "chunk_rest" in found[0].said


def test_a_torn_page_is_found_and_the_rest_is_still_looked_at(sqlite_url: str, tmp_path: Path):
    async def story() -> list[Finding]:
        async with a_fleet(sqlite_url) as fleet:
            await filled(fleet)
        with closing(sqlite3.connect(tmp_path / "fleet.db")) as conn:
            conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            [[page]] = conn.execute("SELECT rootpage FROM sqlite_master WHERE name = 'note'")
            [[size]] = conn.execute("PRAGMA page_size")
        async with a_fleet(sqlite_url, devices=()) as fleet:
            with (tmp_path / "fleet.db").open("r+b") as file:
                file.seek((page - 1) * size)
                file.write(b"\xa5" * size)
            return [finding async for finding in examine(fleet.db, now_us=T0_US, deep=True, jobs={})]

    found = run(story())

    assert [one.check for one in found if one.level is Level.FAIL and "restore" in one.do] != []
    assert {"marks", "rollups", "tickets"} <= {one.check for one in found if one.level is Level.OK}


def test_quarantine_that_waits_and_a_job_that_nobody_does_are_warnings(sqlite_url: str):
    async def story() -> list[Finding]:
        async with a_fleet(sqlite_url) as fleet:
            await fleet.take(b"garbage")
            asked = {"now_us": fleet.clock.now_us, "deep": False, "jobs": JOBS}
            return [finding async for finding in examine(fleet.db, **asked)]

    found = {one.check: one for one in run(story())}

    assert (found["quarantine"].level, found["quarantine"].device_id) == (Level.WARN, DEVICE)
    assert (found["jobs"].level, "sealing" in found["jobs"].said) == (Level.WARN, True)


def test_batches_that_nobody_seals_are_a_warning(sqlite_url: str):
    async def story() -> list[Finding]:
        async with a_fleet(sqlite_url) as fleet:
            await fleet.take(telemetry([segment(1, [1.0])]))
            late_us = fleet.clock.now_us + 24 * 3600 * S_US
            return [finding async for finding in examine(fleet.db, now_us=late_us, deep=False, jobs={})]

    found = {one.check: one for one in run(story())}

    assert (found["sealing"].level, DEVICE in found["sealing"].said) == (Level.WARN, True)


def test_a_large_fleet_is_sampled_where_it_is_not_asked_deeply(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    names = tuple(f"freezer-{number:06d}" for number in range(7))
    monkeypatch.setattr("fleet.store.examine.check.SAMPLED_DEVICES", 3)
    monkeypatch.setattr(sealed, "DEVICES_INTO", 2)

    async def story() -> list[list[str]]:
        async with a_fleet(sqlite_url, devices=names) as fleet:
            for name in names:
                await fleet.take(telemetry([segment(1, [1.0])]), device_id=name)
                await seal_some(fleet.db, name, 1)
            damage(sqlite_url, ["UPDATE chunk SET body = substr(body, 1, 40)"])
            runs = []
            for deep in (False, True):
                all_of = [one async for one in examine(fleet.db, now_us=T0_US, deep=deep, jobs={})]
                runs.append(
                    [one.device_id or "" for one in all_of if one.check == "chunks" and one.level is Level.FAIL]
                )
            return runs

    some, all_of_them = run(story())

    assert some == [names[1], names[3], names[5]]
    assert all_of_them == list(names)


def test_findings_of_one_check_are_bounded_and_the_rest_is_counted(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fleet.store.examine.run.MAX_TOLD", 1)

    found = findings(
        sqlite_url, ["DROP INDEX ix_alarm_state", "DROP INDEX ix_ticket_state", "DROP INDEX ix_note_ticket_id"]
    )

    assert [one.level for one in found if one.check == "schema"] == [Level.FAIL, Level.WARN]
    assert "2 more" in next(one.said for one in found if one.level is Level.WARN)


def test_a_row_of_the_store_reads_as_it_must():
    kept = [Run(1, 4), Run(5, 9), Run(14, 20)]

    assert troubles(kept, 20) == []
    assert unexplained(kept, 20, [(10, 13)]) == []
    assert unexplained(kept, 22, [(11, 12)]) == [(10, 10), (13, 13), (21, 22)]
    assert unexplained([], 22, []) == []
    assert [said.partition(" are")[0] for said in troubles([Run(1, 4), Run(3, 9)], 8)] == ["rows 3…4", "rows up to 9"]


def test_the_command_tells_scripts_and_people(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    async def story() -> list[Any]:
        async with a_desk(sqlite_url) as desk:
            await filled(desk.fleet)

            async def doctor(*words: str, scope: Scope = Scope.ADMIN) -> Any:  # noqa: ANN401 - click's result
                env = {"FLEET_URL": desk.url, "FLEET_TOKEN": desk.secrets[scope]}
                return await asyncio.to_thread(CliRunner().invoke, main, ["doctor", *words], env=env)

            sound = await doctor("--json")
            damage(sqlite_url, ["DELETE FROM gap", "UPDATE device SET site = 'x\x1b[31m'"])
            return [sound, await doctor(), await doctor("--json", "--deep"), await doctor(scope=Scope.TECHNICIAN)]

    sound, told, as_json, refused = run(story())

    assert (sound.exit_code, json.loads(sound.output)["worst"]) == (0, "warn")  # the desk's clock is not this machine's
    assert told.exit_code == 1
    assert "fail  marks" in told.output
    assert "missing and no gap says so" in told.output
    assert (as_json.exit_code, json.loads(as_json.output)["worst"]) == (1, "fail")
    [broken] = [one for one in json.loads(as_json.output)["findings"] if one["level"] == "fail"]
    assert (broken["check"], broken["device"]) == ("marks", DEVICE)
    assert refused.exit_code == 4


def test_a_server_finds_itself_sound(tmp_path: Path):
    with serving(tmp_path / "data") as server:
        env = {"FLEET_URL": str(server.api.base_url).removesuffix("/api/v1/"), "FLEET_TOKEN": server.token}
        done = CliRunner().invoke(main, ["doctor", "--json"], env=env)

    found = json.loads(done.output)["findings"]
    levels = {one["check"]: one["level"] for one in found}
    assert {*levels} >= {"clock", "disk", "ca", "certificate", "broker", "schema", "jobs"}
    assert {check: level for check, level in levels.items() if level == "fail" and check != "disk"} == {}
    assert done.exit_code == 0 or levels["disk"] == "fail"
