"""The other nodes: who they are says the database, and each node is a client of every other's broker.

A node writes its row each `BEAT_S` and reads those of the others. Over the connections goes what has to reach a device
that hangs elsewhere (a watch), or somebody who looks at it elsewhere (its live readings), and the hint that a node has
committed events. Nothing depends on them but speed. What devices send is served by the node that they hang on: should
it die, so does their connection, and they know at once (docs/decisions/0213).
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from fleet.clock import now_us
from fleet.errors import FleetError
from fleet.gateway.broker import Access, Cluster
from fleet.gateway.seldom import Seldom
from fleet.gateway.session import connected, publish, unsubscribe
from fleet.gateway.turns import SAID_EVERY_S
from fleet.store import node
from fleet.store.database import Database

COMMITTED = "node.committed"  # there are new events
BEAT_S = 3.0
AGAIN_S = 1.0  # before a connection to a node is tried again

Heard = Callable[[Msg], Awaitable[None]]

log = structlog.get_logger(part="peers")


@dataclass(frozen=True, slots=True)
class Own:
    """This node, as the others find it."""

    address: str
    holder: str  # in leases
    version: str


@dataclass(slots=True)
class _Hearing:
    """One subject that is heard at every other node."""

    subject: str
    heard: Heard
    at: dict[str, Subscription] = field(default_factory=dict)


class Peers:
    """The connections to the other nodes' brokers."""

    def __init__(self, db: Database, cluster: Cluster, own: Own, met: Callable[[int], None]) -> None:
        self._met = met  # gets the number of nodes that are up
        self._db = db
        self._cluster = cluster
        self._own = own
        self._clients: dict[str, Client] = {}
        self._hearings: list[_Hearing] = []
        self._seldom = Seldom(SAID_EVERY_S)
        self._has_beaten = False
        self.count = 1  # of nodes that are up, this one included

    async def run(self) -> None:
        """Say that this node is there, and keep to the others, until cancelled."""
        started_us = now_us()
        tasks: dict[str, asyncio.Task[None]] = {}
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    try:
                        others = await self._meet(started_us)
                    except FleetError as error:
                        self._warn("database", "cannot look for the other nodes", error.message)
                    else:
                        for address in others - tasks.keys():
                            tasks[address] = group.create_task(self._keep(address), name=f"peer {address}")
                        for address in tasks.keys() - others:
                            tasks.pop(address).cancel()
                    await asyncio.sleep(BEAT_S)
        finally:
            await self._leave()

    async def say(self, subject: str, payload: bytes) -> None:
        """Publish at every other node."""
        for client in list(self._clients.values()):
            await publish(client, subject, payload)

    async def hear(self, subject: str, heard: Heard) -> Callable[[], Awaitable[None]]:
        """Subscribe at every other node, those to come included; returns what ends it."""
        hearing = _Hearing(subject, heard)
        self._hearings.append(hearing)
        for address, client in list(self._clients.items()):
            await self._listen(hearing, address, client)

        async def stop() -> None:
            self._hearings.remove(hearing)
            for subscription in hearing.at.values():
                await unsubscribe(subscription)

        return stop

    async def _meet(self, started_us: int) -> set[str]:
        """Write this node's row, and return the addresses of the others that are up."""
        own = self._own
        before = await self._db.write(
            lambda conn: node.beat(conn, own.address, own.holder, own.version, started_us=started_us)
        )
        if self._has_beaten and before not in (None, own.holder):
            self._warn(own.address, "another node has this node's address", "choose --cluster-host for each machine")
        self._has_beaten = True
        others = {one.address for one in await self._db.read(node.every) if one.is_up} - {own.address}
        self.count = 1 + len(others)
        self._met(self.count)
        return others

    async def _leave(self) -> None:
        with suppress(FleetError):  # the others find out by themselves
            await self._db.write(lambda conn: node.leave(conn, self._own.address))

    async def _keep(self, address: str) -> None:
        """Hold a connection to one other node until cancelled."""
        access = self._cluster.access(address)
        while True:
            try:
                await self._session(address, access)
            except (NatsError, OSError) as error:
                self._warn(address, "no connection to another node", str(error) or type(error).__name__)
            await asyncio.sleep(AGAIN_S)

    async def _session(self, address: str, access: Access) -> None:
        closed = asyncio.Event()
        async with connected(access, Access.USER, closed) as client:
            await client.subscribe(COMMITTED, cb=self._on_committed)
            self._clients[address] = client
            try:
                for hearing in list(self._hearings):
                    await self._listen(hearing, address, client)
                self._db.hint()  # what was committed before
                log.info("connected to another node", node=address)
                await closed.wait()
            finally:
                del self._clients[address]

    async def _listen(self, hearing: _Hearing, address: str, client: Client) -> None:
        with suppress(NatsError, OSError):  # the connection has just ended; the next one subscribes
            hearing.at[address] = await client.subscribe(hearing.subject, cb=hearing.heard)

    async def _on_committed(self, _msg: Msg) -> None:
        self._db.hint()

    def _warn(self, about: str, text: str, why: str) -> None:
        if self._seldom.may(f"{about} {text}", asyncio.get_running_loop().time()):
            log.warning(text, node=about, why=why)
