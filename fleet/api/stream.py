"""The live stream: events as they are committed, over server-sent events (WHATWG HTML, 9.2).

Every event is read from the event table, in the order of its id; what is heard of new commits only says when to look
again. So there is no seam between the past (`Last-Event-ID`) and the present, and no queue that could overflow: a
reader's place is one number, and ids are in the order of commits (fleet/store/event.py), whichever node commits.

    retry: 2000                       how long a browser waits before it connects again
    id: 1234                          each event is a message with its id …
    data: {"id": 1234, "kind": …}     … and the event as `/events` has it
    event: live                       with device= and live=1: readings as they come, without an id
    : heartbeat                       a comment at least each 10 s

A stream that begins now says `id:` with the newest event at once, so that whoever loses it before the first event
resumes from there, too. A reader that takes nothing is dropped; it connects again with the last id it has and misses no
event.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Query
from sqlalchemy import Connection
from starlette.responses import Response

from agent.wire.messages import Live
from fleet.api.access import Given, Reader
from fleet.api.event import EventItem, Kinds, kinds_of
from fleet.api.page import DeviceFilter
from fleet.api.problem import responses
from fleet.api.times import iso
from fleet.core.event import Event
from fleet.errors import Busy, Invalid
from fleet.services import Services
from fleet.sse import MEDIA_TYPE, EventStream, Feed, Say, live_feeds
from fleet.store import device, event
from fleet.store.follow import Subscription

router = APIRouter(tags=["events"])

LOOK_S = 1.0  # how often the table is looked at without being told to
PAGE = 500  # events read at once


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a reader wants to hear, and from where on (None: from now on)."""

    after: int | None
    device_id: str | None
    kinds: tuple[str, ...]


@router.get(
    "/stream",
    response_class=Response,
    responses={
        **responses(401, 403, 404, 422),
        200: {
            "description": "Events as they happen, until the client goes away.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
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
    wanted = Wanted(int(last_event_id) if last_event_id else after, device_id, kinds_of(kind))
    feeds: list[Feed] = [partial(_events, services, wanted)]
    if live and device_id is not None:
        feeds += live_feeds(services, device_id, partial(_readings, device_id))
    return EventStream(feeds)


async def _events(services: Services, wanted: Wanted, say: Say) -> None:
    place = wanted.after
    if place is None:
        place = await services.db.read(event.head)
        await say(f"id: {place}\n\n")
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


def _look(conn: Connection, wanted: Wanted, place: int) -> tuple[int, Sequence[Event]]:
    """Return the events after a place, and the place after them."""
    head = event.head(conn)
    if head <= place:
        return place, []
    found = event.page(conn, after=place, device_id=wanted.device_id, kinds=wanted.kinds, limit=PAGE)
    return (found[-1].id if len(found) == PAGE else head), found


def _readings(device_id: str, message: Live) -> str:
    readings = [
        {"name": one.name, "unit": one.unit, "t": iso(one.t_us), "t_us": one.t_us, "v": one.v}
        for one in message.readings
    ]
    return json.dumps({"device": device_id, "readings": readings}, ensure_ascii=False)
