"""What ingest has to know of devices before it takes their batches, in one query for all of them: the hot path."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import ARRAY, Connection, Select, Text, and_, bindparam, func, select, update

from agent.wire.messages import ConfigOutcome, Lane, Reported
from fleet.core.intake import START, Mark, Standing
from fleet.core.presence import Facts, Presence
from fleet.errors import FleetError, Refused
from fleet.store import latest as store_latest
from fleet.store.config import desired_id
from fleet.store.device import unknown
from fleet.store.schema import config, device, gap, latest, mark, presence, reported

Wanted = tuple[str, str, Lane]
"""Device, store and lane."""

_LOCK = select(device.c.id).where(device.c.id == bindparam("device_id")).with_for_update(key_share=True)
_LOCK_ALL = (
    select(device.c.id)
    .where(device.c.id == func.any(bindparam("device_ids", type_=ARRAY(Text))))
    .order_by(device.c.id)
    .with_for_update(key_share=True)
)
_NOTE_AGENT = update(device).where(device.c.id == bindparam("device"))  # sets what it is given


def lock(conn: Connection, device_id: str) -> None:
    """Keep other nodes from writing about this device until the transaction ends; on SQLite there is no other."""
    if conn.dialect.name != "sqlite":
        conn.execute(_LOCK, {"device_id": device_id})


def lock_all(conn: Connection, device_ids: Sequence[str]) -> None:
    """Do the same for many devices, in order of id: nodes that lock some of the same wait, and do not deadlock."""
    if conn.dialect.name != "sqlite":
        conn.execute(_LOCK_ALL, {"device_ids": list(device_ids)})


def standings(conn: Connection, wanted: Iterable[Wanted]) -> dict[str, Standing]:
    """Lock the devices and return how they stand, by id, each with the marks that are wanted; none that is unknown.

    All are locked in order of id: nodes that take batches of the same devices then wait, and do not deadlock.
    """
    keys = list(dict.fromkeys(wanted))
    rows: Iterable[Sequence[Any]]
    if conn.dialect.name == "sqlite":
        text = conn.execute(_ON_SQLITE, {"wanted": msgspec.json.encode(keys).decode()}).scalar_one()
        rows = msgspec.json.decode(text, type=list[list[Any]])
    else:
        # The lock is a statement of its own: what a statement reads was fixed before it waited.
        conn.execute(_LOCK_ALL, {"device_ids": list({device_id for device_id, _, _ in keys})})
        device_ids, store_ids, lanes = (list(column) for column in zip(*keys, strict=True))
        rows = conn.execute(_ON_POSTGRESQL, {"device_ids": device_ids, "store_ids": store_ids, "lanes": lanes})
    found: dict[str, Standing] = {}
    for row in rows:
        (device_id, store_id, lane, seq, t_us, has_gap_ahead) = row[:6]
        one = found.get(device_id)
        if one is None:
            one = found[device_id] = _standing(device_id, row[6:])
        one.marks[store_id, _LANES[lane]] = START if seq is None else Mark(seq, t_us)
        if has_gap_ahead:
            one.gaps_ahead.add((store_id, _LANES[lane]))
    return found


def standing(conn: Connection, device_id: str, store_id: str = "", lane: Lane = Lane.TELEMETRY) -> Standing:
    """Lock one device and return how it stands; raises NotFound, and Refused if it is revoked."""
    found = standings(conn, [(device_id, store_id, lane)]).get(device_id)
    problem = trouble(device_id, found)
    if found is None or problem is not None:
        raise problem or unknown(device_id)
    return found


def trouble(device_id: str, found: Standing | None) -> FleetError | None:
    """Return what keeps the device from being heard: NotFound, or Refused if it is revoked."""
    if found is None:
        return unknown(device_id)
    if found.is_revoked:
        return Refused(f"the device {device_id} is revoked", hint="Enrol it anew with a new claim.")
    return None


def note_agent(conn: Connection, device_id: str, agent_version: str) -> None:
    """Note the release of the agent that the device runs."""
    conn.execute(_NOTE_AGENT, {"device": device_id, "agent_version": agent_version})


def _statement(source: Any, device_id: Any, store_id: Any, lane: Any) -> Select[Any]:  # noqa: ANN401 - expressions
    """Make the query, from the keys that are wanted as the database takes them in."""
    same = and_(gap.c.device_id == device.c.id, gap.c.store_id == store_id, gap.c.lane == lane)
    ahead = select(gap.c.from_seq).where(same, gap.c.from_seq > func.coalesce(mark.c.seq, 0))
    ahead = ahead.correlate_except(gap)
    return (
        select(
            device.c.id,
            store_id,
            lane,
            mark.c.seq,
            mark.c.t_us,
            ahead.exists(),
            device.c.product_id,
            device.c.agent_version,
            device.c.revoked_us,
            presence.c.last_seen_us,
            presence.c.next_s,
            presence.c.link_up,
            presence.c.state,
            presence.c.since_us,
            presence.c.connection,
            presence.c.boot_id,
            presence.c.link_ended_us,
            reported.c.handled,
            reported.c.outcome,
            reported.c.applied,
            reported.c.applied_hash,
            reported.c.reason,
            config.c.id,
            config.c.hash,
            latest.c.body,
        )
        .select_from(source)
        .join(device, device.c.id == device_id)
        .outerjoin(presence, presence.c.device_id == device.c.id)
        .outerjoin(mark, and_(mark.c.device_id == device.c.id, mark.c.store_id == store_id, mark.c.lane == lane))
        .outerjoin(latest, latest.c.device_id == device.c.id)
        .outerjoin(reported, reported.c.device_id == device.c.id)
        .outerjoin(config, config.c.id == desired_id(device.c.id, device.c.product_id))
    )


def _on_sqlite() -> Select[Any]:
    """Make one row of all: after each row that SQLite returns, Python's other threads have a turn."""
    keys = func.json_each(bindparam("wanted", type_=Text)).table_valued("value", name="wanted")
    each = _statement(keys, *(func.json_extract(keys.c.value, f"$[{n}]", type_=Text) for n in range(3)))
    *facts, body = each.selected_columns
    return each.with_only_columns(func.json_group_array(func.json_array(*facts, func.json(body))))


def _on_postgresql() -> Select[Any]:
    names = ("device_ids", "store_ids", "lanes")
    columns = (bindparam(name, type_=ARRAY(Text)) for name in names)
    keys = func.unnest(*columns).table_valued(*names, name="wanted").render_derived()
    return _statement(keys, keys.c.device_ids, keys.c.store_ids, keys.c.lanes)


_ON_SQLITE = _on_sqlite()
_ON_POSTGRESQL = _on_postgresql()
_LANES = {lane.value: lane for lane in Lane}
_PRESENCES = {state.value: state for state in Presence}
_OUTCOMES = {outcome.value: outcome for outcome in ConfigOutcome}


def _standing(device_id: str, facts: Sequence[Any]) -> Standing:
    (product_id, agent_version, revoked_us) = facts[:3]
    (last_seen_us, next_s, link_up, state, since_us, connection, boot_id, link_ended_us) = facts[3:11]
    (handled, outcome, applied, applied_hash, reason, revision, text_hash, body) = facts[11:]
    heard = said = None
    if last_seen_us is not None:
        heard = Facts(
            last_seen_us, next_s, bool(link_up), _PRESENCES[state], since_us, connection, boot_id, link_ended_us
        )
    if handled is not None:
        said = Reported(handled, _OUTCOMES[outcome], applied, applied_hash, reason)
    return Standing(
        device_id=device_id,
        product_id=product_id,
        is_revoked=revoked_us is not None,
        agent_version=agent_version,
        facts=heard,
        reported=said,
        desired=revision or 0,
        desired_hash=text_hash or "",
        latest=store_latest.parse(body) if isinstance(body, str) else body or {},
    )
