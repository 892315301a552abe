"""What moves, for an open page: server-sent events that name the noun, and live readings of the device in view.

    event: moved   data: {"noun": "alarm"}           a fragment that shows alarms is fetched anew
    event: live    data: [{"name", "t_us", "v"}]     readings as they come, while the page is open
    event: beat    data: {}                          the stream is alive

A page that missed something (sleep, network, a reader too slow) reconnects by itself and is told at once to fetch
everything anew.
"""

import json

from starlette.requests import Request
from starlette.responses import Response

from agent.wire.messages import Live
from fleet.console.session import User
from fleet.services import Services
from fleet.sse import EventStream, Say, live_feeds
from fleet.store import device

NOUNS = ("device", "alarm", "ticket", "config", "claim", "batch", "gap")
BEAT = "event: beat\ndata: {}\n\n"


async def show(request: Request, services: Services, user: User) -> Response:
    """Stream what moves, of one device (`?device=`) or of all."""
    del user
    device_id = request.query_params.get("device", "")

    async def moved(say: Say) -> None:
        async with services.db.subscribe() as heard:
            for noun in NOUNS:
                await say(_moved(noun))
            async for event in heard:
                if device_id in {"", event.device_id}:
                    await say(_moved(event.kind.partition(".")[0]))

    if not device_id:
        return EventStream([moved], beat=BEAT)
    await services.db.read(lambda conn: device.get(conn, device_id))
    return EventStream([moved, *live_feeds(services, device_id, _readings)], beat=BEAT)


def _moved(noun: str) -> str:
    return f"event: moved\ndata: {json.dumps({'noun': noun})}\n\n"


def _readings(message: Live) -> str:
    return json.dumps([{"name": each.name, "t_us": each.t_us, "v": each.v} for each in message.readings])
