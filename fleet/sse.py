"""Server-sent events (WHATWG HTML, 9.2): an answer that goes on until its reader goes away.

    retry: 2000       how long a browser waits before it connects again
    <what the feeds say>
    <the beat>        each BEAT_S: the stream is alive

Each feed is a task that says messages through one lock. The first task that ends, ends all: the reader went away, took
nothing for `SEND_S`, or fell behind what it hears. Whoever still listens connects again.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agent.wire.messages import Live
from fleet.errors import Busy
from fleet.services import Services

MEDIA_TYPE = "text/event-stream"
RETRY_MS = 2000
BEAT_S = 10.0
SEND_S = 30.0
WATCH_S = 60  # a device is asked for live readings for so long at a time


class Say:
    """What is said to the reader."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._lock = asyncio.Lock()

    async def __call__(self, text: str) -> None:
        """Say one message, whole; raises TimeoutError for a reader that takes nothing."""
        async with self._lock, asyncio.timeout(SEND_S):
            await self._send({"type": "http.response.body", "body": text.encode(), "more_body": True})


Feed = Callable[[Say], Coroutine[Any, Any, None]]


class EventStream(Response):
    """The answer: `feeds` say what there is to say, `beat` is what is said each BEAT_S."""

    media_type = MEDIA_TYPE

    def __init__(self, feeds: Sequence[Feed], *, beat: str = ": heartbeat\n\n") -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._feeds = feeds
        self._beat = beat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request for as long as it is listened to."""
        del scope
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        say = Say(send)
        try:
            await say(f"retry: {RETRY_MS}\n\n")
            async with asyncio.TaskGroup() as group:
                group.create_task(_until_gone(receive), name="stream: reader")
                group.create_task(self._keep(say), name="stream: beat")
                for number, feed in enumerate(self._feeds):
                    group.create_task(feed(say), name=f"stream: feed {number}")
        except* (_Gone, Busy, OSError):  # a TimeoutError is an OSError
            pass

    async def _keep(self, say: Say) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            await say(self._beat)


def live_feeds(services: Services, device_id: str, tell: Callable[[Live], str]) -> Sequence[Feed]:
    """Return the feeds that ask a device for its readings as they come, and `tell` each message of them."""

    async def ask(_say: Say) -> None:
        while True:
            await services.link.watch(device_id, WATCH_S)
            await asyncio.sleep(WATCH_S / 2)

    async def hear(say: Say) -> None:
        async with services.link.live(device_id) as messages:
            async for message in messages:
                await say(f"event: live\ndata: {tell(message)}\n\n")

    return (hear, ask)


class _Gone(Exception):
    """The reader is gone."""


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    raise _Gone
