"""Reading a quarantined batch again: after an upgrade that reads it, or when the time has come that it lies in."""

from collections.abc import Callable

from sqlalchemy import Connection

from agent.wire.errors import WireError
from agent.wire.limits import MAX_AHEAD_S
from agent.wire.messages import Lane
from agent.wire.units import US_PER_S
from fleet.clock import now_us
from fleet.core.actor import Actor
from fleet.core.intake import find_ahead
from fleet.errors import Refused
from fleet.gateway import lanes
from fleet.gateway.decode import decode_batch
from fleet.store import quarantine, replay
from fleet.store.database import Database
from fleet.store.quarantine import Quarantined

SHOW = "`fleet quarantine show` says what is wrong; nothing was changed."


class Replay:
    """Implements `fleet.services.ReplayBatch`."""

    def __init__(self, db: Database, clock: Callable[[], int] = now_us) -> None:
        self._db = db
        self._now_us = clock

    async def __call__(self, quarantine_id: int, by: Actor) -> tuple[Quarantined, int, int]:
        """Store what is missing and let the bytes go; returns the batch, and how many rows and readings were missing.

        Raises NotFound, and Refused where it still cannot be read, or where nothing of it is missing.
        """
        return await self._db.write(lambda conn: self._replay(conn, quarantine_id, by))

    def _replay(self, conn: Connection, quarantine_id: int, by: Actor) -> tuple[Quarantined, int, int]:
        moment_us = self._now_us()
        kept = quarantine.find(conn, quarantine_id)
        body = quarantine.body(conn, quarantine_id)
        if not body:
            raise Refused(
                f"the bytes of batch {quarantine_id} are gone", hint="They were let go, discarded or replayed."
            )
        try:
            told = decode_batch(body)
            rows = lanes.rows_of(told)
            find_ahead(told, rows, moment_us + MAX_AHEAD_S * US_PER_S)
        except WireError as error:
            text = f"batch {quarantine_id} of {kept.device_id} still cannot be read: {error}"
            raise Refused(text, hint=SHOW) from error
        done = replay.store_missing(conn, kept.device_id, told, rows, body, now_us=moment_us)
        if not done.rows:
            raise Refused(
                f"nothing of batch {quarantine_id} is missing: no row of it lies in a gap of {kept.device_id}",
                hint="The device may still send it itself; else `fleet quarantine discard` lets its bytes go.",
            )
        if told.lane is Lane.EVENTS:
            seqs = {row.seq for row in done.rows}
            events = [row for row in told.events if row.seq in seqs]
            lanes.store_events(conn, kept.device_id, told.store_id, events, received_us=moment_us)
        replay.tell(conn, quarantine_id, kept.device_id, done, now_us=moment_us, by=by)
        return quarantine.empty(conn, quarantine_id), len(done.rows), done.readings
