"""The second road: `POST /v1/sync` takes the same batch as the link and answers with the same ack.

The body is bounded before and while it is read, the syncs that run at once are bounded, of one device and of all, and
whoever comes beyond is told when to come again: a device that is slow on purpose holds its own places only. Whether
the certificate is still good is asked for each request, so that a revocation holds from the next one on.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.wire.limits import MAX_BATCH_BYTES
from fleet.clock import now_us
from fleet.errors import Busy
from fleet.gateway.answer import encode_ack
from fleet.gateway.body import read_body
from fleet.gateway.enrol import fingerprint_shown
from fleet.gateway.ingest import Ingest
from fleet.gateway.places import Places
from fleet.store.certificate import device_of
from fleet.store.database import Database

PATH = "/v1/sync"
ROAD = "gateway"
MAX_SYNCS = 128  # bodies in memory and batches on their way into the database, at once
MAX_SYNCS_OF_ONE = 4  # of one device: one in flight a lane, and as many again whose connection broke unnoticed
RETRY_S = 2


class Sync:
    """The sync route."""

    def __init__(self, db: Database, ingest: Ingest) -> None:
        self._db = db
        self._ingest = ingest
        self._running = 0
        self._running_of = Places()

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(PATH, self.post, methods=["POST"])]

    async def post(self, request: Request) -> Response:
        """Take one batch and answer with its ack, after COMMIT."""
        shown = fingerprint_shown(request)
        if self._running >= MAX_SYNCS:
            raise Busy(f"{MAX_SYNCS} devices are syncing already", retry_after_s=RETRY_S)
        self._running += 1
        try:
            device_id = await self._db.read(lambda conn: device_of(conn, shown, now_us=now_us()))
            with self._place_of(device_id):
                payload = await read_body(request, MAX_BATCH_BYTES)
                ack = await self._ingest.take(device_id, payload, ROAD)
        finally:
            self._running -= 1
        return Response(encode_ack(ack), media_type="application/json")

    @contextmanager
    def _place_of(self, device_id: str) -> Iterator[None]:
        """Hold one of the device's places; raises Busy where it has all of them."""
        running = self._running_of.taken(device_id)
        if running >= MAX_SYNCS_OF_ONE:
            raise Busy(
                f"{device_id} has {running} syncs under way already",
                retry_after_s=RETRY_S,
                hint="An agent has one a lane; another program may use its certificate.",
            )
        self._running_of.take(device_id)
        try:
            yield
        finally:
            self._running_of.give_back(device_id)
