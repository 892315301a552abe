"""The nodes that serve this database: each writes its row again and again, and finds the others by theirs.

Times are the database's own, as those of leases are.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, delete, select

from agent.wire.units import US_PER_S
from fleet.store.lease import clock_us
from fleet.store.schema import lease
from fleet.store.schema import node as table
from fleet.store.upsert import upsert

GONE_S = 15  # after which a node that says nothing is gone
FORGOTTEN_S = 86_400  # after which it is forgotten


@dataclass(frozen=True, slots=True)
class Node:
    """One server among several."""

    address: str  # host:port at which the other nodes reach its broker
    holder: str  # its name in leases
    version: str
    started_us: int
    seen_us: int
    is_up: bool
    jobs: tuple[str, ...] = ()  # that it does at present


def beat(conn: Connection, address: str, holder: str, version: str, *, started_us: int) -> str | None:
    """Say that the node is there; returns who said so before at this address, None if nobody did."""
    now_us = clock_us(conn)
    before = conn.execute(select(table.c.holder).where(table.c.address == address)).scalar_one_or_none()
    facts = {"holder": holder, "version": version, "started_us": started_us, "seen_us": now_us}
    upsert(conn, table, ("address",), {"address": address, **facts})
    conn.execute(delete(table).where(table.c.seen_us < now_us - FORGOTTEN_S * US_PER_S))
    return before


def leave(conn: Connection, address: str) -> None:
    """Say that the node is going."""
    conn.execute(delete(table).where(table.c.address == address))


def every(conn: Connection) -> list[Node]:
    """Return all nodes by address, those included that went without a word within the last day."""
    now_us = clock_us(conn)
    jobs: dict[str, list[str]] = {}
    held = select(lease.c.holder, lease.c.name).where(lease.c.until_us > now_us).order_by(lease.c.name)
    for row in conn.execute(held):
        jobs.setdefault(row.holder, []).append(row.name)
    return [
        Node(
            row.address,
            row.holder,
            row.version,
            row.started_us,
            row.seen_us,
            row.seen_us > now_us - GONE_S * US_PER_S,
            tuple(jobs.get(row.holder, ())),
        )
        for row in conn.execute(select(table).order_by(table.c.address))
    ]
