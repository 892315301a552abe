"""The link's life: birth, what the fleet says, live readings while somebody watches, will.

A device that saves, on a metered link, shows nobody its readings as they come.

`connection` grows with each connection of the device and is on disk before it is used, so that the fleet can tell a
will that was left by an earlier connection from the present one's. It starts at the seconds since 1970, so that it
goes on growing where the buffer file had to be replaced.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from agent import __version__
from agent.core.allowance import Allowance, on_wire
from agent.core.store import Store
from agent.errors import Unavailable
from agent.ports import Clock, Reading
from agent.services.record import Recorder
from agent.wire.codec import decode, encode
from agent.wire.errors import WireError
from agent.wire.messages import VERSION, Birth, Live, Newest, Watch, Will
from agent.wire.topics import Down, Up

CONNECTION_KEY = "connection"
LIVE_EVERY_S = 0.2  # readings that come within this time go in one message
MAX_LIVE = 1000  # readings in one message; more at once than anybody could see are left out
MAX_WATCH_S = 600  # a watch ends by itself, whatever it asked for
FAREWELL_S = 1.0  # to say the will before a connection is closed on purpose


class Session(Protocol):
    """An open connection to the broker (`agent.adapters.mqtt.Session`)."""

    async def publish(self, leaf: Up, payload: bytes) -> None:
        """Send; raises Unavailable."""

    def messages(self) -> AsyncIterator[tuple[str, bytes]]:
        """Yield (leaf, payload); raises Unavailable when the connection ends."""


_LEAVES = frozenset(leaf.value for leaf in Down)

Connector = Callable[[int, bytes], AbstractAsyncContextManager[Session]]
"""Connects to a port with a will."""


class Link:
    """Holds one connection at a time. `heard` is told of every message but a watch, on the loop."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts that app.py wires
        self, connector: Connector, store: Store, recorder: Recorder, clock: Clock, boot_id: str, allowance: Allowance
    ) -> None:
        self._connector = connector
        self._store = store
        self._recorder = recorder
        self._clock = clock
        self._boot_id = boot_id
        self._allowance = allowance
        self._session: Session | None = None
        self._live: list[Reading] = []
        self._live_came = asyncio.Event()
        self._watched_until = 0.0

    async def send(self, payload: bytes) -> None:
        """Send a batch; raises Unavailable."""
        if self._session is None:
            raise Unavailable("The link is down.")
        await self._session.publish(Up.BATCH, payload)

    async def hold(self, port: int, up: Callable[[], None], heard: Callable[[Down, bytes], None]) -> None:
        """Connect and stay until the connection ends, which raises Unavailable or Refused."""
        connection = await self._next_connection()
        will = encode(Will(connection))
        async with self._connector(port, will) as session:
            birth = Birth(VERSION, connection, self._clock.now_us(), self._boot_id, __version__)
            await session.publish(Up.BIRTH, encode(birth))
            self._session = session
            try:
                up()
                await self._stay(session, heard)
            finally:
                self._session = None
                self._recorder.on_live = None
                await _farewell(session, will)

    async def _stay(self, session: Session, heard: Callable[[Down, bytes], None]) -> None:
        lost: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._publish_live(session), name="link live")
                async for leaf, payload in session.messages():
                    if leaf == Down.WATCH:
                        self._watch(payload)
                    elif leaf in _LEAVES:
                        heard(Down(leaf), payload)
        except* Unavailable as errors:
            lost = errors.exceptions[0]
        if lost is not None:  # raised within `except*` it would be in a group again, before Python 3.11.4 (gh-103590)
            raise lost

    async def _next_connection(self) -> int:
        before = int(await self._store.value(CONNECTION_KEY) or 0)
        connection = max(before + 1, self._clock.now_us() // 1_000_000)
        await self._store.commit([], {CONNECTION_KEY: str(connection)})
        return connection

    def _watch(self, payload: bytes) -> None:
        try:
            watch = decode(Watch, payload)
        except WireError:
            return  # a watch is for eyes only, and who watches asks again
        self._watched_until = self._clock.mono_s() + min(max(watch.seconds, 0), MAX_WATCH_S)
        self._recorder.on_live = self._take_live
        now = [Reading(newest.name, newest.unit, newest.t_us, newest.v) for newest in self._recorder.snapshot()]
        self._take_live(now)

    def _take_live(self, readings: Sequence[Reading]) -> None:
        if self._clock.mono_s() >= self._watched_until or self._allowance.is_saving:
            self._recorder.on_live = None
            return
        self._live.extend(readings[: MAX_LIVE - len(self._live)])
        self._live_came.set()

    async def _publish_live(self, session: Session) -> None:
        while True:
            await self._live_came.wait()
            await asyncio.sleep(LIVE_EVERY_S)
            self._live_came.clear()
            readings, self._live = self._live, []
            live = Live(tuple(Newest(reading.name, reading.unit, reading.t_us, reading.v) for reading in readings))
            payload = encode(live)
            self._allowance.spend(on_wire(len(payload)))
            await session.publish(Up.LIVE, payload)


async def _farewell(session: Session, will: bytes) -> None:
    """Say the will: a connection that is closed in order leaves none, and the fleet should know at once."""
    try:
        async with asyncio.timeout(FAREWELL_S):
            await session.publish(Up.WILL, will)
    except (Unavailable, TimeoutError):
        return  # the broker says it
