"""`fleet db copy`: all of a database in another one, over kills, and a copy that is not what the source is is found."""

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
from agents import board, running, until
from batches import T0_US, segment, telemetry
from batches import event as device_event
from batches import events as device_events
from click.testing import CliRunner
from desks import ANA, announce
from fleet_process import Server, enrolled, serving
from fleets import DEVICE, Fleet, a_fleet
from seals import seal_some
from sqlalchemy import Column, Connection, func, select, text

from firmware_sim.scenarios.stage import free_ports
from fleet.cli import main
from fleet.core.actor import FLEET, Scope
from fleet.core.finding import Level
from fleet.dbcopy import copy_database, ends_of
from fleet.errors import Misconfigured, Refused
from fleet.lock import held
from fleet.store import copy, lease, note, token
from fleet.store.copy import Compared
from fleet.store.database import Database
from fleet.store.engine import parse_url, writer_engine
from fleet.store.examine.run import examine
from fleet.store.schema import metadata

pytest_plugins = ("databases",)

T = TypeVar("T")
Place = Callable[[str], str]
WAYS = [("sqlite", "postgresql"), ("postgresql", "sqlite"), ("sqlite", "sqlite")]


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 100))


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Makes the URL of an empty database of a kind; of PostgreSQL one."""

    def make(kind: str) -> str:
        if kind == "postgresql":
            return str(request.getfixturevalue("bare_postgresql_url"))
        folder = tmp_path / f"place-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return f"sqlite:///{folder / 'fieldline.db'}"

    return make


async def something_of_everything(fleet: Fleet) -> None:
    """Rows in every table, sealed and not, old and new, with text of every kind."""
    await fleet.take(telemetry([segment(1, [1.0, None, "Türe offen ❄"]), segment(2, [3.0], series="board.hum")]))
    await fleet.take(telemetry([segment(3, [5.0], t0_us=T0_US - 900 * 86_400 * 10**6)]))
    await seal_some(fleet.db, DEVICE, T0_US)
    await fleet.take(telemetry([segment(7, [8.0])], prev_seq=3))
    await fleet.take(telemetry([segment(8, [9.0])]))
    await fleet.take(device_events([device_event(1)]))
    await fleet.take(b"\x00garbage\xff")
    await announce(fleet, at_us=T0_US)

    def more(conn: Connection) -> None:
        note.add(conn, 1, "\\N; 'quoted'\t\"und\" Zeilen\n.", now_us=T0_US, by=ANA)
        for number in range(5):
            token.create(conn, f"ana-{number}", Scope.READ, now_us=T0_US, by=FLEET)
        lease.take(conn, "sealing", "node-1", for_us=10**12)
        for table in metadata.sorted_tables:
            if conn.execute(select(func.count()).select_from(table)).scalar_one() == 0:
                conn.execute(table.insert(), {one.name: any_value(conn, one) for one in table.columns})

    await fleet.db.write(more)


def any_value(conn: Connection, column: Column[Any]) -> object:
    for key in column.foreign_keys:
        return conn.execute(select(func.min(key.column))).scalar_one()
    return {int: 5, bool: True, bytes: b"\\x00\x00\xff"}.get(column.type.python_type, "an 'x'")


def filled(url: str) -> None:
    async def story() -> None:
        async with a_fleet(url) as fleet:
            await something_of_everything(fleet)

    run(story())


def copied(source: str, target: str, told: Any = lambda *_: None) -> list[Compared]:  # noqa: ANN401 - a callback
    return copy_database(ends_of(Path("nowhere"), source, target), told)


@contextmanager
def reading(url: str) -> Iterator[Connection]:
    engine = writer_engine(parse_url(url))
    try:
        with engine.connect() as conn:
            yield conn
    finally:
        engine.dispose()


@pytest.mark.parametrize(("here", "there"), WAYS)
def test_all_is_there_and_life_goes_on_exactly_once(here: str, there: str, place: Place):
    source, target = place(here), place(there)
    filled(source)

    compared = copied(source, target)

    async def after() -> tuple[list[object], list[int | None], set[Level], int]:
        async with a_fleet(target, devices=()) as fleet:
            found = [one async for one in examine(fleet.db, now_us=fleet.clock.now_us, deep=True, jobs={})]
            before = len(await fleet.events())
            acks = [
                await fleet.take(telemetry([segment(8, [9.0])])),  # its ack was lost when the server stopped
                await fleet.take(telemetry([segment(9, [10.0])])),
                await fleet.take(device_events([device_event(2)])),
            ]
            levels = {one.level for one in found if one.check not in ("parts", "quarantine")}
            more = len(await fleet.events()) - before
            return await fleet.values(), [ack.acked_seq for ack in acks], levels, more

    values, acked, levels, more = run(after())
    assert {one.table for one in compared} == {table.name for table in copy.TABLES}
    assert [one for one in compared if not one.is_equal or not one.source.rows] == []
    assert values == [5.0, 1.0, None, "Türe offen ❄", 8.0, 9.0, 10.0]
    assert (acked, levels, more) == ([8, 9, 2], {Level.OK}, 1)


def test_on_postgresql_what_is_sealed_lies_in_its_parts(place: Place):
    source, target = place("sqlite"), place("postgresql")
    filled(source)
    copied(source, target)

    with reading(target) as conn:
        rest = conn.execute(text("SELECT count(*) FROM chunk_rest")).scalar_one()
        all_of = conn.execute(text("SELECT count(*) FROM chunk")).scalar_one()

    assert (rest, all_of) == (0, 2)


KILLED = """
import os, signal, sys
from pathlib import Path
from fleet.dbcopy import copy_database, ends_of
from fleet.store import copy

copy.ROWS_AT_ONCE = 1
left = int(sys.argv[3])

def told(name, count):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

copy_database(ends_of(Path("nowhere"), sys.argv[1], sys.argv[2]), told)
"""


@pytest.mark.parametrize(("here", "there"), WAYS[:2])
def test_a_copy_that_is_killed_goes_on(here: str, there: str, place: Place):
    source, target = place(here), place(there)
    filled(source)
    codes, begun = [], []
    for pieces in (1, 9, 14):
        done = subprocess.run([sys.executable, "-c", KILLED, source, target, str(pieces)], check=False)
        codes.append(done.returncode)
        with reading(target) as conn:
            begun.append(copy.is_begun(conn))
    with pytest.raises(Misconfigured, match="not finished"):
        run(_opened(target))

    compared = copied(source, target)

    assert (set(codes), set(begun)) == ({-signal.SIGKILL}, {True})
    assert [one for one in compared if not one.is_equal] == []
    with reading(target) as conn:
        assert not copy.is_begun(conn)


async def _opened(url: str) -> None:
    async with Database.open(url):
        pass


DIFFERENCES = {
    "a row is changed": ("UPDATE token SET name = 'anna' WHERE id = 1", "token"),
    "a row is gone": ("DELETE FROM gap", "gap"),
    "bytes are changed": ("UPDATE batch SET body = substr(body, 2)", "batch"),
    "values changed places": ("UPDATE note SET author = text, text = author", "note"),
}


@pytest.mark.parametrize("case", DIFFERENCES)
@pytest.mark.parametrize("there", ["sqlite", "postgresql"])
def test_a_difference_is_found_and_no_server_starts_on_it(case: str, there: str, place: Place):
    statement, table = DIFFERENCES[case]
    source, target = place("sqlite"), place(there)
    filled(source)

    class Cut(Exception):
        """The copy is cut off before it compares."""

    def told(name: str, _count: int) -> None:
        if name == copy.TABLES[-1].name:
            raise Cut

    with pytest.raises(Cut):
        copied(source, target, told)
    with reading(target) as conn:
        conn.execute(text(statement))
        conn.commit()

    done = CliRunner().invoke(main, ["db", "copy", "--from", source, "--to", target, "--json"])

    assert done.exit_code == 1
    assert [one["table"] for one in json.loads(done.stdout)["tables"] if not one["equal"]] == [table]
    assert f"the copy is not what the source is: {table}." in done.stderr
    with pytest.raises(Misconfigured, match="not finished"):
        run(_opened(target))


def test_a_source_in_use_is_refused(place: Place):
    sqlite, postgresql = place("sqlite"), place("postgresql")
    filled(sqlite)
    filled(postgresql)

    with held(Path(sqlite.removeprefix("sqlite:///")).parent), pytest.raises(Misconfigured, match="another server"):
        copied(sqlite, place("sqlite"))
    with psycopg.connect(postgresql.replace("+psycopg", "")), pytest.raises(Refused, match="1 others are connected"):
        copied(postgresql, place("sqlite"))


def test_only_an_empty_target_or_the_same_copy_is_taken(place: Place):
    source, other, target = place("sqlite"), place("sqlite"), place("sqlite")
    filled(source)
    filled(other)
    with reading(other) as conn:
        conn.execute(text("DELETE FROM mark"))
        conn.commit()

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copied(source, target, cut)
    with pytest.raises(Refused, match="another source, or of this one before it was used again"):
        copied(other, target)
    assert copied(source, target) != []
    with pytest.raises(Refused, match="the target is not empty"):
        copied(source, target)
    with pytest.raises(Misconfigured, match="the same database"):
        copied(source, source)
    with pytest.raises(Misconfigured, match="there is no database"):
        copied("sqlite:////nowhere/at-all.db", target)


def test_a_source_of_another_release_is_refused(place: Place):
    source = place("sqlite")
    filled(source)
    with closing(sqlite3.connect(source.removeprefix("sqlite:///"))) as conn, conn:
        conn.execute("UPDATE alembic_version SET version_num = '0004'")

    with pytest.raises(Refused, match="the schema 0004") as caught:
        copied(source, place("sqlite"))

    assert "Start `fleet serve` of this release on it once" in caught.value.hint


def test_an_agent_goes_on_with_a_server_that_moved(place: Place, tmp_path: Path):
    data, target, ports = tmp_path / "data", place("postgresql"), free_ports(3)
    with board() as port, ExitStack() as stack:
        config = tmp_path / "first.toml"
        config.write_text(port.config("[agent]\nflush_s = 0.2"))
        with serving(data, ports=ports) as server:
            device = enrolled(server, tmp_path / "state")
            agent = stack.enter_context(running(tmp_path / "state", "--config", str(config)))
            until(lambda: agent.status()["sources"][0]["connected"], "the port is open")
            port.say(50)
            until(lambda: len(_values(server, device)) == 50, "half of it is there")
        port.say(50)
        done = CliRunner().invoke(main, ["db", "copy", "--data", str(data), "--to", target])
        with serving(data, "--database", target, ports=ports) as server:
            until(lambda: len(_values(server, device)) == 100, "all of it is there")
            agent.stop()
            values = _values(server, device)

    assert done.exit_code == 0, done.output
    assert "Both hold the same." in done.output
    assert f"{data / 'ca'}" in done.output
    assert values == list(range(100))


def _values(server: Server, device: str) -> list[int]:
    return [one["v"] for one in server.get(f"/devices/{device}/readings?series=board.n&limit=1000")["items"]]
