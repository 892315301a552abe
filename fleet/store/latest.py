"""The newest reading of each series, one row a device: what screens show first."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, select

from agent.wire.messages import Value
from fleet.core.latest import Entry, Known
from fleet.store.schema import latest as table
from fleet.store.upsert import upsert

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(dict[str, Entry])


@dataclass(frozen=True, slots=True)
class Latest:
    """One series as it was last heard of."""

    t_us: int
    v: Value
    unit: str


def get(conn: Connection, device_id: str) -> dict[str, Latest]:
    """Return the newest reading of each of the device's series, by name."""
    body = conn.execute(select(table.c.body).where(table.c.device_id == device_id)).scalar_one_or_none()
    return {name: Latest(*entry) for name, entry in sorted(parse(body).items())}


def of(conn: Connection, device_ids: Sequence[str]) -> dict[str, dict[str, Latest]]:
    """Return the newest readings of many devices."""
    rows = conn.execute(select(table).where(table.c.device_id.in_(device_ids)))
    return {row.device_id: {name: Latest(*entry) for name, entry in parse(row.body).items()} for row in rows}


def parse(body: str | None) -> dict[str, Entry]:
    """Read a row's body: series → [t_us, v, unit]."""
    return _decoder.decode(body) if body else {}


def dump(known: Known) -> str:
    """Write a row's body."""
    return _encoder.encode(known).decode()


def put(conn: Connection, device_id: str, known: Known) -> None:
    """Keep what is known of the device's series."""
    upsert(conn, table, ["device_id"], {"device_id": device_id, "body": dump(known)})
