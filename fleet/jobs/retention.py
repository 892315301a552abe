"""The retention job: lets go of telemetry that is older than it is to be kept, device by device, some at a time."""

import structlog

from fleet.core.retention import Kept
from fleet.jobs.runner import Job
from fleet.store import retention
from fleet.store.database import Works

EVERY_S = 60.0
TURN_S = 20.0  # after which a turn begins nothing more: a lease must outlive it

_log = structlog.get_logger(part="retention")


async def turn(db: Works, now_us: int) -> None:
    """Let go of what has become too old since the last turn."""
    gone, _ = await retention.drop_some(db, now_us, most_s=TURN_S)
    if any(one.rows for one in gone.values()):
        sizes = {kept.value: one.size_bytes for kept, one in gone.items() if one.rows}
        _log.info("let go of telemetry that was kept long enough", readings=gone[Kept.READINGS].readings, bytes=sizes)


RETENTION = Job("retention", EVERY_S, turn)
