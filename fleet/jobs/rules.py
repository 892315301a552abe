"""The rules job: clears the fleet's own alarms whose rule is gone from the config, whether the device calls or not.

Judging is no periodic work: what time it is for a device is said by its own calls (fleet/store/rule.py).
"""

from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from fleet.jobs.runner import Job
from fleet.store import alarm, rule
from fleet.store.alarm import Alarm
from fleet.store.database import Works

EVERY_S = 5.0
AT_ONCE = 500  # alarms looked at in one transaction


async def turn(db: Works, now_us: int) -> None:
    """Look at every open alarm that a rule of the fleet has raised; nothing is written where nothing is gone."""
    looked_at, last_id = AT_ONCE, 0
    while looked_at == AT_ONCE:
        looked_at, last_id, gone = await db.read(_looking(last_id))
        if gone:
            await db.write(_clearing(gone, now_us))


def _looking(after: int) -> Callable[[Connection], tuple[int, int, list[Alarm]]]:
    """Make the work that reads the next open alarms: how many, the last one's id, and those whose rule is gone."""

    def work(conn: Connection) -> tuple[int, int, list[Alarm]]:
        known = alarm.open_by_fleet(conn, after=after, limit=AT_ONCE)
        return len(known), known[-1].id if known else after, [one for one in known if rule.is_gone(conn, one)]

    return work


def _clearing(gone: Sequence[Alarm], now_us: int) -> Callable[[Connection], None]:
    def work(conn: Connection) -> None:
        for one in gone:
            rule.clear_gone(conn, one, now_us=now_us)

    return work


RULES = Job("rules", EVERY_S, turn)
