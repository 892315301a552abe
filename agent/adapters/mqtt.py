"""The link road: MQTT 3.1.1 over mutual TLS. The one file that knows aiomqtt (2.5).

That library neither reconnects nor holds an acknowledgement back until a message was dealt with; both are fine here,
since a connection is one `async with` and delivery is proven by the fleet's ack alone: everything goes at QoS 0.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import aiomqtt

from agent.errors import Refused, Unavailable
from agent.wire import topics

KEEPALIVE_S = 30  # a dead peer is known after one and a half times this; also the longest a TLS handshake may take
TIMEOUT_S = 10.0  # to connect, to subscribe
MAX_QUEUED = 256  # messages that wait in either direction; what does not fit is dropped, the next ack says it again
NOT_AUTHORISED = (4, 5, 134, 135)  # CONNACK codes of MQTT 3.1.1, and the reason codes that paho makes of them

_log = logging.getLogger(__name__)


class Session:
    """One connection of the device to the broker, subscribed to what the fleet says to it."""

    def __init__(self, client: aiomqtt.Client, device_id: str) -> None:
        self._client = client
        self._device_id = device_id

    async def publish(self, leaf: topics.Up, payload: bytes) -> None:
        """Hand a message to the connection; raises Unavailable. Nothing is proven by its return."""
        try:
            await _heedful(self._client.publish(topics.up(self._device_id, leaf), payload, qos=0))
        except aiomqtt.MqttError as error:
            raise _lost(error) from error

    async def messages(self) -> AsyncIterator[tuple[str, bytes]]:
        """Yield what the fleet says as (leaf, payload) until the connection ends, which raises Unavailable."""
        prefix = len(topics.down(self._device_id, topics.Down.ACK)) - len(topics.Down.ACK)
        try:
            async for message in self._client.messages:
                payload = message.payload
                yield str(message.topic)[prefix:], payload if isinstance(payload, bytes) else b""
        except aiomqtt.MqttError as error:
            raise _lost(error) from error


@asynccontextmanager
async def connect(  # noqa: PLR0913, PLR0917 - what a connection is made of
    host: str, port: int, tls: ssl.SSLContext, device_id: str, will: bytes, keepalive_s: int | None = None
) -> "AsyncIterator[Session]":
    """Connect as `device_id` with `will` left at the broker, and subscribe; raises Unavailable or Refused."""
    client = aiomqtt.Client(
        host,
        port,
        identifier=device_id,
        clean_session=True,
        tls_context=tls,
        will=aiomqtt.Will(topics.up(device_id, topics.Up.WILL), will, qos=0),
        keepalive=keepalive_s or KEEPALIVE_S,
        timeout=TIMEOUT_S,
        max_queued_incoming_messages=MAX_QUEUED,
        max_queued_outgoing_messages=MAX_QUEUED,
        logger=_log,
    )
    try:
        async with client:
            await _heedful(client.subscribe(topics.down_all(device_id), qos=0))
            yield Session(client, device_id)
    except aiomqtt.MqttCodeError as error:
        if getattr(error.rc, "value", error.rc) in NOT_AUTHORISED:
            raise Refused(f"The link {host}:{port} does not accept {device_id}: {error}.") from error
        raise _unreachable(host, port, error) from error
    except (aiomqtt.MqttError, OSError) as error:
        raise _unreachable(host, port, error) from error


async def _heedful(call: Awaitable[object]) -> None:
    """Await a call of the library and heed a cancellation that comes with its answer.

    The library waits with `asyncio.wait_for`, which loses such a cancellation before Python 3.12 (bpo-42130); whoever
    is cancelled but goes on holds up the agent's end for good.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    await call
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError


def _lost(error: Exception) -> Unavailable:
    return Unavailable(f"The link was lost: {error}.")


def _unreachable(host: str, port: int, error: Exception) -> Unavailable:
    said = error.strerror.lower() if isinstance(error, OSError) and error.strerror else error
    return Unavailable(
        f"The link {host}:{port} cannot be reached: {said}.", hint="The gateway is used until it comes back."
    )
