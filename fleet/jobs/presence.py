"""The presence job: says once, in an event, that a device became late or offline."""

from fleet.jobs.runner import Job
from fleet.store import presence
from fleet.store.database import Works

EVERY_S = 1.0
AT_ONCE = 1000  # devices announced in one transaction


async def announce(db: Works, now_us: int) -> None:
    """Announce whatever changed by `now_us`."""
    announced = AT_ONCE
    while announced == AT_ONCE:
        due = await db.read(lambda conn: presence.due(conn, now_us=now_us, limit=AT_ONCE))
        announced = await _announce(db, due, now_us) if due else 0


async def _announce(db: Works, device_ids: list[str], now_us: int) -> int:
    return await db.write(lambda conn: presence.announce(conn, device_ids, now_us=now_us))


PRESENCE = Job("presence", EVERY_S, announce)
