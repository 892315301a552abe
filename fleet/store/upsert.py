"""`INSERT … ON CONFLICT`, which SQLite and PostgreSQL both have and SQLAlchemy spells once for each."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def upsert(conn: Connection, table: Table, key: Sequence[str], values: Mapping[str, Any]) -> None:
    """Insert the row, or set the values of the one that has this key."""
    made = _insert(conn, table).values(**values)
    rest = {name: made.excluded[name] for name in values if name not in key}
    conn.execute(made.on_conflict_do_update(index_elements=list(key), set_=rest))


def insert_new(conn: Connection, table: Table, values: Mapping[str, Any]) -> bool:
    """Insert the row unless one of its unique keys is taken; tells whether it was inserted."""
    made = _insert(conn, table).values(**values).on_conflict_do_nothing()
    return conn.execute(made.returning(*table.primary_key)).first() is not None


def _insert(conn: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if conn.dialect.name == "sqlite" else postgresql.insert(table)
