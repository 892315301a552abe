"""Facts about each device's calls, and the announcement of what follows from them."""

from collections.abc import Sequence

from sqlalchemy import Connection, Row, and_, bindparam, insert, or_, select, update

from agent.wire.units import US_PER_S
from fleet.core.actor import FLEET
from fleet.core.event import Event
from fleet.core.presence import LATE_GRACE_S, LATE_PERIODS, OFFLINE_GRACE_S, OFFLINE_PERIODS, Facts, Presence, judge
from fleet.store import event, intake
from fleet.store.schema import device
from fleet.store.schema import presence as table

KINDS = {Presence.ONLINE: "device.online", Presence.LATE: "device.late", Presence.OFFLINE: "device.offline"}
TEXTS = {
    Presence.ONLINE: "{} is online.",
    Presence.LATE: "{} is late: a call is overdue.",
    Presence.OFFLINE: "{} is offline.",
}
LINK_ENDED = "{} is late: its link ended, and it was not heard since."

_ONE = select(table).where(table.c.device_id == bindparam("device"))
_NOTE = update(table).where(table.c.device_id == bindparam("device"))  # sets what it is given
_NEW = insert(table)


def get(conn: Connection, device_id: str) -> Facts | None:
    """Return what is known of one device's calls, None if it never called."""
    row = conn.execute(_ONE, {"device": device_id}).one_or_none()
    return None if row is None else facts_of(row)


def health(conn: Connection, device_id: str) -> str | None:
    """Return the newest health that the device reported, JSON of wire's Health; None if it never did."""
    return conn.execute(select(table.c.health).where(table.c.device_id == device_id)).scalar_one_or_none()


def of(conn: Connection, device_ids: Sequence[str], *, now_us: int) -> dict[str, tuple[Presence, int, int | None]]:
    """Return presence, since when and last seen (µs) of each of the devices, as of `now_us`."""
    rows = conn.execute(select(table).where(table.c.device_id.in_(device_ids)))
    known = {row.device_id: facts_of(row) for row in rows}
    found = {}
    for device_id in device_ids:
        facts = known.get(device_id)
        found[device_id] = (*judge(facts, now_us), facts.last_seen_us if facts else None)
    return found


def seen(  # noqa: PLR0913 - the facts of one call
    conn: Connection,
    device_id: str,
    facts: Facts | None,
    *,
    now_us: int,
    next_s: int | None = None,
    boot_id: str | None = None,
    health_json: str | None = None,
) -> None:
    """Note that the device was heard; None leaves a fact as it is. Announces device.online if it was not."""
    values: dict[str, object] = {
        "last_seen_us": now_us,
        "next_s": next_s,
        "boot_id": boot_id,
        "health": health_json,
    }
    values = {name: value for name, value in values.items() if value is not None}
    is_new = facts is None or facts.announced is not Presence.ONLINE
    if is_new:
        values |= {"state": Presence.ONLINE.value, "since_us": now_us}
    if facts is None:
        conn.execute(_NEW, {"device_id": device_id, "next_s": 0, "link_up": False, **values})
    else:
        conn.execute(_NOTE, {"device": device_id, **values})
    if is_new:
        event.append(conn, online(device_id, now_us))


def due(conn: Connection, *, now_us: int, limit: int) -> list[str]:
    """Return devices that became late or offline and are not announced as such. Revoked ones are silent."""
    silent_us = now_us - table.c.last_seen_us
    overdue = silent_us >= (LATE_PERIODS * table.c.next_s + LATE_GRACE_S) * US_PER_S
    cut_off = table.c.link_ended_us.between(table.c.last_seen_us, now_us - LATE_GRACE_S * US_PER_S)
    offline = silent_us >= (OFFLINE_PERIODS * table.c.next_s + OFFLINE_GRACE_S) * US_PER_S
    changed = or_(
        and_(table.c.state == Presence.ONLINE.value, or_(overdue, cut_off)),
        and_(table.c.state == Presence.LATE.value, offline),
    )
    query = select(table.c.device_id).join(device, device.c.id == table.c.device_id)
    query = query.where(device.c.revoked_us.is_(None), changed).order_by(table.c.device_id).limit(limit)
    return list(conn.execute(query).scalars())


def announce(conn: Connection, device_ids: Sequence[str], *, now_us: int) -> int:
    """Announce what became of the devices, each change once; returns how many there were."""
    intake.lock_all(conn, device_ids)
    mine = select(table).where(table.c.device_id.in_(device_ids)).order_by(table.c.device_id).with_for_update()
    announced = 0
    for row in conn.execute(mine).all():
        facts = facts_of(row)
        state, since_us = judge(facts, now_us)
        if state.value != row.state:
            conn.execute(_NOTE, {"device": row.device_id, "state": state.value, "since_us": since_us})
            is_cut_off = state is Presence.LATE and facts.link_ended_us == since_us - LATE_GRACE_S * US_PER_S
            text = LINK_ENDED if is_cut_off else TEXTS[state]
            event.append(conn, _told(row.device_id, state, text, t_us=since_us, received_us=now_us))
            announced += 1
    return announced


def facts_of(row: Row[tuple[object, ...]]) -> Facts:
    """Read the facts from a row of the table."""
    return Facts(
        last_seen_us=row.last_seen_us,
        next_s=row.next_s,
        link_up=row.link_up,
        announced=Presence(row.state),
        since_us=row.since_us,
        connection=row.connection,
        boot_id=row.boot_id,
        link_ended_us=row.link_ended_us,
    )


def online(device_id: str, now_us: int) -> Event:
    """Make the event that tells of a device that is there again, or for the first time."""
    return _told(device_id, Presence.ONLINE, TEXTS[Presence.ONLINE], t_us=now_us, received_us=now_us)


def _told(device_id: str, state: Presence, text: str, *, t_us: int, received_us: int) -> Event:
    about = (device_id, FLEET.id, FLEET.origin, text.format(device_id), device_id, {"since_us": t_us})
    return Event(t_us, received_us, KINDS[state], "device", *about)
