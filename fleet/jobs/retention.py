"""The retention job: lets go of telemetry that is older than it is to be kept, device by device, some at a time.

On PostgreSQL it drops a part of a table when every device's mark passed it a turn ago: whoever reads by the marks of
before has ended by then, or holds a lock for which the drop does not wait long.
"""

import structlog

from fleet.core.partition import Part
from fleet.core.retention import Kept
from fleet.errors import Busy
from fleet.jobs.runner import Job
from fleet.store import partition, retention
from fleet.store.database import Works

EVERY_S = 60.0
TURN_S = 20.0  # after which a turn begins nothing more: a lease must outlive it

_log = structlog.get_logger(part="retention")


class Retention:
    """One node's retention: all that it keeps is which parts every mark had passed at its last turn."""

    def __init__(self) -> None:
        self._passed: set[Part] = set()

    async def turn(self, db: Works, now_us: int) -> None:
        """Let go of what has become too old since the last turn."""
        passed = await db.read(lambda conn: retention.passed(conn, now_us=now_us))
        for kept, part in passed:
            if part in self._passed:
                await _drop(db, kept, part)
        self._passed = {part for _, part in passed}
        gone, _ = await retention.drop_some(db, now_us, most_s=TURN_S)
        if any(one.rows for one in gone.values()):
            sizes = {kept.value: one.size_bytes for kept, one in gone.items() if one.rows}
            readings = gone[Kept.READINGS].readings
            _log.info("let go of telemetry that was kept long enough", readings=readings, bytes=sizes)


async def _drop(db: Works, kept: Kept, part: Part) -> None:
    try:
        dropped = await db.beside(lambda conn: partition.drop(conn, kept, part))
    except Busy:
        return  # somebody reads: at the next turn
    if dropped:
        _log.info("dropped a part of a table that was kept long enough", name=part.name)


RETENTION = Job("retention", EVERY_S, Retention().turn)
