"""Memory of the fleet's rules, one row a device, so that a restart loses no running hold."""

import json
from collections.abc import Mapping

from sqlalchemy import Connection, select

from agent.rules.phase import RuleState, pack, unpack
from fleet.store.schema import rule_state as table
from fleet.store.upsert import upsert

States = Mapping[tuple[str, str], RuleState]
"""By (rule name, series)."""


def get(conn: Connection, device_id: str) -> dict[tuple[str, str], RuleState]:
    """Return the states of the device's rules."""
    body = conn.execute(select(table.c.body).where(table.c.device_id == device_id)).scalar_one_or_none()
    if body is None:
        return {}
    return {
        (rule, series): unpack(fields)
        for rule, by_series in json.loads(body).items()
        for series, fields in by_series.items()
    }


def put(conn: Connection, device_id: str, states: States) -> None:
    """Keep the states of the device's rules."""
    body: dict[str, dict[str, list[object]]] = {}
    for (rule, series), state in states.items():
        body.setdefault(rule, {})[series] = pack(state)
    upsert(conn, table, ["device_id"], {"device_id": device_id, "body": json.dumps(body, separators=(",", ":"))})
