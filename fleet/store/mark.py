"""Marks: the highest seq committed, a store and lane. Exactly once hangs on this row.

Whoever advances a mark holds the device's row lock (`intake.lock`), so two nodes that take the same batch at the same
moment take it one after the other.
"""

from sqlalchemy import Connection, select

from agent.wire.messages import Lane
from fleet.core.intake import Mark
from fleet.store.schema import mark as table
from fleet.store.upsert import upsert


def get(conn: Connection, device_id: str, store_id: str, lane: Lane) -> Mark:
    """Return the mark; 0 for a store that was never heard of."""
    row = conn.execute(
        select(table.c.seq, table.c.t_us).where(
            table.c.device_id == device_id, table.c.store_id == store_id, table.c.lane == lane.value
        )
    ).one_or_none()
    return Mark() if row is None else Mark(row.seq, row.t_us)


def advance(conn: Connection, device_id: str, store_id: str, lane: Lane, mark: Mark) -> None:
    """Set the mark; its caller has checked that it moves forward."""
    key = {"device_id": device_id, "store_id": store_id, "lane": lane.value}
    upsert(conn, table, list(key), {**key, "seq": mark.seq, "t_us": mark.t_us or 0})
