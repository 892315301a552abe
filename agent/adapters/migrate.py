"""The buffer's schema, and the short process that brings a file up to it: `python -m agent.adapters.migrate PATH`.

A process of its own, since sqlite-utils would cost the agent 5 MB of memory for the rest of its life; the buffer
starts it only when a file's `user_version` is behind.

    event, segment   one table a lane, one row a row of the outbox; the row with the greatest seq is never deleted,
                     so seq never repeats, and no counter has to be written with each commit
        seq               primary key, grows by one
        from_us, to_us    event times that the row spans
        through_bytes     bytes of all bodies of the lane up to and with this row, ever
        through_readings  readings (or events) likewise: the depth of the buffer is two look-ups, not a scan
        quarantined       1: the fleet holds it in quarantine; it is not sent again
        body              JSON of the segment or event, as it goes into a batch
    shed             what was thinned or dropped, until the rows before it are gone: the running totals leave it in
        lane, seq         primary key; seq is the last row of what was shed
        rows, bytes, readings   how much less there is
    value            small things that must survive: store_id, marks, how far batches came, rule states …
"""

import sys
import uuid
from collections.abc import Callable

import sqlite_utils

from agent.adapters.buffer import PAGE_BYTES, SCHEMA_VERSION


def _first(db: sqlite_utils.Database) -> None:
    for table in ("event", "segment"):
        db.table(table).create(
            {
                "seq": int,
                "from_us": int,
                "to_us": int,
                "through_bytes": int,
                "through_readings": int,
                "quarantined": int,
                "body": bytes,
            },
            pk="seq",
            not_null={"from_us", "to_us", "through_bytes", "through_readings", "quarantined", "body"},
            defaults={"quarantined": 0},
        )
    db.table("value").create({"key": str, "value": str}, pk="key", not_null={"value"})
    db.table("value").insert({"key": "store_id", "value": uuid.uuid4().hex})


def _second(db: sqlite_utils.Database) -> None:
    db.table("shed").create(
        {"lane": str, "seq": int, "rows": int, "bytes": int, "readings": int},
        pk=("lane", "seq"),
        not_null={"rows", "bytes", "readings"},
    )


MIGRATIONS: tuple[Callable[[sqlite_utils.Database], None], ...] = (_first, _second)
"""Migration `i` takes a file from `user_version` i to i + 1. Forward only."""


def migrate(path: str) -> None:
    """Bring the file at `path` up to SCHEMA_VERSION, each migration in one transaction; makes it if there is none."""
    db = sqlite_utils.Database(path)
    try:
        # Both take hold of a new file only, and before its first table.
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        db.execute("PRAGMA journal_mode = WAL")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        for step, change in enumerate(MIGRATIONS[version:], version + 1):
            with db.conn:
                db.conn.execute("BEGIN IMMEDIATE")
                change(db)
                db.conn.execute(f"PRAGMA user_version = {step}")
    finally:
        db.close()


if __name__ == "__main__":
    if len(MIGRATIONS) != SCHEMA_VERSION:
        raise SystemExit("SCHEMA_VERSION and MIGRATIONS disagree")
    migrate(sys.argv[1])
