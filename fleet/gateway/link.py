"""The fleet's side of the link: nats-py on the broker's loopback port.

    broker asks     $SYS.REQ.USER.AUTH        → Admission: a grant or a refusal
    device says     fleet.<device>.up.batch   → Ingest.take → fleet.<device>.down.ack
                    fleet.<device>.up.birth, will → presence
                    fleet.<device>.up.live    → whoever watches that device, and only then heard at all
    fleet says      fleet.<device>.down.config, watch

A broker has one listener, the node that runs it (docs/decisions/0213), for callouts and batches alike. Where the
database is busy no ack is sent: the device sends again, or takes the gateway, which says when to come. A session lives
as long as one start of the broker; `run` opens the next.

Among several nodes each serves the devices of its own broker, and says to them what any node has committed
(jobs/tell.py). Two things cross over, by the nodes' connections to each other's brokers (peers.py): a watch with what
it brings, and the hint that there are new events.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from agent.wire.codec import check_birth, check_newest, check_will, decode, encode
from agent.wire.errors import WireError
from agent.wire.limits import MAX_SERIES
from agent.wire.messages import Ack, Birth, ConfigDocument, Live, Watch, Will
from agent.wire.topics import Down, Up, device_of, down, subject, up
from fleet.errors import Busy, FleetError, NotFound, Refused
from fleet.gateway import callout
from fleet.gateway.admit import Admission, Callout
from fleet.gateway.answer import encode_ack
from fleet.gateway.broker import Access, Broker
from fleet.gateway.connections import Connections
from fleet.gateway.ingest import Ingest
from fleet.gateway.peers import COMMITTED, Peers
from fleet.gateway.seldom import Seldom
from fleet.gateway.session import CONNECT_S, Hearing, connected, heedful, publish, publish_all, unsubscribe
from fleet.gateway.turns import SAID_EVERY_S, Turns
from fleet.store.database import Database

ROAD = "link"
QUEUE = "fleet"  # the group that serves devices: of each broker one listener
NEWS_S = 0.02  # that events are gathered before other nodes are told of them
AGAIN_S = 0.2  # before a session is opened anew
CUT_AGAIN = 2  # times: a connection that was just being let in shows up a moment later …
CUT_AGAIN_S = 1.0  # … so a cut is made again
MAX_LIVE_BYTES = 256 * 1024
MAX_LIVE_WAITING = 64  # messages that a slow watcher may lag behind; the oldest give way
MAX_SMALL_BYTES = 4096  # of a birth or a will
MAX_ACKS = 4096  # acks that wait to be said, where the broker does not take them; what is beyond is asked for again

log = structlog.get_logger(part="link")


@dataclass(slots=True)
class _Watched:
    """One device that somebody looks at."""

    queues: set["asyncio.Queue[Live]"] = field(default_factory=set)
    subscription: Subscription | None = None
    stop_elsewhere: Callable[[], Awaitable[None]] | None = None


class Link:
    """Implements `fleet.core.ports.DeviceLink`."""

    def __init__(self, db: Database, ingest: Ingest, broker: Broker, peers: Peers | None = None) -> None:
        self._peers = peers
        self._db = db
        self._ingest = ingest
        self._broker = broker
        self._client: Hearing | None = None
        self._connections: Connections | None = None
        self._watched: dict[str, _Watched] = {}
        self._group: asyncio.TaskGroup | None = None  # of the session
        self._up = asyncio.Event()
        self._acks: list[tuple[str, bytes]] = []  # subject and ack, to be said together
        self._has_acks = asyncio.Event()
        self._has_news = asyncio.Event()
        if peers is not None:
            db.on_events(self._has_news.set)
        self._seldom = Seldom(SAID_EVERY_S)

    async def run(self) -> None:
        """Serve one start of the broker after the other until cancelled."""
        while True:
            access = await self._broker.access()
            try:
                await self._session(access)
            except (NatsError, OSError) as error:
                log.warning("no session with the broker", why=str(error) or type(error).__name__)
            await asyncio.sleep(AGAIN_S)

    async def ready(self) -> None:
        """Wait until devices are served."""
        await self._up.wait()

    @property
    def is_up(self) -> bool:
        """Whether devices are served."""
        return self._up.is_set()

    # DeviceLink: what the API and the jobs ask.

    async def push_config(self, device_id: str, document: ConfigDocument) -> None:
        """Hand the device its desired config."""
        await self._say(device_id, Down.CONFIG, encode(document))

    async def watch(self, device_id: str, seconds: int) -> None:
        """Ask the device for readings as they come, for a while, whichever node it hangs on."""
        await self._say(device_id, Down.WATCH, encode(Watch(seconds)))
        if self._peers is not None:
            await self._peers.say(subject(down(device_id, Down.WATCH)), encode(Watch(seconds)))

    async def cut(self, device_id: str) -> None:
        """End the device's connections to this node's broker.

        What was being let in at the moment of the call is found by the rounds that follow behind it.
        """
        await self._cut(device_id)
        if self._group is not None:
            self._group.create_task(self._cut_again(device_id), name=f"cut {device_id}")

    @asynccontextmanager
    async def live(self, device_id: str) -> AsyncIterator[AsyncIterator[Live]]:
        """Hear what a watched device sends. A listener that is slow misses the oldest."""
        queue: asyncio.Queue[Live] = asyncio.Queue(MAX_LIVE_WAITING)
        watched = self._watched.setdefault(device_id, _Watched())
        watched.queues.add(queue)
        try:
            await self._listen(device_id)
            yield _each(queue)
        finally:
            watched.queues.discard(queue)
            if not watched.queues and self._watched.get(device_id) is watched:
                del self._watched[device_id]
                await unsubscribe(watched.subscription)
                if watched.stop_elsewhere is not None:
                    await watched.stop_elsewhere()

    # One session.

    async def _session(self, access: Access) -> None:
        closed = asyncio.Event()
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(connected(access, Access.USER, closed))
            admission = Admission(self._db, access.issuer, partial(publish, client), self._seldom)

            async def on_callout(msg: Msg) -> None:
                await admission.ask(Callout(msg.reply, msg.data))

            await client.subscribe(callout.SUBJECT, queue=QUEUE, cb=on_callout)
            await heedful(client.flush(timeout=CONNECT_S))  # from now on no callout is missed
            system = await stack.enter_async_context(connected(access, Access.SYSTEM_USER, closed))
            connections = Connections(system)
            async with asyncio.TaskGroup() as group:
                turns = Turns(group, self._handle)

                def on_batch(told: str, data: bytes) -> None:
                    device_id = device_of(told)
                    if not device_id or turns.is_waiting(device_id):  # a birth, say: it comes first
                        turns.offer(told, data)
                    else:
                        self._offer(device_id, data)

                for leaf, heard in ((Up.BATCH, on_batch), (Up.BIRTH, turns.offer), (Up.WILL, turns.offer)):
                    await client.hear(subject(up("+", leaf)), QUEUE, heard)
                self._client, self._connections, self._group = client, connections, group
                group.create_task(self._say_acks(), name="acks")
                group.create_task(self._say_news(), name="news")
                admitting = group.create_task(admission.run(), name="admission")
                try:
                    for device_id in list(self._watched):
                        await self._listen(device_id, anew=True)
                    await heedful(client.flush(timeout=CONNECT_S))
                    self._up.set()
                    await _have_missed_come_again(connections)
                    await closed.wait()
                finally:
                    admitting.cancel()
                    self._up.clear()
                    self._client = self._connections = self._group = None
                    self._has_acks.set()  # the tasks that say them end
                    self._has_news.set()

    async def _cut(self, device_id: str) -> None:
        if (connections := self._connections) is not None:
            for one in await connections.of_device(device_id):
                if await connections.end(one):
                    log.info("cut a connection", device=device_id)

    async def _cut_again(self, device_id: str) -> None:
        for _ in range(CUT_AGAIN):
            await asyncio.sleep(CUT_AGAIN_S)
            await self._cut(device_id)

    async def _handle(self, device_id: str, told: str, data: bytes) -> None:
        """Take one message of a device."""
        leaf = told.rpartition(".")[2]
        try:
            if leaf == Up.BATCH:
                self._answered(device_id, await self._ingest.take(device_id, data, ROAD), None)
            elif leaf == Up.BIRTH:
                await self._ingest.birth(device_id, read_birth(data))
            else:
                await self._ingest.will(device_id, read_will(data))
        except (WireError, Busy, Refused, NotFound) as error:
            self._unanswered(device_id, leaf, error)

    def _offer(self, device_id: str, data: bytes) -> None:
        """Take a batch without a task of its own."""
        try:
            self._ingest.offer(device_id, data, ROAD, partial(self._answered, device_id))
        except Busy as error:
            self._unanswered(device_id, Up.BATCH, error)

    def _answered(self, device_id: str, ack: Ack | None, error: BaseException | None) -> None:
        if ack is None:
            self._unanswered(device_id, Up.BATCH, error)
        elif self._client is not None and len(self._acks) < MAX_ACKS:
            self._acks.append((subject(down(device_id, Down.ACK)), encode_ack(ack)))
            self._has_acks.set()

    async def _say_acks(self) -> None:
        """Publish acks, all that are ready at once, for as long as the session lives."""
        while self._client is not None:
            await self._has_acks.wait()
            self._has_acks.clear()
            acks, self._acks = self._acks, []
            if acks and self._client is not None:
                await publish_all(self._client, acks)

    async def _say_news(self) -> None:
        """Tell other nodes that there are new events, for as long as the session lives."""
        while self._client is not None:
            await self._has_news.wait()
            self._has_news.clear()
            if self._client is not None:
                await publish(self._client, COMMITTED, b"")
            await asyncio.sleep(NEWS_S)

    def _unanswered(self, device_id: str, leaf: str, error: BaseException | None) -> None:
        why = error.message if isinstance(error, FleetError) else str(error)
        self._warn(next(text for kind, text in _UNANSWERED if isinstance(error, kind)), device_id, leaf, why)

    def _warn(self, text: str, device_id: str, leaf: str, why: str) -> None:
        if self._seldom.may(f"{device_id} {text}", asyncio.get_running_loop().time()):
            log.warning(text, device=device_id, leaf=leaf, why=why)

    async def _say(self, device_id: str, leaf: Down, payload: bytes) -> None:
        """Publish to a device; where there is no broker nothing is lost, since the next ack says the same."""
        if self._client is not None:
            await publish(self._client, subject(down(device_id, leaf)), payload)

    async def _listen(self, device_id: str, *, anew: bool = False) -> None:
        """Subscribe to what a watched device sends, once however many watch."""
        watched = self._watched[device_id]

        async def on_live(msg: Msg) -> None:
            try:
                live = read_live(msg.data)
            except WireError as error:  # it is for eyes only, and more comes
                self._unanswered(device_id, Up.LIVE, error)
                return
            for queue in watched.queues:
                if queue.full():
                    queue.get_nowait()
                queue.put_nowait(live)

        told = subject(up(device_id, Up.LIVE))
        if self._peers is not None and watched.stop_elsewhere is None:
            watched.stop_elsewhere = await self._peers.hear(told, on_live)
        if self._client is not None and (watched.subscription is None or anew):
            watched.subscription = await self._client.subscribe(told, cb=on_live)


_UNANSWERED: tuple[tuple[type[object], str], ...] = (
    (WireError, "a device said what cannot be read"),
    (Busy, "left a device without an answer"),
    (FleetError, "a device spoke that may not"),
    (object, "failed on what a device said"),
)


def read_birth(data: bytes) -> Birth:
    """Read a birth within the contract's limits; raises WireError."""
    birth = decode(Birth, _small(data))
    check_birth(birth)
    return birth


def read_will(data: bytes) -> Will:
    """Read a will within the contract's limits; raises WireError."""
    will = decode(Will, _small(data))
    check_will(will)
    return will


def read_live(data: bytes) -> Live:
    """Read a live message within the contract's limits; raises WireError."""
    if len(data) > MAX_LIVE_BYTES:
        raise WireError("$", f"{len(data)} bytes, more than {MAX_LIVE_BYTES}")
    live = decode(Live, data)
    if len(live.readings) > MAX_SERIES:
        raise WireError("$.readings", f"{len(live.readings)} entries, more than {MAX_SERIES}")
    for i, new in enumerate(live.readings):
        check_newest(new, f"$.readings[{i}]")
    return live


def _small(data: bytes) -> bytes:
    if len(data) > MAX_SMALL_BYTES:
        raise WireError("$", f"{len(data)} bytes, more than {MAX_SMALL_BYTES}")
    return data


async def _have_missed_come_again(connections: Connections) -> None:
    """End what asked to come in before anybody heard: the broker would keep it waiting for 30 s (`CONNECT_S` there)."""
    while missed := await connections.waiting_since_before_now():
        ended = [await connections.end(one) for one in missed]
        log.info("had connections come again that nobody had answered", connections=len(ended))
        if not any(ended):
            return


async def _each(queue: "asyncio.Queue[Live]") -> AsyncIterator[Live]:
    while True:
        yield await queue.get()
