"""The newest reading of each series, one row a device: what screens show first."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from agent.wire.messages import Newest, Value
from fleet.store.schema import latest as table
from fleet.store.upsert import upsert

MAX_SERIES = 2048  # series of one device that are kept; beyond it, those not heard of longest are forgotten


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


def parse(body: str | None) -> dict[str, list[Any]]:
    """Read a row's body: series → [t_us, v, unit]."""
    found: dict[str, list[Any]] = json.loads(body) if body else {}
    return found


def merge(body: str | None, heard: Sequence[Newest]) -> str | None:
    """Return the body with what was heard, None if nothing in it changes: a live value never moves back in time."""
    known = parse(body)
    changed = False
    for new in heard:
        old = known.get(new.name)
        if old is None or new.t_us >= old[0]:
            entry = [new.t_us, new.v, new.unit]
            changed = changed or old != entry
            known[new.name] = entry
    if not changed:
        return None
    if len(known) > MAX_SERIES:
        newest = sorted(known, key=lambda name: known[name][0], reverse=True)[:MAX_SERIES]
        known = {name: known[name] for name in newest}
    return json.dumps(known, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def put(conn: Connection, device_id: str, body: str) -> None:
    """Keep a body as `merge` made it."""
    upsert(conn, table, ["device_id"], {"device_id": device_id, "body": body})
