"""One connection of nats-py to a broker, and what is done over it where the broker may end at any moment."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TypeVar

import nats
import structlog
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from fleet.gateway.broker import Access
from fleet.gateway.seldom import Seldom
from fleet.gateway.turns import SAID_EVERY_S

CONNECT_S = 5  # to a broker
PING_S = 5  # how often a broker is asked whether it is there; after two without an answer it is not

log = structlog.get_logger(part="link")

Answer = TypeVar("Answer")


async def heedful(call: Awaitable[Answer]) -> Answer:
    """Await a call of the library that waits for the broker, and heed a cancellation that comes with its answer.

    The library waits with `asyncio.wait_for`, which loses such a cancellation before Python 3.12 (bpo-42130); whoever
    is cancelled but goes on holds up the server's end for good.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    answer = await call
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
    return answer


async def publish(client: Client, to: str, payload: bytes) -> None:
    """Publish; a session that has just ended is not the caller's business, and the next one says the same."""
    try:
        await client.publish(to, payload)
    except (NatsError, OSError) as error:
        log.info("could not publish", to=to, why=str(error) or type(error).__name__)


async def unsubscribe(subscription: Subscription | None) -> None:
    """End a subscription, if its session has not ended before."""
    try:
        if subscription is not None:
            await subscription.unsubscribe()
    except (NatsError, OSError):
        pass  # the session is over, and the subscription with it


@asynccontextmanager
async def connected(access: Access, user: str, closed: asyncio.Event) -> AsyncIterator[Client]:
    """Hold one connection; `closed` is set when it ends. It never reconnects: a new start has a new password."""
    seldom = Seldom(SAID_EVERY_S)

    async def on_error(error: Exception) -> None:
        if seldom.may(type(error).__name__, asyncio.get_running_loop().time()):  # each message that is dropped is one
            log.warning("the connection to the broker reports", why=str(error) or type(error).__name__)

    async def on_closed() -> None:
        closed.set()

    connect = nats.connect(
        access.url,
        user=user,
        password=access.password,
        tls=access.tls,
        name=f"fieldline {user}",
        allow_reconnect=False,
        connect_timeout=CONNECT_S,
        ping_interval=PING_S,
        error_cb=on_error,
        closed_cb=on_closed,
    )
    client = await heedful(connect)
    try:
        yield client
    finally:
        await client.close()
