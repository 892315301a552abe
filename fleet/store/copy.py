"""A database copied into another, table by table: `fleet db copy`.

    source  ──in order of the primary key──▶  target: some rows and how far they go, in one transaction

How far each table is stands in the target, in the table `copying`, beside what the source was when the copy began. So
a copy may be killed at any point and goes on where it was; a source that was used meanwhile is noticed. While there is
a `copying`, no server starts on the target (fleet/store/migrate.py).

In the end all rows of both sides are read and reckoned up: their number, and the sum of a hash of each modulo 2⁶⁴,
which does not depend on their order. Leases and nodes are not copied: who held one, and was one, does not run.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, func, inspect, select, text, true, tuple_

from fleet.core.partition import SPLITS
from fleet.core.retention import Kept
from fleet.core.rollup import QUARTER_S
from fleet.errors import Misconfigured, Refused
from fleet.store import partition
from fleet.store.bulk import insert_all
from fleet.store.engine import is_sqlite
from fleet.store.schema import REVISION, lease, metadata, node
from fleet.store.upsert import upsert

ROWS_AT_ONCE = 2000  # in one transaction, or …
BYTES_AT_ONCE = 8 * 1024 * 1024  # … about so many bytes of bodies
MODULUS = 1 << 64
TABLES = tuple(table for table in metadata.sorted_tables if table not in (lease, node))
"""What is copied; what others refer to stands first."""

_progress = Table(
    "copying",
    MetaData(),
    Column("name", Text, primary_key=True),  # of a table; "" stands for the source
    Column("said", Text, nullable=False),  # the last key that was copied, JSON; of the source, what it was
    Column("rows", Integer, nullable=False),
)
SOURCE = ""


@dataclass(frozen=True, slots=True)
class Sum:
    """The rows of a table, reckoned up."""

    rows: int
    checksum: int


@dataclass(frozen=True, slots=True)
class Compared:
    """One table on both sides."""

    table: str
    source: Sum
    target: Sum

    @property
    def is_equal(self) -> bool:
        """Whether both hold the same."""
        return self.source == self.target


def identity(conn: Connection) -> str:
    """Return what tells a source, and that it has not been used since: its newest event and what it has."""
    version = conn.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    if version != REVISION:
        raise Refused(
            f"the source has the schema {version}, this release {REVISION}",
            hint="Start `fleet serve` of this release on it once, stop it, and copy then.",
        )
    events = metadata.tables["event"]
    newest = select(events.c.id, events.c.received_us, events.c.text).order_by(events.c.id.desc()).limit(1)
    row = conn.execute(newest).one_or_none()
    marks = metadata.tables["mark"]
    figures = conn.execute(select(func.count(), func.sum(marks.c.seq))).one()
    return json.dumps([*(row or ()), *map(int, (figures[0], figures[1] or 0))])


def begin(conn: Connection, source: str) -> None:
    """Begin to copy into an empty target, or go on with a copy of the same source; raises Refused."""
    if is_begun(conn):
        begun = conn.execute(select(_progress.c.said).where(_progress.c.name == SOURCE)).scalar_one()
        if begun != source:
            raise Refused(
                "the target holds the beginning of a copy of another source, or of this one before it was used again",
                hint="Make the target anew (drop and create its database, or delete its file) and copy again.",
            )
        return
    for table in metadata.sorted_tables:
        if conn.execute(select(text("1")).select_from(table).limit(1)).first() is not None:
            raise Refused(
                f"the target is not empty: its table {table.name} has rows",
                hint="Copy into a database of its own. Two fleets cannot be joined by copying.",
            )
    _progress.create(conn)
    conn.execute(_progress.insert(), {"name": SOURCE, "said": source, "rows": 0})


def is_begun(conn: Connection) -> bool:
    """Tell whether a copy into this database has begun and is not finished."""
    return inspect(conn).has_table(_progress.name)


def refuse_unfinished(conn: Connection) -> None:
    """Raise Misconfigured where a copy into this database is not finished."""
    if is_begun(conn):
        raise Misconfigured(
            "a copy into this database is not finished",
            hint="Run the same `fleet db copy` again: it goes on where it was.",
        )


def make_parts(source: Connection, target: Connection, kept: Kept) -> None:
    """Make the parts of a table that the source's rows need, if the target keeps it in parts."""
    split, known = SPLITS[kept], partition.parts(target).get(kept)
    if known is None:
        return
    table = metadata.tables["chunk" if kept is Kept.READINGS else "rollup"]
    here = true() if kept is Kept.READINGS else table.c.step_s == QUARTER_S
    periods = select(table.c.from_us - table.c.from_us % split.period_us).where(here).distinct()
    starts = {split.start_of(period_us) for period_us in source.execute(periods).scalars()}
    starts |= {start + split.period_us for start in starts}  # a period of theirs touches two of ours
    partition.make_at(target, kept, starts)


def copy_some(source: Connection, target: Connection, table: Table) -> Iterator[int]:
    """Copy a table from where it is, and yield after each piece how many rows are there: the caller commits then."""
    names = tuple(column.name for column in table.columns)
    key = list(table.primary_key)
    said = target.execute(select(_progress).where(_progress.c.name == table.name)).one_or_none()
    count = 0 if said is None else int(said.rows)
    wanted = select(table).order_by(*key)
    if said is not None:
        wanted = wanted.where(tuple_(*key) > tuple_(*json.loads(said.said)))
    lazily = {"stream_results": True, "max_row_buffer": ROWS_AT_ONCE}
    places = [names.index(column.name) for column in key]
    with source.execute(wanted, execution_options=lazily) as rows:
        for some in _pieces(rows):
            insert_all(target, table, names, some)
            count += len(some)
            last = json.dumps([some[-1][place] for place in places])
            upsert(target, _progress, ["name"], {"name": table.name, "said": last, "rows": count})
            yield count


def finish(conn: Connection) -> None:
    """Go on counting where the source was, and let a server start."""
    if not is_sqlite(conn):
        for table in TABLES:
            for column in table.primary_key:
                if column.autoincrement is True:
                    sequence = func.pg_get_serial_sequence(table.name, column.name)
                    newest = func.max(column)
                    conn.execute(select(func.setval(sequence, func.coalesce(newest, 1), newest.is_not(None))))
    _progress.drop(conn)


def reckon(conn: Connection, table: Table) -> Sum:
    """Read all rows of a table and reckon them up."""
    count = checksum = 0
    lazily = {"stream_results": True, "max_row_buffer": ROWS_AT_ONCE}
    with conn.execute(select(table), execution_options=lazily) as rows:
        for row in rows:
            count += 1
            checksum += _hash(row)
    return Sum(count, checksum % MODULUS)


def _pieces(rows: Any) -> Iterator[list[tuple[Any, ...]]]:  # noqa: ANN401 - SQLAlchemy's result
    some: list[tuple[Any, ...]] = []
    size = 0
    for row in rows:
        some.append(tuple(row))
        size += sum(len(value) for value in row if isinstance(value, bytes))
        if len(some) >= ROWS_AT_ONCE or size >= BYTES_AT_ONCE:
            yield some
            some, size = [], 0
    if some:
        yield some


def _hash(row: Sequence[Any]) -> int:
    made = hashlib.blake2b(digest_size=8)
    for value in row:
        data = value if isinstance(value, bytes) else repr(value).encode()
        made.update(b"%c%d:" % (type(value).__name__.encode()[:1], len(data)))
        made.update(data)
    return int.from_bytes(made.digest(), "little")
