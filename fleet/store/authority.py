"""The root that the devices of this database trust; its key too, sealed, where several nodes share it."""

from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from fleet.store.engine import take_turn
from fleet.store.schema import authority as table
from fleet.store.upsert import insert_new

_TURN = 0x726F6F74  # of those who start: "root"


@dataclass(frozen=True, slots=True)
class Root:
    """What the database knows of the root."""

    fingerprint: str  # SHA-256 of its DER, hex
    certificate: str  # PEM
    sealed_key: bytes | None  # None: it lies in the data directory of the one server


def find(conn: Connection) -> Root | None:
    """Return the root, None before the first start; nobody else makes one until the transaction ends."""
    take_turn(conn, _TURN)
    row = conn.execute(select(table.c.fingerprint, table.c.certificate, table.c.sealed_key)).one_or_none()
    return None if row is None else Root(row.fingerprint, row.certificate, row.sealed_key)


def keep(conn: Connection, fingerprint: str, certificate: str, sealed_key: bytes | None, *, now_us: int) -> None:
    """Keep the root, or its key where the root is known."""
    values = {"certificate": certificate, "sealed_key": sealed_key, "created_us": now_us}
    if not insert_new(conn, table, {"fingerprint": fingerprint, **values}):
        conn.execute(update(table).where(table.c.fingerprint == fingerprint).values(sealed_key=sealed_key))
