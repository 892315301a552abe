"""What moves, for an open page: server-sent events that name the noun, and live readings of the device in view.

    event: moved   data: {"noun": "alarm"}           a fragment that shows alarms is fetched anew
    event: live    data: [{"name", "t_us", "v"}]     readings as they come, while the page is open
    event: beat    data: {}                          every 15 s: the stream is alive

A page that missed something (sleep, network, a reader too slow) reconnects by itself and is told at once to fetch
everything anew.
"""

import asyncio
import json

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fleet.console.session import User
from fleet.errors import Busy
from fleet.services import Services
from fleet.store import device
from fleet.store.database import Subscription

BEAT_S = 15.0
WATCH_S = 60  # asked for anew while the page is open
QUEUE = 256  # messages that a slow browser may lag behind
NOUNS = ("device", "alarm", "ticket", "config", "claim", "batch", "gap")


class _Left(Exception):
    """The browser has gone."""


async def show(request: Request, services: Services, user: User) -> Response:
    """Stream what moves, of one device (`?device=`) or of all."""
    del user
    device_id = request.query_params.get("device", "")
    if device_id:
        await services.db.read(lambda conn: device.get(conn, device_id))
    return _Stream(services, device_id)


class _Stream(Response):
    """An answer that goes on until the browser leaves; all that feeds it ends with it."""

    media_type = "text/event-stream"

    def __init__(self, services: Services, device_id: str) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._services = services
        self._device_id = device_id
        self._queue: asyncio.Queue[str] = asyncio.Queue(QUEUE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request for as long as it is listened to."""
        del scope
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async with self._services.db.subscribe() as heard, asyncio.TaskGroup() as tasks:
                for noun in NOUNS:
                    self._say("moved", {"noun": noun})
                tasks.create_task(self._send(send), name="console stream: send")
                tasks.create_task(self._hear_events(heard), name="console stream: events")
                tasks.create_task(self._hear_end(receive), name="console stream: end")
                if self._device_id:
                    tasks.create_task(self._hear_live(), name="console stream: live")
                    tasks.create_task(self._watch(), name="console stream: watch")
        except* (_Left, Busy, OSError):
            pass  # whoever still listens comes back and fetches everything anew

    def _say(self, event: str, data: object) -> None:
        if not self._queue.full():
            self._queue.put_nowait(f"event: {event}\ndata: {json.dumps(data)}\n\n")

    async def _send(self, send: Send) -> None:
        text = "retry: 2000\n\n"
        while True:
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
            try:
                async with asyncio.timeout(BEAT_S):
                    text = await self._queue.get()
            except TimeoutError:
                text = "event: beat\ndata: {}\n\n"

    async def _hear_end(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        raise _Left

    async def _hear_events(self, heard: Subscription) -> None:
        async for event in heard:
            if self._device_id in {"", event.device_id}:
                self._say("moved", {"noun": event.kind.partition(".")[0]})

    async def _hear_live(self) -> None:
        async with self._services.link.live(self._device_id) as messages:
            async for message in messages:
                self._say("live", [{"name": each.name, "t_us": each.t_us, "v": each.v} for each in message.readings])

    async def _watch(self) -> None:
        while True:
            await self._services.link.watch(self._device_id, WATCH_S)
            await asyncio.sleep(WATCH_S / 2)
