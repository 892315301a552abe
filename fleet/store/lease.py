"""Leases: who does a piece of periodic work, among any number of nodes.

A lease is held until a time, not until a release: a node that dies gives it up by itself. The time is the database's,
so clocks of nodes may differ by as much as they like; a node counts its own time from before it asked, and so takes a
lease for over before the database does. What is done under a lease is written in transactions that hold the lease's
row: another node cannot take it before they have ended, and none is written after another has it.
"""

from sqlalchemy import BigInteger, Connection, cast, delete, func, or_, select, update

from fleet.clock import now_us
from fleet.errors import Busy
from fleet.store.engine import is_sqlite
from fleet.store.schema import lease as table
from fleet.store.upsert import insert_new

_CLOCK = select(cast(func.extract("epoch", func.clock_timestamp()) * 1_000_000, BigInteger))


def take(conn: Connection, name: str, holder: str, *, for_us: int) -> bool:
    """Take or renew a lease from now on; tells whether `holder` has it now."""
    now = clock_us(conn)
    values = {"holder": holder, "until_us": now + for_us}
    free = or_(table.c.holder == holder, table.c.until_us <= now)
    if conn.execute(update(table).where(table.c.name == name, free).values(**values)).rowcount:
        return True
    return insert_new(conn, table, {"name": name, **values})


def keep(conn: Connection, name: str, holder: str) -> None:
    """Hold on to a lease until the transaction ends; raises Busy where another node has it, or may take it."""
    mine = select(table.c.name).where(table.c.name == name, table.c.holder == holder, table.c.until_us > clock_us(conn))
    if conn.execute(mine.with_for_update(read=True)).one_or_none() is None:
        raise Busy(f"the lease of {name} has run out", retry_after_s=1, hint="Another node does the work.")


def release(conn: Connection, name: str, holder: str) -> None:
    """Give a lease back, if it is still held by `holder`."""
    conn.execute(delete(table).where(table.c.name == name, table.c.holder == holder))


def clock_us(conn: Connection) -> int:
    """Return the time by which nodes agree: all of PostgreSQL ask its clock, SQLite has one machine."""
    return now_us() if is_sqlite(conn) else int(conn.execute(_CLOCK).scalar_one())
