"""`INSERT … ON CONFLICT`, which SQLite and PostgreSQL both have and SQLAlchemy spells once for each.

Statements are built once a table and set of columns: building one costs more than running it.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Executable, Table
from sqlalchemy.dialects import postgresql, sqlite

MAX_STATEMENTS = 256


def upsert(conn: Connection, table: Table, key: Sequence[str], values: Mapping[str, Any]) -> None:
    """Insert the row, or set the values of the one that has this key."""
    upsert_each(conn, table, key, [values])


def upsert_each(conn: Connection, table: Table, key: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Do so with each of the rows, which give the same columns."""
    if rows:
        conn.execute(_upsert(conn.dialect.name, table, tuple(key), tuple(rows[0])), rows)


def insert_new(conn: Connection, table: Table, values: Mapping[str, Any]) -> bool:
    """Insert the row unless one of its unique keys is taken; tells whether it was inserted."""
    return conn.execute(_insert_new(conn.dialect.name, table), values).first() is not None


@lru_cache(MAX_STATEMENTS)
def _upsert(dialect: str, table: Table, key: tuple[str, ...], names: tuple[str, ...]) -> Executable:
    made = _insert(dialect, table)
    rest = {name: made.excluded[name] for name in names if name not in key}
    return made.on_conflict_do_update(index_elements=list(key), set_=rest)


@lru_cache(MAX_STATEMENTS)
def _insert_new(dialect: str, table: Table) -> Executable:
    return _insert(dialect, table).on_conflict_do_nothing().returning(*table.primary_key)


def _insert(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
