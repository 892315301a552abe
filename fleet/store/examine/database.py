"""The database as such: is its schema this release's, can all of it be read, does every row's parent exist."""

from collections.abc import Iterator

from sqlalchemy import Connection, Table, func, inspect, select, text

from fleet.core.finding import Finding, fail
from fleet.store.engine import is_sqlite
from fleet.store.examine.check import Ask, Check, Part
from fleet.store.schema import REVISION, metadata

LARGE = frozenset({"batch", "chunk", "rollup"})  # of which SQLite's indexes are compared with the rows only when deep
MAX_ROWS_TOLD = 5
WHOLE = "~"  # after all names of tables

RESTORE = "Stop the server, keep the damaged database, restore the newest backup; devices send what it lacks again."
MIGRATE = "Restart the server, which brings the schema up to date; if it stays, the database was changed by hand."


def schema(conn: Connection, _ask: Ask, _after: str) -> Part:
    """Look at the revision, and at the tables, columns and indexes that it promises."""
    kept = conn.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    found = []
    if kept != REVISION:
        found.append(fail("schema", f"The database has schema {kept}, this release wants {REVISION}.", MIGRATE))
    there = inspect(conn)
    for table in metadata.sorted_tables:
        found += [fail("schema", problem, MIGRATE) for problem in _lacking(there, table)]
    return Part(len(metadata.tables), found)


def _lacking(there: object, table: Table) -> Iterator[str]:
    if not there.has_table(table.name):  # type: ignore[attr-defined] # SQLAlchemy's inspector
        yield f"The table {table.name} is missing."
        return
    columns = {column["name"] for column in there.get_columns(table.name)}  # type: ignore[attr-defined] # the same
    for column in table.columns:
        if column.name not in columns:
            yield f"The column {table.name}.{column.name} is missing."
    indexes = {index["name"] for index in there.get_indexes(table.name)}  # type: ignore[attr-defined] # the same
    for index in table.indexes:
        if index.name not in indexes:
            yield f"The index {index.name} of the table {table.name} is missing."


def integrity(conn: Connection, ask: Ask, after: str) -> Part:
    """Look at the next table: can it be read, and is every parent there; then at the database as a whole."""
    name = min((name for name in metadata.tables if name > after), default=WHOLE)
    if name != WHOLE:
        damage = _sqlite_damage(conn, ask, name) if is_sqlite(conn) else []
        return Part(1, [*damage, *_orphans(conn, metadata.tables[name])], name)
    found = _whole_sqlite(conn, ask) if is_sqlite(conn) else list(_postgresql_damage(conn))
    return Part(0, found)


def _sqlite_damage(conn: Connection, ask: Ask, name: str) -> list[Finding]:
    pragma = "quick_check" if name in LARGE and not ask.deep else "integrity_check"
    said = [str(row[0]) for row in conn.exec_driver_sql(f'PRAGMA {pragma}("{name}")') if row[0] != "ok"]
    return [_damaged(f"SQLite on the table {name}", one) for one in said[:MAX_ROWS_TOLD]]


def _whole_sqlite(conn: Connection, ask: Ask) -> list[Finding]:
    if not ask.deep:
        return []
    said = [str(row[0]) for row in conn.exec_driver_sql("PRAGMA integrity_check") if row[0] != "ok"]
    return [_damaged("SQLite", one) for one in said[:MAX_ROWS_TOLD]]


def _postgresql_damage(conn: Connection) -> Iterator[Finding]:
    invalid = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid AND indrelid::regclass::text = ANY"
    names = list(metadata.tables)
    for name in conn.execute(text(f"{invalid} (:names)"), {"names": names}).scalars():
        do = f"REINDEX INDEX CONCURRENTLY {name}; look for rows that are there twice if it is unique and fails."
        yield fail("database", f"The index {name} is not valid: PostgreSQL does not use it.", do)
    loose = "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE NOT convalidated"
    for table, name in conn.execute(text(loose)):
        if table in metadata.tables:
            do = f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}; mend the rows that it names."
            yield fail("database", f"The constraint {name} of {table} was never checked against the rows there.", do)
    failures = "SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database()"
    count = conn.execute(text(failures)).scalar()
    if count:
        yield _damaged("PostgreSQL", f"{count} pages whose checksum was another than when they were written")


def _damaged(who: str, said: str) -> Finding:
    return fail("database", f"{who} says: {said.strip()}.", RESTORE)


def _orphans(conn: Connection, table: Table) -> list[Finding]:
    """Return a finding for each parent that rows of the table name and that is not there."""
    found = []
    for key in sorted(table.foreign_keys, key=lambda key: key.parent.name):
        child, parent = key.parent, key.column
        lost = select(child, func.count()).select_from(table.outerjoin(parent.table, parent == child))
        lost = lost.where(child.is_not(None), parent.is_(None)).group_by(child).limit(MAX_ROWS_TOLD)
        for name, count in conn.execute(lost):
            said = f"{count} rows of {table.name} belong to the {parent.table.name} {name}, which is not there."
            found.append(fail("database", said, RESTORE, str(name) if parent.table.name == "device" else None))
    return found


SCHEMA = Check("schema", f"Revision {REVISION}, {{}} tables with all their columns and indexes.", schema)
INTEGRITY = Check("database", "{} tables can be read, and every row's parent is there.", integrity)
