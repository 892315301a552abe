"""Hearing of events: whoever subscribes is handed each that is committed, by whichever node, in the order of its id.

Events are read from the table, from a place on that is one number. A hint only says when to look again: this process
has committed, or another node says that it has (fleet/gateway/link.py). Where others commit, the table is looked at
each `LOOK_S` without a hint as well, so that a hint which was lost costs a second.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from fleet.core.event import Event
from fleet.errors import Busy, FleetError
from fleet.store import event

T = TypeVar("T")

LOOK_S = 1.0
MAX_LAG_EVENTS = 4096  # that a subscriber may lag behind

log = structlog.get_logger(part="events")


class Read(Protocol):
    """`Database.read`."""

    def __call__(self, work: Callable[[Connection], T]) -> Awaitable[T]:
        """Run a work on a snapshot."""


class Subscription:
    """Events as they are committed, in order; a reader that lags too far behind is told so by Busy."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Event] = asyncio.Queue(MAX_LAG_EVENTS)
        self._lost = False

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Event:
        return await self.get()

    async def get(self) -> Event:
        """Return the next event; raises Busy when events were lost, which the event table still holds."""
        if self._lost and self._queue.empty():
            raise Busy("too many events at once for this reader", retry_after_s=1, hint="Read on from the last id.")
        return await self._queue.get()

    def offer(self, event: Event) -> None:
        """Hand over one event; never blocks."""
        if self._lost or self._queue.full():
            self._lost = True
        else:
            self._queue.put_nowait(event)


class Follower:
    """Reads the event table for all subscribers of this process; while there are none it reads nothing."""

    def __init__(self, read: Read, *, alone: bool) -> None:
        self._read = read
        self._look_s = None if alone else LOOK_S
        self._place = 0
        self._subscriptions: set[Subscription] = set()
        self._hinted = asyncio.Event()
        self._reading = asyncio.Lock()

    def hint(self) -> None:
        """Have it look: there may be something new."""
        self._hinted.set()

    async def run(self) -> None:
        """Follow the table until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._look_s):
                    await self._hinted.wait()
            except TimeoutError:
                pass
            self._hinted.clear()
            try:
                async with self._reading:
                    await self._read_on()
            except (FleetError, DBAPIError) as error:
                log.warning("cannot read the events; trying again", why=str(error).splitlines()[0])
                await asyncio.sleep(LOOK_S)
                self.hint()

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[Subscription]:
        """Hear every event that is committed from now on; raises Busy where the database does not answer."""
        subscription = Subscription()
        async with self._reading:
            if self._subscriptions:
                await self._read_on()
            else:
                self._place = await self._read(event.head)
            self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    async def _read_on(self) -> None:
        while self._subscriptions:
            found = await self._read(partial(event.page, after=self._place, limit=event.MAX_PAGE))
            for one in found:
                self._place = one.id
                for subscription in self._subscriptions:
                    subscription.offer(one)
            if len(found) < event.MAX_PAGE:
                return
