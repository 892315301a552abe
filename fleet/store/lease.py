"""Leases: who does a piece of periodic work, among any number of nodes.

A lease is held until a time, not until a release: a node that dies gives it up by itself. Clocks of nodes may differ
by some seconds, so a lease is longer than that and is renewed well before its end; and what is done under it must be
harmless if two do it for a moment (it is one transaction that looks again at what it changes).
"""

from sqlalchemy import Connection, delete, or_, update

from fleet.store.schema import lease as table
from fleet.store.upsert import insert_new


def take(conn: Connection, name: str, holder: str, *, now_us: int, until_us: int) -> bool:
    """Take or renew a lease; tells whether `holder` has it now."""
    free = or_(table.c.holder == holder, table.c.until_us <= now_us)
    values = {"holder": holder, "until_us": until_us}
    if conn.execute(update(table).where(table.c.name == name, free).values(**values)).rowcount:
        return True
    return insert_new(conn, table, {"name": name, **values})


def release(conn: Connection, name: str, holder: str) -> None:
    """Give a lease back, if it is still held by `holder`."""
    conn.execute(delete(table).where(table.c.name == name, table.c.holder == holder))
