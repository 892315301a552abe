"""Many rows with one statement: what ingest writes for hundreds of batches at once.

SQLite takes some rows at a time, in statements that it prepares once: a statement costs more than a row, above all the
turn that Python's other threads have after each. PostgreSQL takes new rows by COPY, and rows that may be there already
as one JSON in INSERT … SELECT FROM json_to_recordset(…) ON CONFLICT; each is one message to the server and back. (As
arrays they would be written element by element by psycopg's Python, at a sixth of all that the server computes.)
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import BigInteger, Boolean, Connection, Integer, LargeBinary, String, Table
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from psycopg import Cursor  # a server on SQLite does without it, and 9 MB

MAX_STATEMENTS = 128
MAX_ROWS, EVEN_ROWS = 64, 8  # of a statement to SQLite: a multiple of these, up to those, and what is left over

Rows = Sequence[tuple[Any, ...]]

_TYPES = ((BigInteger, "int8"), (Integer, "int4"), (Boolean, "bool"), (LargeBinary, "bytea"), (String, "text"))
"""PostgreSQL's names; `text`, because a cast to `varchar(n)` would cut what is too long, without a word."""


def insert_all(conn: Connection, table: Table, names: tuple[str, ...], rows: Rows) -> None:
    """Insert the rows; `names` are the columns that they give, in that order."""
    if not rows:
        return
    if conn.dialect.name == "sqlite":
        _insert_some(conn, table, names, "", rows)
    else:
        _copy(conn, table, names, rows)


def upsert_all(conn: Connection, table: Table, key: tuple[str, ...], names: tuple[str, ...], rows: Rows) -> None:
    """Insert the rows or set those that have their keys, each key once.

    A row that is there keeps what it holds where the new value is None.
    """
    if not rows:
        return
    if conn.dialect.name == "sqlite":
        _insert_some(conn, table, names, _on_conflict(table, key, names), rows)
    else:
        records = [dict(zip(names, row, strict=True)) for row in rows]
        conn.exec_driver_sql(_upsert(table, key, names), (msgspec.json.encode(records).decode(),))


def _insert_some(conn: Connection, table: Table, names: tuple[str, ...], then: str, rows: Rows) -> None:
    start = 0
    while left := len(rows) - start:
        some = min(left - left % EVEN_ROWS, MAX_ROWS) or left
        values = tuple(chain.from_iterable(rows[start : start + some]))
        conn.exec_driver_sql(_insert(table, names, some) + then, values)
        start += some


@lru_cache(MAX_STATEMENTS)
def _insert(table: Table, names: tuple[str, ...], rows: int) -> str:
    row = f"({', '.join('?' for _ in names)})"
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES {', '.join([row] * rows)}"  # noqa: S608 - the schema's own names


@lru_cache(MAX_STATEMENTS)
def _upsert(table: Table, key: tuple[str, ...], names: tuple[str, ...]) -> str:
    columns = ", ".join(names)
    typed = ", ".join(f"{name} {_type(table, name)}" for name in names)
    rows = f"SELECT {columns} FROM json_to_recordset(%s::json) AS given({typed})"  # noqa: S608 - the schema's own names
    return f"INSERT INTO {table.name} ({columns}) {rows}" + _on_conflict(table, key, names)


@lru_cache(MAX_STATEMENTS)
def _on_conflict(table: Table, key: tuple[str, ...], names: tuple[str, ...]) -> str:
    rest = [name for name in names if name not in key]
    sets = ", ".join(f"{name} = coalesce(excluded.{name}, {table.name}.{name})" for name in rest)
    return f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {sets}"


def _type(table: Table, name: str) -> str:
    return next(found for kind, found in _TYPES if isinstance(table.c[name].type, kind))


def _copy(conn: Connection, table: Table, names: tuple[str, ...], rows: Rows) -> None:
    statement = f"COPY {table.name} ({', '.join(names)}) FROM STDIN (FORMAT BINARY)"
    driver: Any = conn.connection.driver_connection
    its_error: Any = conn.dialect.loaded_dbapi.Error
    cursor: Cursor[Any] = driver.cursor()
    try:
        with cursor, cursor.copy(statement) as copy:
            copy.set_types([_type(table, name) for name in names])
            for row in rows:
                copy.write_row(row)
    except its_error as error:  # said as SQLAlchemy says it of its own statements
        if driver.closed:
            conn.invalidate(error)
        raise DBAPIError.instance(
            statement, None, error, its_error, dialect=conn.dialect, connection_invalidated=driver.closed
        ) from error
