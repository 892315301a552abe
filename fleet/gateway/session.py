"""One connection of nats-py to a broker, and what is done over it where the broker may end at any moment."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

import structlog
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.errors import ConnectionClosedError
from nats.errors import Error as NatsError

from fleet.gateway.broker import Access
from fleet.gateway.seldom import Seldom
from fleet.gateway.turns import SAID_EVERY_S

CONNECT_S = 5  # to a broker
PING_S = 5  # how often a broker is asked whether it is there; after two without an answer it is not

log = structlog.get_logger(part="link")

Answer = TypeVar("Answer")
Heard = Callable[[str, bytes], None]
"""Is told the subject and the payload of a message."""


class Hearing(Client):
    """A client that can hand over what it hears as it reads it (docs/decisions/0261).

    The library's own way, headers read, a queue and a task for each subscription, costs more than a batch at a glance.
    """

    def __init__(self) -> None:
        super().__init__()
        self._at_once: dict[int, Heard] = {}
        self._seldom = Seldom(SAID_EVERY_S)

    async def hear(self, to: str, queue: str, heard: Heard) -> None:
        """Subscribe for as long as the connection lives."""
        subscription = await self.subscribe(to, queue)
        self._at_once[subscription._id] = heard  # noqa: SLF001 - its number on the wire has no other name

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        heard = self._at_once.get(sid)
        if heard is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        try:
            heard(subject.decode(), data)
        except Exception:  # the edge: one message that nobody foresaw must not end the reading of all
            if self._seldom.may("failed", asyncio.get_running_loop().time()):
                log.exception("failed on what was heard", subject=subject.decode(errors="replace"))

    async def publish_all(self, said: Iterable[tuple[str, bytes]]) -> None:
        """Publish messages, each to its subject, together; raises as `publish` does."""
        if self.is_closed:
            raise ConnectionClosedError
        packets = [b"PUB %b %d\r\n%b\r\n" % (to.encode(), len(payload), payload) for to, payload in said]
        await self._send_command(b"".join(packets))
        await self._flush_pending()


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
    await _said(client.publish(to, payload), to)


async def publish_all(client: Hearing, said: Iterable[tuple[str, bytes]]) -> None:
    """Publish messages, each to its subject; what holds of `publish` holds of them together."""
    await _said(client.publish_all(said), "many")


async def _said(call: Awaitable[None], to: str) -> None:
    try:
        await call
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
async def connected(access: Access, user: str, closed: asyncio.Event) -> AsyncIterator[Hearing]:
    """Hold one connection; `closed` is set when it ends. It never reconnects: a new start has a new password."""
    seldom = Seldom(SAID_EVERY_S)

    async def on_error(error: Exception) -> None:
        if seldom.may(type(error).__name__, asyncio.get_running_loop().time()):  # each message that is dropped is one
            log.warning("the connection to the broker reports", why=str(error) or type(error).__name__)

    async def on_closed() -> None:
        closed.set()

    client = Hearing()
    await heedful(
        client.connect(
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
    )
    try:
        yield client
    finally:
        await client.close()
