"""All checks of the database, one after the other; what they find is told as it is found."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

from sqlalchemy.exc import SQLAlchemyError

from fleet.core.finding import Finding, fail, ok, warn
from fleet.errors import Busy
from fleet.store.database import Database
from fleet.store.examine import database, desk, lanes, sealed, work
from fleet.store.examine.check import Ask, Check, stride_of

MAX_TOLD = 20  # findings of one check; beyond it they are counted

CHECKS = (
    database.SCHEMA,
    database.INTEGRITY,
    lanes.MARKS,
    lanes.BATCHES,
    lanes.LATEST,
    sealed.ORDER,
    sealed.CONTENTS,
    sealed.ROLLUPS,
    desk.ALARMS,
    desk.TICKETS,
    work.LEASES,
    work.SEALING,
    work.PARTS,
    work.QUARANTINE,
)
"""In the order in which they are done: what stands first makes the rest worth reading."""


async def examine(db: Database, *, now_us: int, deep: bool, jobs: Mapping[str, float]) -> AsyncIterator[Finding]:
    """Yield what all checks find, at least one finding each; `jobs` should run, each every so many seconds."""
    ask = Ask(now_us, deep=deep, jobs=jobs)
    try:
        ask = replace(ask, stride=await db.read(stride_of))
    except SQLAlchemyError as error:
        yield _unreadable("database", error)
    for check in CHECKS:
        async for finding in _done(db, check, ask):
            yield finding


async def _done(db: Database, check: Check, ask: Ask) -> AsyncIterator[Finding]:
    looked = found = 0
    after: str | None = ""
    while after is not None:
        here = after
        try:
            part = await db.read(lambda conn: check.look(conn, ask, here))  # noqa: B023 - read at once
        except Busy as busy:
            yield fail(check.name, f"{busy.message[:1].upper()}{busy.message[1:]}.", busy.hint or "Ask again.")
            return
        except SQLAlchemyError as error:
            yield _unreadable(check.name, error)
            return
        looked += part.looked
        for finding in part.found:
            found += 1
            if found <= MAX_TOLD:
                yield finding
        after = part.following
    if found > MAX_TOLD:
        yield warn(check.name, f"And {found - MAX_TOLD} more like these.", "Mend the first ones, then ask again.")
    if not found:
        yield ok(check.name, check.well.format(f"{looked:,}"))


def _unreadable(check: str, error: SQLAlchemyError) -> Finding:
    said = str(getattr(error, "orig", None) or error).splitlines()[0]
    return fail(
        check, f"The database cannot be read here, what lies behind was not looked at: {said}.", database.RESTORE
    )
