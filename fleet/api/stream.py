"""The live stream: events as they are committed, over server-sent events (WHATWG HTML, 9.2).

Every event is read from the event table, in the order of its id; what is heard of new commits only says when to look
again. So there is no seam between the past (`Last-Event-ID`) and the present, and no queue that could overflow: a
reader's place is one number. Events that other nodes commit come with the regular look, `LOOK_S` later at most.

    retry: 2000                       how long a browser waits before it connects again
    id: 1234                          each event is a message with its id …
    data: {"id": 1234, "kind": …}     … and the event as `/events` has it
    event: live                       with device= and live=1: readings as they come, without an id
    : heartbeat                       a comment at least each 15 s

A reader that takes nothing for `SEND_S` is dropped; it connects again with the last id it has and misses no event.
"""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Header, Query
from sqlalchemy import Connection
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agent.wire.messages import Live
from fleet.api.access import Given, Reader
from fleet.api.event import EventItem, Kinds, kinds_of
from fleet.api.page import DeviceFilter
from fleet.api.problem import responses
from fleet.api.times import iso
from fleet.core.event import Event
from fleet.errors import Busy, Invalid
from fleet.services import Services
from fleet.store import device, event
from fleet.store.database import Subscription

router = APIRouter(tags=["events"])

EVENT_STREAM = "text/event-stream"
RETRY_MS = 2000
HEARTBEAT_S = 10.0
LOOK_S = 1.0  # how often the table is looked at without being told to
SEND_S = 30.0
WATCH_S = 60  # a device is asked for live readings for so long at a time
PAGE = 500  # events read at once


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a reader wants to hear, and from where on (None: from now on)."""

    after: int | None
    device_id: str | None
    kinds: tuple[str, ...]
    live: bool


class EventStream(Response):
    """An answer that ends when the reader goes away, takes nothing, or the server stops."""

    media_type = EVENT_STREAM

    def __init__(self, services: Services, wanted: Wanted) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._services = services
        self._wanted = wanted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer: one task a source, all of which say through one lock; the first that ends, ends all."""
        del scope
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        say = _Say(send)
        with suppress(_Over):
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(_until_gone(receive), name="stream: reader")
                    group.create_task(_heartbeat(say), name="stream: heartbeat")
                    group.create_task(_events(self._services, self._wanted, say), name="stream: events")
                    if self._wanted.live and self._wanted.device_id is not None:
                        group.create_task(_live(self._services, self._wanted.device_id, say), name="stream: live")
                        group.create_task(_watch(self._services, self._wanted.device_id), name="stream: watch")
            except* (_Over, OSError, TimeoutError):
                raise _Over from None


class _Over(Exception):
    """The reader is gone."""


class _Say:
    """What is said to the reader, one message at a time; raises TimeoutError for one that takes nothing."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._lock = asyncio.Lock()

    async def __call__(self, text: str) -> None:
        async with self._lock, asyncio.timeout(SEND_S):
            await self._send({"type": "http.response.body", "body": text.encode(), "more_body": True})


@router.get(
    "/stream",
    response_class=Response,
    responses={
        **responses(401, 403, 404, 422),
        200: {
            "description": "Events as they happen, until the client goes away.",
            "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
        },
    },
)
async def stream_events(  # noqa: PLR0913 - one argument a filter
    services: Given,
    _caller: Reader,
    device_id: Annotated[DeviceFilter, Query(alias="device")] = None,
    kind: Kinds = None,
    *,
    live: Annotated[bool, Query(description="With `device`: its readings too, as they come.")] = False,
    after: Annotated[int | None, Query(ge=0, le=2**63 - 1, description="As Last-Event-ID.")] = None,
    last_event_id: Annotated[str | None, Header(pattern=r"^[0-9]{0,18}$", description="Resume after this.")] = None,
) -> Response:
    """Stream events as they happen; `Last-Event-ID` resumes without a hole, however long ago it was."""
    if live and device_id is None:
        raise Invalid("live readings are of one device", hint="Add device=ID.")
    if device_id is not None:
        known = device_id
        await services.db.read(lambda conn: device.get(conn, known))
    begin = int(last_event_id) if last_event_id else after
    return EventStream(services, Wanted(begin, device_id, kinds_of(kind), live))


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    raise _Over


async def _heartbeat(say: _Say) -> None:
    await say(f"retry: {RETRY_MS}\n\n")
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        await say(": heartbeat\n\n")


async def _events(services: Services, wanted: Wanted, say: _Say) -> None:
    place = wanted.after
    while True:
        async with services.db.subscribe() as subscription:
            while True:
                place, found = await services.db.read(lambda conn, place=place: _look(conn, wanted, place))  # type: ignore[misc] # bound now
                for one in found:
                    await say(f"id: {one.id}\ndata: {EventItem.of(one).model_dump_json()}\n\n")
                if len(found) < PAGE and not await _told(subscription):
                    break  # it lags: hear anew; nothing is lost, since the table has it


async def _told(subscription: Subscription) -> bool:
    """Wait until there may be something new; False if the subscription has lost its place."""
    try:
        async with asyncio.timeout(LOOK_S):
            await subscription.get()
    except TimeoutError:
        return True
    except Busy:
        return False
    return True


def _look(conn: Connection, wanted: Wanted, place: int | None) -> tuple[int, Sequence[Event]]:
    """Return the events after a place, and the place after them; without a place, the newest there is."""
    newest = event.page(conn, limit=1)
    head = newest[0].id if newest else 0
    if place is None:
        return head, []
    if head <= place:
        return place, []
    found = event.page(conn, after=place, device_id=wanted.device_id, kinds=wanted.kinds, limit=PAGE)
    return (found[-1].id if len(found) == PAGE else head), found


async def _live(services: Services, device_id: str, say: _Say) -> None:
    async with services.link.live(device_id) as messages:
        async for message in messages:
            await say(f"event: live\ndata: {_readings(device_id, message)}\n\n")


async def _watch(services: Services, device_id: str) -> None:
    """Ask the device for live readings for as long as somebody listens."""
    while True:
        await services.link.watch(device_id, WATCH_S)
        await asyncio.sleep(WATCH_S / 2)


def _readings(device_id: str, message: Live) -> str:
    readings = [
        {"name": one.name, "unit": one.unit, "t": iso(one.t_us), "t_us": one.t_us, "v": one.v}
        for one in message.readings
    ]
    return json.dumps({"device": device_id, "readings": readings}, ensure_ascii=False)
