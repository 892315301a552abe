"""Bring a database's schema up to date: forward only, one transaction a migration, one node at a time.

A SQLite file that is behind is first copied with SQLite's own backup (a consistent copy, WAL included) into
`backups/` beside it. PostgreSQL is backed up by its operator.

Alembic is imported only where a migration waits: it costs a start more than everything else of the store.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError, DBAPIError

from fleet.clock import now_us
from fleet.errors import Misconfigured
from fleet.store import copy, partition
from fleet.store.engine import sqlite_path, writer_engine
from fleet.store.schema import REVISION

MIGRATIONS = Path(__file__).parent / "migrations"
BACKUPS = "backups"
KEPT_BACKUPS = 5

_LOCK = 0x6669656C646C6E65  # PostgreSQL's advisory lock of migrations: "fieldlne"


def upgrade(url: URL, *, unfinished: bool = False) -> None:
    """Run the migrations that wait; raises Misconfigured where a person has to help.

    A database into which a copy is not finished is refused, unless `unfinished` says that it is to go on.
    """
    engine = writer_engine(url)
    try:
        with _alone(url):
            _probe(engine, url)
            _upgrade(engine, url)
            if not unfinished:
                with engine.connect() as conn:
                    copy.refuse_unfinished(conn)
            if sqlite_path(url) is None:
                _make_parts(engine)
    finally:
        engine.dispose()


def _upgrade(engine: Engine, url: URL) -> None:
    with engine.connect() as conn, _locked(conn):
        current = revision(conn)
        if current == REVISION:
            return
        path = sqlite_path(url)
        if path is not None and current is not None:
            back_up(path, current)
        _run(conn)
        conn.commit()


def _make_parts(engine: Engine) -> None:
    """Make the parts of tables that are lacking; where somebody is in the way, the job makes them."""
    try:
        with engine.begin() as conn:
            partition.make_ahead(conn, now_us())
    except DBAPIError as error:
        if not partition.is_to_be_tried_again(error):
            raise


def _run(conn: Connection, to: str = "head") -> None:
    from alembic import command  # noqa: PLC0415 - see the module
    from alembic.config import Config  # noqa: PLC0415 - see the module
    from alembic.util import CommandError  # noqa: PLC0415 - see the module

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = conn
    try:
        command.upgrade(config, to)
    except CommandError as error:
        raise Misconfigured(
            f"the database was made by a newer release: {error}",
            hint="Start the release that made it, or restore a backup from before the upgrade.",
        ) from error


def _probe(engine: Engine, url: URL) -> None:
    """Raise Misconfigured where the database cannot even be opened."""
    try:
        with engine.connect() as conn:
            revision(conn)
    except DatabaseError as error:
        raise Misconfigured(
            f"the database {url.render_as_string()} cannot be opened: {str(error.orig).splitlines()[0]}",
            hint="Check that it is there, that it is a database, and that this user may write it.",
        ) from error


def revision(conn: Connection) -> str | None:
    """Return the revision that the database has, None for an empty one."""
    found = None
    if inspect(conn).has_table("alembic_version"):
        found = conn.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    conn.rollback()
    return found


def back_up(path: Path, label: str) -> Path:
    """Copy a SQLite file while it may be in use; returns the copy. The oldest copies are deleted."""
    folder = path.parent / BACKUPS
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / f"{path.stem}-{now_us()}-{label}.db"
    unfinished = target.with_suffix(".part")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(unfinished)) as copy:
        source.backup(copy)
    unfinished.rename(target)
    for old in sorted(folder.glob(f"{path.stem}-*.db"))[:-KEPT_BACKUPS]:
        old.unlink()
    return target


@contextmanager
def _alone(url: URL) -> Iterator[None]:
    """Keep other processes from migrating the same SQLite file."""
    path = sqlite_path(url)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


@contextmanager
def _locked(conn: Connection) -> Iterator[None]:
    """Keep other nodes from migrating the same PostgreSQL database."""
    if conn.dialect.name != "postgresql":
        yield
        return
    conn.exec_driver_sql(f"SELECT pg_advisory_lock({_LOCK})")
    conn.commit()
    try:
        yield
    finally:
        conn.rollback()
        conn.exec_driver_sql(f"SELECT pg_advisory_unlock({_LOCK})")
        conn.commit()
