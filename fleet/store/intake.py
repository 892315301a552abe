"""What ingest has to know of a device before it takes a batch, in one query: this is the hot path."""

from dataclasses import dataclass

from sqlalchemy import Connection, and_, bindparam, select, update

from agent.wire.messages import ConfigOutcome, Lane, Reported
from fleet.core.presence import Facts, Presence
from fleet.errors import Refused
from fleet.store.device import unknown
from fleet.store.mark import Mark
from fleet.store.schema import device, latest, mark, presence, reported


@dataclass(frozen=True, slots=True)
class Standing:
    """A device as it stands, seen from one lane of one of its stores."""

    agent_version: str
    facts: Facts | None
    mark: Mark
    latest: str | None  # body of the latest row
    reported: Reported | None


_LOCK = select(device.c.id).where(device.c.id == bindparam("device_id")).with_for_update(key_share=True)

_STANDING = (
    select(
        device.c.agent_version,
        device.c.revoked_us,
        presence.c.last_seen_us,
        presence.c.next_s,
        presence.c.link_up,
        presence.c.link_ended_us,
        presence.c.state,
        presence.c.since_us,
        presence.c.connection,
        presence.c.boot_id,
        mark.c.seq,
        mark.c.t_us,
        latest.c.body,
        reported.c.handled,
        reported.c.outcome,
        reported.c.applied,
        reported.c.applied_hash,
        reported.c.reason,
    )
    .select_from(device)
    .outerjoin(presence, presence.c.device_id == device.c.id)
    .outerjoin(
        mark,
        and_(
            mark.c.device_id == device.c.id,
            mark.c.store_id == bindparam("store_id"),
            mark.c.lane == bindparam("lane"),
        ),
    )
    .outerjoin(latest, latest.c.device_id == device.c.id)
    .outerjoin(reported, reported.c.device_id == device.c.id)
    .where(device.c.id == bindparam("device_id"))
)


def lock(conn: Connection, device_id: str) -> None:
    """Keep other nodes from writing about this device until the transaction ends; on SQLite there is no other."""
    if conn.dialect.name != "sqlite":
        conn.execute(_LOCK, {"device_id": device_id})


def standing(conn: Connection, device_id: str, store_id: str = "", lane: Lane = Lane.TELEMETRY) -> Standing:
    """Lock the device and return how it stands; raises NotFound, and Refused if it is revoked."""
    # The lock is a statement of its own: what a statement reads was fixed before it waited.
    lock(conn, device_id)
    row = conn.execute(_STANDING, {"device_id": device_id, "store_id": store_id, "lane": lane.value}).one_or_none()
    if row is None:
        raise unknown(device_id)
    if row.revoked_us is not None:
        raise Refused(f"the device {device_id} is revoked", hint="Enrol it anew with a new claim.")
    facts = said = None
    if row.last_seen_us is not None:
        facts = Facts(
            last_seen_us=row.last_seen_us,
            next_s=row.next_s,
            link_up=row.link_up,
            announced=Presence(row.state),
            since_us=row.since_us,
            connection=row.connection,
            boot_id=row.boot_id,
            link_ended_us=row.link_ended_us,
        )
    if row.handled is not None:
        said = Reported(row.handled, ConfigOutcome(row.outcome), row.applied, row.applied_hash, row.reason)
    return Standing(
        agent_version=row.agent_version,
        facts=facts,
        mark=Mark() if row.seq is None else Mark(row.seq, row.t_us),
        latest=row.body,
        reported=said,
    )


def note_agent(conn: Connection, device_id: str, agent_version: str) -> None:
    """Note the release of the agent that the device runs."""
    conn.execute(update(device).where(device.c.id == device_id).values(agent_version=agent_version))
