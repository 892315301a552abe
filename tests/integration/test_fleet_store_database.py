"""The database: group commit, failures of one work among many, events after COMMIT, readers that cannot write."""

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from databases import upgrade_to
from fleets import DEVICE, add_device
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError

from fleet.core.event import Event, Origin
from fleet.errors import Busy, Misconfigured, Refused
from fleet.store import after, database, event, follow, migrate
from fleet.store.database import Database
from fleet.store.engine import parse_url
from fleet.store.schema import metadata

pytest_plugins = ("databases",)

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def noted(conn: Connection, name: str) -> int:
    event.append(conn, Event(1, 2, f"test.{name}", "test", name, "fleet", Origin.AUTOMATION, "x", data={"n": 1}))
    return len(name)


def test_works_that_wait_together_share_a_transaction_and_each_gets_its_own_result(database_url: str):
    async def story() -> tuple[list[int], list[Event]]:
        async with Database.open(database_url) as db:
            lengths = await asyncio.gather(*(db.write(lambda conn, n=n: noted(conn, str(n))) for n in range(300)))
            return lengths, await db.read(lambda conn: event.page(conn, after=0, limit=1000))

    lengths, kept = run(story())

    assert lengths == [len(str(n)) for n in range(300)]
    assert [one.noun_id for one in kept] == [str(n) for n in range(300)]


def test_a_work_that_fails_takes_no_other_down_and_leaves_nothing(database_url: str):
    def bad(conn: Connection) -> int:
        noted(conn, "bad")
        raise ValueError("no")

    def broken(conn: Connection) -> int:
        noted(conn, "bad")
        conn.execute(text("SELECT * FROM nowhere"))
        return 0

    async def story() -> tuple[list[int | BaseException], list[Event]]:
        async with Database.open(database_url) as db:
            works = [(bad, broken, lambda conn: noted(conn, "good"))[n % 3] for n in range(30)]
            results = await asyncio.gather(*map(db.write, works), return_exceptions=True)
            return results, await db.read(event.page)

    results, kept = run(story())

    assert [type(result) is int for result in results] == [False, False, True] * 10
    assert {one.kind for one in kept} == {"test.good"}
    assert len(kept) == 10


def test_a_work_that_fails_has_nothing_of_its_group_run_again_nor_loses_an_event_of_others(database_url: str):
    begun, gate = threading.Event(), threading.Event()
    runs: Counter[str] = Counter()

    def slow(_conn: Connection) -> bool:
        begun.set()
        return gate.wait(30)

    def good(conn: Connection) -> int:
        runs["good"] += 1
        return noted(conn, "good")

    def bad(conn: Connection) -> int:
        runs["bad"] += 1
        noted(conn, "bad")
        event.page(conn)  # which writes what was appended before, that of others too
        raise Refused("no")

    def many(conn: Connection, items: Sequence[Any]) -> list[int]:
        runs["items"] += len(items)
        return [noted(conn, "item") for _ in items]

    async def story() -> tuple[list[Any], list[Event]]:
        loop = asyncio.get_running_loop()
        async with Database.open(database_url) as db:
            first = asyncio.create_task(db.write(slow))
            await asyncio.to_thread(begun.wait, 30)
            works = [asyncio.create_task(db.write(work)) for work in (good, bad, good, bad)]
            answers = [loop.create_future() for _ in range(20)]
            for answer in answers:
                db.submit(many, None, partial(database.settle, answer))
            await asyncio.sleep(0)  # the works are queued
            gate.set()
            results = await asyncio.gather(first, *works, *answers, return_exceptions=True)
            return results, await db.read(event.page)

    results, kept = run(story())

    assert [type(result) for result in results[1:5]] == [int, Refused, int, Refused]
    assert runs == {"good": 2, "bad": 2, "items": 20}
    assert Counter(one.kind for one in kept) == {"test.good": 2, "test.item": 20}


def test_what_follows_a_commit_is_done_after_it_and_not_for_what_was_rolled_back(database_url: str):
    done: list[str] = []

    def work(conn: Connection, name: str) -> None:
        after.commit(conn, partial(done.append, name))
        assert done == before
        if name == "bad":
            raise Refused("no")

    before: list[str] = []

    async def story() -> None:
        async with Database.open(database_url) as db:
            begun, gate = threading.Event(), threading.Event()
            first = asyncio.create_task(db.write(lambda _conn: (begun.set(), gate.wait(30))))
            await asyncio.to_thread(begun.wait, 30)
            works = [asyncio.create_task(db.write(partial(work, name=name))) for name in ("good", "bad", "good")]
            await asyncio.sleep(0)
            gate.set()
            await asyncio.gather(first, *works, return_exceptions=True)
            before.extend(["good", "good"])
            with pytest.raises(Refused):
                await db.write(partial(work, name="bad"))
            await db.write(partial(work, name="last"))
            await db.read(lambda conn: after.commit(conn, partial(done.append, "a reader commits nothing")))

    run(story())

    assert done == ["good", "good", "last"]


def test_subscribers_hear_of_events_that_were_committed_and_of_no_others(database_url: str):
    def bad(conn: Connection) -> int:
        noted(conn, "bad")
        raise ValueError("no")

    async def story() -> list[Event]:
        async with Database.open(database_url) as db, db.subscribe() as heard:
            works = [bad, lambda conn: noted(conn, "one"), lambda conn: noted(conn, "two")]
            await asyncio.gather(*map(db.write, works), return_exceptions=True)
            return [await heard.get(), await heard.get()]

    heard = run(story())

    assert [one.kind for one in heard] == ["test.one", "test.two"]
    assert all(one.id > 0 for one in heard)


def test_a_subscriber_that_lags_too_far_is_told(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(follow, "MAX_LAG_EVENTS", 2)

    async def story() -> list[str]:
        async with Database.open(sqlite_url) as db, db.subscribe() as heard:
            for name in ("one", "two", "three"):
                await db.write(lambda conn, name=name: noted(conn, name))
            async with db.subscribe():  # has read all of them
                pass
            kinds = [(await heard.get()).kind, (await heard.get()).kind]
            with pytest.raises(Busy):
                await heard.get()
            return kinds

    assert run(story()) == ["test.one", "test.two"]


def test_a_reader_cannot_write(database_url: str):
    async def story() -> None:
        async with Database.open(database_url) as db:
            await db.read(lambda conn: noted(conn, "bad"))

    with pytest.raises(DBAPIError):
        run(story())


def test_too_many_waiting_writes_are_refused_as_busy(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database, "MAX_QUEUED_WORKS", 3)
    begun, gate = threading.Event(), threading.Event()

    def slow(_conn: Connection) -> bool:
        begun.set()
        return gate.wait(30)

    async def story() -> list[Any]:
        async with Database.open(sqlite_url) as db:
            first = asyncio.create_task(db.write(slow))
            await asyncio.to_thread(begun.wait, 30)
            rest = [asyncio.create_task(db.write(lambda conn: noted(conn, "x"))) for _ in range(5)]
            await asyncio.wait(rest, return_when=asyncio.FIRST_COMPLETED)
            gate.set()
            return await asyncio.gather(first, *rest, return_exceptions=True)

    results = run(story())

    assert [type(result) for result in results[-2:]] == [Busy, Busy]
    assert [type(result) for result in results[1:4]] == [int, int, int]


class Groups(list[list[int]]):
    """Items, as they were done together."""

    def keep(self, _conn: Connection, items: Sequence[int]) -> list[None]:
        self.append(list(items))
        return [None for _ in items]

    async def have(self, db: Database, *items: int) -> None:
        """Have items done, and wait until they are."""
        answers = [asyncio.get_running_loop().create_future() for _ in items]
        for item, answer in zip(items, answers, strict=True):
            db.submit(self.keep, item, partial(database.settle, answer))
        await asyncio.gather(*answers)


def test_items_gather_after_a_transaction_until_there_is_a_work_or_many_of_them(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(database, "GATHER_S", 3600.0)
    groups, many = Groups(), list(range(database.LEAST_GROUP_ITEMS))

    async def story() -> None:
        async with Database.open(sqlite_url) as db, asyncio.timeout(60):
            await groups.have(db, 1)  # nothing was before it
            waiting = [asyncio.create_task(groups.have(db, n)) for n in (2, 3, 4)]
            done, _ = await asyncio.wait(waiting, timeout=0.1)
            assert not done
            await db.write(lambda _conn: None)
            await asyncio.gather(*waiting)
            await groups.have(db, *many)

    run(story())

    assert groups == [[1], [2, 3, 4], many]


def test_as_many_items_as_the_group_before_held_gather_no_longer(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database, "GATHER_S", 3600.0)
    groups, few = Groups(), database.ALL_AGAIN_ITEMS
    crowd = [list(range(n)) for n in (few + 5, few + 5, few)]

    async def story() -> None:
        async with Database.open(sqlite_url) as db, asyncio.timeout(60):
            await groups.have(db, *crowd[0])  # nothing was before them
            await groups.have(db, *crowd[1])
            waiting = asyncio.create_task(groups.have(db, *crowd[2]))
            done, _ = await asyncio.wait([waiting], timeout=0.1)
            assert not done, "more were there the last time"
            await db.write(lambda _conn: None)
            await waiting
            await groups.have(db, *crowd[2])
            waiting = asyncio.create_task(groups.have(db, *range(few - 1)))
            done, _ = await asyncio.wait([waiting], timeout=0.1)
            assert not done
            await db.write(lambda _conn: None)
            await waiting

    run(story())

    # A group that begins at once may begin with the first of those that are handed over.
    assert list(chain.from_iterable(groups)) == [*crowd[0], *crowd[1], *crowd[2], *crowd[2], *range(few - 1)]


def test_items_that_gathered_go_on_their_own_when_the_moment_is_over(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database, "GATHER_S", 0.3)

    async def story() -> float:
        async with Database.open(sqlite_url) as db, asyncio.timeout(60):
            await Groups().have(db, 1)
            begun_s = asyncio.get_running_loop().time()
            await Groups().have(db, 2)
            return asyncio.get_running_loop().time() - begun_s

    assert run(story()) > 0.1


async def streamed(db: Database) -> int:
    return sum([len(part) async for part in db.stream(lambda conn: iter(event.page(conn)))])


def test_a_stream_yields_everything_in_parts_and_gives_its_connection_back(database_url: str):
    async def story() -> list[int]:
        async with Database.open(database_url) as db:
            await asyncio.gather(*(db.write(lambda conn: noted(conn, "x")) for _ in range(50)))
            return [await streamed(db) for _ in range(database.MAX_STREAMS + 5)]

    assert set(run(story())) == {50}


def test_an_open_stream_keeps_its_snapshot_while_others_write(database_url: str):
    async def story() -> tuple[list[list[Any]], int]:
        async with Database.open(database_url) as db:
            await asyncio.gather(*(db.write(lambda conn: noted(conn, "x")) for _ in range(3000)))
            parts = db.stream(lambda conn: iter(conn.execute(text("SELECT id FROM event ORDER BY id"))))
            first = await anext(parts)
            await db.write(lambda conn: noted(conn, "later"))
            rest = [part async for part in parts]
            return [first, *rest], len(await db.read(lambda conn: event.page(conn, kinds=["test.later"])))

    parts, later = run(story())

    assert sum(len(part) for part in parts) == 3000
    assert later == 1


def test_a_stream_whose_reader_goes_away_in_mid_step_gives_its_connection_back(database_url: str):
    begun, gate = threading.Event(), threading.Event()

    def slow(conn: Connection) -> Iterator[int]:
        begun.set()
        gate.wait(30)
        yield from conn.execute(text("SELECT 1")).scalars()

    async def read(db: Database) -> None:
        async for _ in db.stream(slow):
            pass

    async def story() -> int:
        async with Database.open(database_url) as db:
            await db.write(lambda conn: noted(conn, "x"))
            for _ in range(database.MAX_STREAMS + database.READERS + 2):
                begun.clear()
                gate.clear()
                reader = asyncio.create_task(read(db))
                await asyncio.to_thread(begun.wait, 30)
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)
                gate.set()
            return await streamed(db)

    assert run(story()) == 1


PARTS = "SELECT relname FROM pg_class WHERE relispartition"  # of tables that are compared as a whole


def test_the_migrations_make_the_schema_and_nothing_else(bare_database_url: str):
    url = parse_url(bare_database_url)
    migrate.upgrade(url)
    engine = create_engine(url)
    try:
        with engine.connect() as conn:
            parts = set(conn.execute(text(PARTS)).scalars()) if conn.dialect.name == "postgresql" else set()
            opts = {"compare_type": True, "include_name": lambda name, kind, _: kind != "table" or name not in parts}
            differences = compare_metadata(MigrationContext.configure(conn, opts=opts), metadata)
            newest = migrate.revision(conn)
            tables = inspect(conn)
            partial = {
                index["name"]: index["unique"]
                for table in ("alarm", "ticket")
                for index in tables.get_indexes(table)
                if str(index["name"]).startswith("uq_")
            }
    finally:
        engine.dispose()

    assert differences == []
    assert newest == migrate.REVISION
    assert partial == {"uq_alarm_open": True, "uq_ticket_open": True}


BATCH = (
    "INSERT INTO batch (id, device_id, store_id, first_seq, last_seq, from_us, to_us, readings, received_us, body)"
    " VALUES (:id, :device, 'store', :id, :id, 1, 2, 3, 4, :body)"
)


def test_batches_that_are_not_sealed_outlive_the_making_of_their_table(bare_database_url: str):
    url = parse_url(bare_database_url)
    engine = create_engine(url)
    with engine.connect() as conn:
        upgrade_to(conn, "0008")
    with engine.begin() as conn:
        add_device(conn, DEVICE)
        for number in (3, 9):
            conn.execute(text(BATCH), {"id": number, "device": DEVICE, "body": bytes([number, 0])})
        before = conn.execute(text("SELECT * FROM batch ORDER BY id")).all()

    migrate.upgrade(url)

    with engine.connect() as conn:
        found = conn.execute(text("SELECT * FROM batch ORDER BY id")).all()
    engine.dispose()
    assert found == before
    assert [row.id for row in before] == [3, 9]


def test_a_start_without_migrations_loads_neither_alembic_nor_a_driver_that_it_does_not_use(sqlite_url: str):
    start = "import sys; from fleet.store import engine, migrate; migrate.upgrade(engine.parse_url(sys.argv[1]))"
    loaded = (
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'alembic', 'mako', 'psycopg', 'pygments'}))"
    )

    told = subprocess.run([sys.executable, "-c", f"{start}; {loaded}", sqlite_url], capture_output=True, check=True)

    assert told.stdout == b"[]\n"


def test_migrating_again_changes_nothing_and_makes_no_backup(bare_sqlite_url: str, tmp_path: Path):
    migrate.upgrade(parse_url(bare_sqlite_url))
    migrate.upgrade(parse_url(bare_sqlite_url))

    assert not (tmp_path / "backups").exists()


LATER = """
from alembic import op

revision = "later"
down_revision = {before!r}
branch_labels = None
depends_on = None

def upgrade() -> None:
    op.execute("INSERT INTO product VALUES ('made-later', 1)")
    {failure}
"""


def a_later_release(folder: Path, monkeypatch: pytest.MonkeyPatch, failure: str = "") -> None:
    shutil.copytree(migrate.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "later.py").write_text(LATER.format(before=migrate.REVISION, failure=failure))
    monkeypatch.setattr(migrate, "MIGRATIONS", folder)
    monkeypatch.setattr(migrate, "REVISION", "later")


def test_a_sqlite_file_that_is_behind_is_copied_before_it_is_migrated(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with closing(sqlite3.connect(tmp_path / "fleet.db")) as conn:
        conn.execute("INSERT INTO product VALUES ('freezer', 1)")
        conn.commit()
    a_later_release(tmp_path / "migrations", monkeypatch)

    migrate.upgrade(parse_url(sqlite_url))

    (copy,) = (tmp_path / "backups").iterdir()
    assert products(copy) == {"freezer"}
    assert products(tmp_path / "fleet.db") == {"freezer", "made-later"}


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    url = parse_url(database_url)
    a_later_release(tmp_path / "migrations", monkeypatch, failure="op.execute('SELECT * FROM nowhere')")

    with pytest.raises(DBAPIError):
        migrate.upgrade(url)

    engine = create_engine(url)
    with engine.connect() as conn:
        assert conn.execute(text("SELECT count(*) FROM product")).scalar_one() == 0
        assert migrate.revision(conn) != "later"
    engine.dispose()


def products(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as conn:
        return {name for (name,) in conn.execute("SELECT id FROM product")}


def test_a_database_of_a_newer_release_is_refused_with_a_hint(database_url: str):
    url = parse_url(database_url)
    engine = create_engine(url)
    with engine.begin() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()

    with pytest.raises(Misconfigured, match="newer release") as caught:
        migrate.upgrade(url)

    assert caught.value.hint


def test_two_nodes_may_start_on_one_empty_database_at_once(bare_database_url: str):
    async def story() -> None:
        await asyncio.gather(*(asyncio.to_thread(migrate.upgrade, parse_url(bare_database_url)) for _ in range(4)))

    run(story())


@pytest.mark.parametrize("url", ["", "mysql://x/y", "sqlite://", "sqlite:///:memory:", "nonsense"])
def test_a_database_that_the_fleet_cannot_use_is_refused(url: str):
    with pytest.raises(Misconfigured) as caught:
        parse_url(url)

    assert caught.value.hint


def test_a_file_that_cannot_be_opened_is_a_message_for_the_operator(tmp_path: Path):
    (tmp_path / "fleet.db").mkdir()

    with pytest.raises(Misconfigured, match="cannot be opened"):
        migrate.upgrade(parse_url(f"sqlite:///{tmp_path / 'fleet.db'}"))


def test_a_file_that_is_no_database_is_a_message_for_the_operator(tmp_path: Path):
    (tmp_path / "fleet.db").write_bytes(b"not a database at all, but long enough to be looked at" * 100)

    with pytest.raises(Misconfigured):
        migrate.upgrade(parse_url(f"sqlite:///{tmp_path / 'fleet.db'}"))
