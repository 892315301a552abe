"""The sealing job: batches become chunks and rollups, device by device, some at a time.

It goes round all devices that have batches, and seals those that are due. Making chunks is done in a process beside the
server's (planner.py); what the writer does is short. It may be killed at any point: a sealing has happened whole, or
not at all. It lets a short rush of batches pass: devices wait for acks, and nobody for a sealing.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from fleet.core.column import ChunkError
from fleet.core.rush import Patience
from fleet.jobs.runner import Job
from fleet.store import seal
from fleet.store.database import Works

EVERY_S = 5.0
DEVICES_AT_ONCE = 1000  # looked at in one turn
TURN_S = 4.0  # after which a turn seals nothing more: a lease must outlive it

Planning = Callable[[str], Awaitable[seal.Plan | None]]
"""Makes what `seal.plan` makes of a device."""

_log = structlog.get_logger(part="sealing")


class Sealing:
    """One node's sealing: all that it keeps is where in the round it is."""

    def __init__(self, plan: Planning, is_rushed: Callable[[], bool]) -> None:
        self._plan = plan
        self._is_rushed = is_rushed
        self._patience = Patience()
        self._after = ""

    async def turn(self, db: Works, now_us: int) -> None:
        """Seal the next devices that are due."""
        if self._waits():
            return
        until = asyncio.get_running_loop().time() + TURN_S
        after = self._after
        due, following = await db.read(lambda conn: seal.due(conn, after=after, limit=DEVICES_AT_ONCE, now_us=now_us))
        for device_id in due:
            if asyncio.get_running_loop().time() > until or self._waits():
                return
            self._after = device_id  # first: whatever is wrong with one device, the next turn goes on after it
            await self._seal(db, device_id, now_us, until)
        self._after = following or ""

    def _waits(self) -> bool:
        """Look whether a rush is to be let pass."""
        now_s = asyncio.get_running_loop().time()
        return self._patience.waits(now_s, is_rush=self._is_rushed())

    async def _seal(self, db: Works, device_id: str, now_us: int, until: float) -> None:
        while asyncio.get_running_loop().time() <= until and not self._waits():
            try:
                more = await seal_some(db, self._plan, device_id, now_us)
            except ChunkError as error:
                # The others go on; this one's batches stay as they are, and can be read.
                _log.error("a chunk is damaged, its device is not sealed", device=device_id, problem=str(error))
                return
            if not more:
                return


async def seal_some(db: Works, plan: Planning, device_id: str, now_us: int) -> bool:
    """Seal the device's oldest batches, whether they are due or not; tells if more are left. Raises ChunkError."""
    made = await plan(device_id)
    if made is None:
        return False
    applied = await db.write(lambda conn: seal.apply(conn, made, now_us=now_us))
    return made.more or not applied


def sealing(plan: Planning, is_rushed: Callable[[], bool]) -> Job:
    """Return the job; `is_rushed` tells whether ingest has its hands full."""
    return Job("sealing", EVERY_S, Sealing(plan, is_rushed).turn)
