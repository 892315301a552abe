"""How a connection to either database is set up: the one place where SQLite and PostgreSQL differ by nature.

SQLite: WAL, so that readers never wait for the writer; `synchronous=FULL`, so that a COMMIT that returned survives a
power cut; one writer at a time, taken at BEGIN (`BEGIN IMMEDIATE`), so that a transaction never fails half way for
want of the lock. PostgreSQL: READ COMMITTED for the writer, which takes row locks where two nodes may meet, and a
read-only snapshot (REPEATABLE READ) for readers.
"""

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.pool import QueuePool

from fleet.errors import Busy, Misconfigured

BUSY_TIMEOUT_MS = 10_000  # how long SQLite waits for another process that writes (a backup, a migration)
WAL_LIMIT_BYTES = 64 * 1024 * 1024  # the log is cut back to this after a checkpoint
CACHE_KIB = 16 * 1024  # SQLite's page cache, a connection
MAX_STATEMENTS = 256  # prepared by SQLite and kept, a connection: `fleet.store.bulk` has some for each table
DISK_FULL_RETRY_S = 30

LOCK_S = 5  # that a writer waits for what another node has locked, before it begins anew …
IDLE_S = 5  # … and after which PostgreSQL ends the transaction of a node that hangs or is cut off in the midst of it
SILENT_S = 10  # after which a connection that does not answer is given up, by either side

_RETRY_SQLSTATES = {"40001", "40P01", "55P03"}  # serialization failure, deadlock, lock not available
_AWAY_SQLSTATES = ("08", "57P", "53300")  # connection exceptions, the server stops or starts, too many connections


def parse_url(url: str) -> URL:
    """Return the URL of a supported database; raises Misconfigured."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise Misconfigured(
            f"the database {url!r} is not a URL", hint="Use sqlite:////path/to/file or postgresql+psycopg://…"
        ) from error
    if parsed.drivername in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "postgresql+psycopg":
        return parsed
    if parsed.drivername == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed
    raise Misconfigured(
        f"the database {parsed.render_as_string()} is not one that the fleet can keep its truth in",
        hint="Use sqlite:////path/to/file or postgresql+psycopg://…",
    )


def take_turn(conn: Connection, turn: int) -> None:
    """Wait until no other node has this turn, and have it until the transaction ends; on SQLite there is no other."""
    if conn.dialect.name == "postgresql":
        conn.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (turn,))


def is_sqlite(conn: Connection) -> bool:
    """Tell whether the connection speaks to SQLite."""
    return conn.dialect.name == "sqlite"


def sqlite_path(url: URL) -> Path | None:
    """Return the file of a SQLite database, None for PostgreSQL."""
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def writer_engine(url: URL, *, guards: bool = False) -> Engine:
    """Return an engine of one connection that may write.

    With `guards` it neither waits for another node for long nor has others wait for it (PostgreSQL). Its connection is
    not tried before each transaction: whoever has it begins anew where it is gone (`may_retry`).
    """
    engine = _engine(url, size=1, overflow=0, guards=guards)
    if sqlite_path(url) is not None:
        _on_connect(engine, ("journal_mode=WAL", "synchronous=FULL", f"journal_size_limit={WAL_LIMIT_BYTES}"))
        _begin_with(engine, "BEGIN IMMEDIATE")
    return engine


def reader_engine(url: URL, *, size: int, overflow: int) -> Engine:
    """Return an engine whose connections read one snapshot a transaction and cannot write."""
    engine = _engine(url, size=size, overflow=overflow)
    if sqlite_path(url) is not None:
        _on_connect(engine, ("query_only=ON",))
        _begin_with(engine, "BEGIN")
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def may_retry(error: DBAPIError) -> bool:
    """Tell whether the same transaction may succeed when it is run again from its start."""
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _RETRY_SQLSTATES or _is_away(error)


def was_ended(error: DBAPIError) -> bool:
    """Tell whether PostgreSQL had ended the transaction before, since it was idle for too long."""
    return getattr(error.orig, "sqlstate", None) == "25P03"


def _is_away(error: DBAPIError) -> bool:
    """Tell whether PostgreSQL could not be reached."""
    if not isinstance(error, OperationalError) or not hasattr(error.orig, "sqlstate"):  # SQLite's have none
        return False
    sqlstate = getattr(error.orig, "sqlstate", None)
    return not sqlstate or sqlstate.startswith(_AWAY_SQLSTATES)


def translate(error: DBAPIError) -> Exception:
    """Return the error as the fleet's own, where the caller can only try again later."""
    text = str(error.orig)
    if "disk is full" in text or getattr(error.orig, "sqlstate", None) == "53100":
        return Busy(
            "the database's disk is full, so nothing can be stored",
            retry_after_s=DISK_FULL_RETRY_S,
            hint="Free space on the server; devices keep their data and go on by themselves.",
        )
    if may_retry(error) or "database is locked" in text or "disk I/O error" in text:
        return Busy(f"the database does not answer: {text.splitlines()[0]}", retry_after_s=5)
    return error


def _engine(url: URL, *, size: int, overflow: int, guards: bool = False) -> Engine:
    sqlite = sqlite_path(url) is not None
    arguments = _sqlite_arguments() if sqlite else _postgresql_arguments(url, guards=guards)
    return create_engine(
        url,
        connect_args=arguments,
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=overflow,
        pool_pre_ping=not sqlite and not guards,
    )


def _sqlite_arguments() -> dict[str, Any]:
    return {"check_same_thread": False, "cached_statements": MAX_STATEMENTS}


def _postgresql_arguments(url: URL, *, guards: bool) -> dict[str, Any]:
    """Return libpq's parameters; what the URL says itself stands."""
    settings = {"tcp_user_timeout": SILENT_S * 1000, "tcp_keepalives_idle": SILENT_S, "tcp_keepalives_interval": 2}
    if guards:
        settings |= {"lock_timeout": LOCK_S * 1000, "idle_in_transaction_session_timeout": IDLE_S * 1000}
    options = " ".join((str(url.query.get("options", "")), *(f"-c {name}={value}" for name, value in settings.items())))
    ours = {"connect_timeout": SILENT_S, "keepalives_idle": SILENT_S, "tcp_user_timeout": SILENT_S * 1000}
    return {**{name: value for name, value in ours.items() if name not in url.query}, "options": options.strip()}


def _on_connect(engine: Engine, pragmas: tuple[str, ...]) -> None:
    common = (f"busy_timeout={BUSY_TIMEOUT_MS}", "foreign_keys=ON", f"cache_size=-{CACHE_KIB}", "temp_store=MEMORY")

    @event.listens_for(engine, "connect")
    def set_up(dbapi_connection: Any, _record: object) -> None:  # noqa: ANN401 - sqlite3's connection, untyped here
        dbapi_connection.isolation_level = None  # BEGIN is said below, not guessed by the driver
        for pragma in (*common, *pragmas):
            dbapi_connection.execute(f"PRAGMA {pragma}").close()


def _begin_with(engine: Engine, statement: str) -> None:
    @event.listens_for(engine, "begin")
    def begin(conn: Connection) -> None:
        conn.exec_driver_sql(statement)
