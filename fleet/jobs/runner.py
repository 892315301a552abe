"""Periodic work, done by one node at a time: each job runs under a lease in the database.

A job that fails is logged and tried again at its next turn; it never takes the server down. A node that stops gives
its leases back; one that dies lets them run out.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from fleet.clock import now_us
from fleet.errors import FleetError
from fleet.store import lease
from fleet.store.database import Database

US_PER_S = 1_000_000
LEASE_PERIODS = 3  # a lease outlives this many turns
MAX_HOLDER_CHARS = 64
MIN_LEASE_S = 10.0  # and clocks that differ by some seconds

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of periodic work. `run` gets the database and the time, µs, and does one turn."""

    name: str
    every_s: float
    run: Callable[[Database, int], Awaitable[None]]

    @property
    def lease_s(self) -> float:
        """How long a lease lasts, seconds."""
        return max(MIN_LEASE_S, LEASE_PERIODS * self.every_s)


async def run_jobs(db: Database, jobs: Sequence[Job], *, holder: str, clock: Callable[[], int] = now_us) -> None:
    """Run all jobs until cancelled. `holder` names this node among all, by its last 64 characters."""
    holder = holder[-MAX_HOLDER_CHARS:]
    async with asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(_run_job(db, job, holder, clock), name=f"job {job.name}")


async def _run_job(db: Database, job: Job, holder: str, clock: Callable[[], int]) -> None:
    held_until_us = 0
    try:
        while True:
            try:
                held_until_us = await _turn(db, job, holder, clock(), held_until_us)
            except FleetError as error:
                _log.warning("job failed, will run again", job=job.name, problem=error.message)
            except Exception:  # noqa: BLE001 - the supervisor of jobs: a mistake in one is logged, the others go on
                _log.exception("job failed, will run again", job=job.name)
            await asyncio.sleep(job.every_s)
    finally:
        with suppress(FleetError):
            await db.write(lambda conn: lease.release(conn, job.name, holder))


async def _turn(db: Database, job: Job, holder: str, now: int, held_until_us: int) -> int:
    """Do one turn if this node holds the lease or can get it; returns until when it is held, 0 if it is not."""
    if held_until_us - now < job.lease_s * US_PER_S / 2:
        until_us = now + int(job.lease_s * US_PER_S)
        if not await db.write(lambda conn: lease.take(conn, job.name, holder, now_us=now, until_us=until_us)):
            return 0
        held_until_us = until_us
    async with asyncio.timeout((held_until_us - now) / US_PER_S):
        await job.run(db, now)
    return held_until_us
