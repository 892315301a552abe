"""The presence job: says once, in an event, that a device became late or offline."""

from fleet.jobs.runner import Job
from fleet.store import presence
from fleet.store.database import Database

EVERY_S = 1.0
AT_ONCE = 1000  # devices announced in one transaction


async def announce(db: Database, now_us: int) -> None:
    """Announce whatever changed by `now_us`."""
    while due := await db.read(lambda conn: presence.due(conn, now_us=now_us, limit=AT_ONCE)):
        await db.write(lambda conn, ids=due: presence.announce(conn, ids, now_us=now_us))  # type: ignore[misc] # bound now


PRESENCE = Job("presence", EVERY_S, announce)
