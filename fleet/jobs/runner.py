"""Periodic work, done by one node at a time: each job runs under a lease in the database.

A job that fails is logged and tried again at its next turn; it never takes the server down. A node that stops gives
its leases back; one that dies lets them run out. What a turn writes is written while the lease is held, or not at all:
a turn that was overtaken (a machine that slept, a write that waited) does nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import structlog
from sqlalchemy import Connection

from agent.wire.units import US_PER_S
from fleet.clock import now_us
from fleet.errors import FleetError
from fleet.store import lease
from fleet.store.database import Database, Works

T = TypeVar("T")

LEASE_PERIODS = 3  # a lease outlives this many turns
MAX_HOLDER_CHARS = 64
MIN_LEASE_S = 10.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of periodic work. `run` gets the database and the time, µs, and does one turn."""

    name: str
    every_s: float
    run: Callable[[Works, int], Awaitable[None]]

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


@dataclass(frozen=True, slots=True)
class _Leased:
    """The database as a turn sees it: it writes as long as the lease is held; Busy after that."""

    db: Database
    name: str
    holder: str

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await self.db.read(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        return await self.db.write(self._under_lease(work))

    async def beside(self, work: Callable[[Connection], T]) -> T:
        return await self.db.beside(self._under_lease(work))

    def _under_lease(self, work: Callable[[Connection], T]) -> Callable[[Connection], T]:
        def under_lease(conn: Connection) -> T:
            lease.keep(conn, self.name, self.holder)
            return work(conn)

        return under_lease


async def _run_job(db: Database, job: Job, holder: str, clock: Callable[[], int]) -> None:
    held_until_s = 0.0
    try:
        while True:
            try:
                held_until_s = await _turn(db, job, holder, clock, held_until_s)
            except FleetError as error:
                _log.warning("job failed, will run again", job=job.name, problem=error.message)
            except Exception:  # noqa: BLE001 - the supervisor of jobs: a mistake in one is logged, the others go on
                _log.exception("job failed, will run again", job=job.name)
            await asyncio.sleep(job.every_s)
    finally:
        with suppress(FleetError):
            await db.write(lambda conn: lease.release(conn, job.name, holder))


async def _turn(db: Database, job: Job, holder: str, clock: Callable[[], int], held_until_s: float) -> float:
    """Do one turn if this node holds the lease or can get it; returns until when it is held, 0 if it is not.

    Times of holding are monotonic: the database counts from its own time, which is after the one before asking.
    """
    now_s = asyncio.get_running_loop().time()
    if held_until_s - now_s < job.lease_s / 2:
        for_us = int(job.lease_s * US_PER_S)
        if not await db.write(lambda conn: lease.take(conn, job.name, holder, for_us=for_us)):
            return 0.0
        held_until_s = now_s + job.lease_s
    async with asyncio.timeout_at(held_until_s):
        await job.run(_Leased(db, job.name, holder), clock())
    return held_until_s
