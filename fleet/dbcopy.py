"""`fleet db copy`: from SQLite to PostgreSQL, or back. It stands beside the server, and runs where no server does."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from fleet.core.partition import SPLITS
from fleet.errors import Misconfigured, Refused
from fleet.lock import held
from fleet.settings import Settings
from fleet.store import copy, migrate
from fleet.store.copy import Compared
from fleet.store.engine import parse_url, reader_engine, sqlite_path, writer_engine

TRIES = 20  # a session that was closed is seen a moment longer
AGAIN_S = 0.1

Told = Callable[[str, int], None]
"""Hears of a table and how many of its rows are there."""


@dataclass(frozen=True, slots=True)
class Ends:
    """From where to where."""

    source: URL
    target: URL


def ends_of(data: Path, source: str, target: str) -> Ends:
    """Return both databases; the source is the data directory's own unless it is named. Raises Misconfigured."""
    found = Ends(parse_url(Settings(data=data, database=source).database_url), parse_url(target))
    if found.source == found.target:
        raise Misconfigured("source and target are the same database", hint="Name another one with --to.")
    path = sqlite_path(found.source)
    if path is not None and not path.exists():
        raise Misconfigured(
            f"there is no database {path}", hint="Name the server's data directory with --data, or --from URL."
        )
    return found


def copy_database(ends: Ends, told: Told) -> list[Compared]:
    """Copy, or go on with it, and compare; the copy is finished only if all is equal. Raises FleetError."""
    with ExitStack() as stack:
        for url in (ends.source, ends.target):
            stack.enter_context(_alone(url))
        source, target = reader_engine(ends.source, size=1, overflow=1), writer_engine(ends.target)
        stack.callback(source.dispose)
        stack.callback(target.dispose)
        try:
            return _copy(source, target, ends, told)
        except DBAPIError as error:
            raise Misconfigured(
                f"the copy stopped: {str(error.orig).splitlines()[0]}",
                hint="Mend what it says and run the same command again: it goes on where it was.",
            ) from error


def _copy(source: Engine, target: Engine, ends: Ends, told: Told) -> list[Compared]:
    with source.connect() as reading:
        _refuse_company(reading, ends.source)
        identity = copy.identity(reading)
        with target.connect() as conn:
            _refuse_company(conn, ends.target)
        migrate.upgrade(ends.target, unfinished=True)
        with target.begin() as conn:
            copy.begin(conn, identity)
        for kept in SPLITS:
            with target.begin() as conn:
                copy.make_parts(reading, conn, kept)
        for table in copy.TABLES:
            with target.connect() as conn:
                for count in copy.copy_some(reading, conn, table):
                    conn.commit()
                    told(table.name, count)
        with target.connect() as conn:
            compared = [
                Compared(table.name, copy.reckon(reading, table), copy.reckon(conn, table)) for table in copy.TABLES
            ]
    if all(one.is_equal for one in compared):
        with target.begin() as conn:
            copy.finish(conn)
    return compared


@contextmanager
def _alone(url: URL) -> Iterator[None]:
    """Hold the directory of a SQLite file, so that no server runs on it."""
    path = sqlite_path(url)
    if path is None:
        yield
        return
    with held(path.absolute().parent):
        yield


def _refuse_company(conn: Connection, url: URL) -> None:
    """Raise Refused where somebody else is in a PostgreSQL database."""
    if sqlite_path(url) is not None:
        return
    others = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
        " AND pid <> pg_backend_pid()"
    )
    for _ in range(TRIES):
        count = conn.execute(text(others)).scalar_one()
        conn.rollback()  # the next look is a new one
        if not count:
            return
        time.sleep(AGAIN_S)
    raise Refused(
        f"{count} others are connected to {url.render_as_string()}: is a server running on it?",
        hint="Stop all servers that use it, and close other sessions (psql), before it is copied.",
    )
