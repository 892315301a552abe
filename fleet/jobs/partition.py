"""The partition job: makes the parts of tables ahead of time, on PostgreSQL."""

import structlog
from sqlalchemy.exc import DBAPIError

from fleet.jobs.runner import Job
from fleet.store import partition
from fleet.store.database import Works

EVERY_S = 600.0  # parts are made weeks ahead, so a turn that fails does no harm

_log = structlog.get_logger(part="partitions")


async def turn(db: Works, now_us: int) -> None:
    """Make the parts that are lacking; somebody who is in the way is waited for until the next turn."""
    if not await db.read(partition.parts):
        return  # SQLite
    try:
        made = await db.beside(lambda conn: partition.make_ahead(conn, now_us))
    except DBAPIError as error:
        if not partition.is_to_be_tried_again(error):
            raise
        return
    if made:
        _log.info("made parts of tables", names=[part.name for part in made])


PARTITION = Job("partition", EVERY_S, turn)
