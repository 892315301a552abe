"""Chunks and windows of 15 minutes in parts by time, on PostgreSQL; SQLite stays as it is.

The rows are moved in this one transaction. It needs room for them twice, and as long as copying them takes.
"""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

DAY_US = 86_400_000_000
FIRST_MONDAY_US = 4 * DAY_US  # 1970-01-05
LAST_US = 4_102_444_800_000_000  # 2100-01-01: later is odd, and goes to the rest too
MOST_PARTS = 200  # the newest; what is older goes to the rest


def upgrade() -> None:
    """Make the tables anew in parts, and move the rows."""
    if op.get_bind().dialect.name != "postgresql":
        return
    for table in ("chunk", "rollup"):
        op.execute(f"ALTER TABLE {table} RENAME TO {table}_before")
        op.execute(f"ALTER TABLE {table}_before RENAME CONSTRAINT pk_{table} TO pk_{table}_before")
    _like("chunk", "device_id, sensor, from_us, part", "RANGE (from_us)")
    _like("rollup", "device_id, series, step_s, from_us", "LIST (step_s)")
    op.execute("CREATE TABLE rollup_day PARTITION OF rollup FOR VALUES IN (86400)")
    op.execute("CREATE TABLE rollup_quarter PARTITION OF rollup FOR VALUES IN (900) PARTITION BY RANGE (from_us)")
    for table in ("chunk", "rollup_quarter"):
        op.execute(f"CREATE TABLE {table}_rest PARTITION OF {table} DEFAULT")
    _parts("chunk", "chunk_before", 7, "true")
    _parts("rollup_quarter", "rollup_before", 28, "step_s = 900")
    for table in ("chunk", "rollup"):
        op.execute(f"INSERT INTO {table} SELECT * FROM {table}_before")  # noqa: S608 - names of our own
        op.execute(f"DROP TABLE {table}_before")


def _like(table: str, key: str, split: str) -> None:
    op.execute(f"CREATE TABLE {table} (LIKE {table}_before INCLUDING STORAGE) PARTITION BY {split}")
    op.execute(f"ALTER TABLE {table} ADD CONSTRAINT pk_{table} PRIMARY KEY ({key})")
    op.execute(
        f"ALTER TABLE {table} ADD CONSTRAINT fk_{table}_device_id FOREIGN KEY (device_id) REFERENCES device (id)"
    )


def _parts(table: str, before: str, days: int, here: str) -> None:
    """Make the parts that the rows of a table need."""
    period = f"(from_us - {FIRST_MONDAY_US}) / {days * DAY_US}"
    ago = f"from_us >= {FIRST_MONDAY_US} AND from_us < {LAST_US} AND {here}"
    newest = f"SELECT DISTINCT {period} AS number FROM {before} WHERE {ago}"  # noqa: S608 - the same
    newest += f" ORDER BY number DESC LIMIT {MOST_PARTS}"
    for number in op.get_bind().execute(sa.text(newest)).scalars().all():
        start = number * days * DAY_US + FIRST_MONDAY_US
        name = f"{table}_{datetime.fromtimestamp(start / 1_000_000, UTC):%Y%m%d}"
        bounds = f"FOR VALUES FROM ({start}) TO ({start + days * DAY_US})"
        op.execute(f"CREATE TABLE {name} PARTITION OF {table} {bounds}")
