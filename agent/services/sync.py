"""The shell of the sync machine (`agent.core.uplink`): builds batches, drives both roads, does what it says.

inbox ─▶ uplink.handle ─▶ Send ─▶ a sender a lane ─▶ link or gateway
  ▲                        …                                │
  └───────────── Built, Acked, Failed, LinkUp, LinkDown ◀───┘
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

from agent import __version__
from agent.core import allowance
from agent.core.allowance import Allowance, Metering
from agent.core.backoff import Rng
from agent.core.store import FORMER, Store
from agent.core.uplink import Uplink
from agent.core.uplink_events import (
    Acked,
    Action,
    Built,
    Committed,
    Connect,
    Deliver,
    Disconnect,
    Failed,
    Gate,
    GiveUp,
    Input,
    LinkDown,
    LinkUp,
    Pushed,
    Readmitted,
    Renew,
    Renewed,
    Rewind,
    Road,
    Send,
    SetAside,
    Wake,
)
from agent.errors import AgentError, Busy, Refused, Unavailable
from agent.ports import Clock
from agent.services.link import Link
from agent.services.pack import Packer, finish
from agent.services.record import Boot, Recorder
from agent.wire.codec import check_ack, check_config, decode
from agent.wire.errors import WireError
from agent.wire.messages import VERSION, Ack, Batch, ConfigDocument, Gap, Health, Lane, Reported
from agent.wire.messages import Clock as ClockState
from agent.wire.topics import Down

LINK_PORT_KEY = "link_port"
ALLOWANCE_KEY = "allowance"
HEALTH_EVERY_S = 60.0
METERED_HEALTH_EVERY_S = 600.0
METERED_LOOK_S = 30.0  # between looks whether a metered link may carry more
GATEWAY_IDLE_S = 5.0  # a connection to the gateway that rests for longer is made anew (httpx)
GATEWAY_S = 40.0  # for a whole call over the gateway, below `Pace.gateway_ack_s`


class Gateway(Protocol):
    """The gateway road (`agent.adapters.https.Gateway`)."""

    async def sync(self, payload: bytes) -> bytes:
        """Send a batch, return its ack; raises Unavailable, Busy, Refused."""

    async def rest(self) -> None:
        """Close the connection until the next call."""


@dataclass(frozen=True, slots=True)
class Says:
    """What the rest of the agent has to say in a batch, and where a config goes."""

    reported: Callable[[], Reported]
    health: Callable[[], Health | None]
    on_config: Callable[[ConfigDocument], None]
    on_time: Callable[[int, float], None] = lambda _server_us, _rtt_s: None
    """Told the server's time in an ack, and how long after its batch it came, seconds."""


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """How the sync fares, for a person."""

    road: Road | None = None  # of the last ack
    is_link_up: bool = False
    last_ack_us: int = 0  # 0: none since the start
    is_refused: bool = False  # the fleet does not accept this device; a new claim is needed
    last_error: str = ""  # of the last failure since the last ack, "" if there was none
    server_offset_us: int = 0  # server's clock minus the device's, as of the last ack
    next_s: float = 0.0  # the server's pace
    connects: int = 0  # how often the link has come up since the start
    rtt_s: float | None = None  # from the last acked batch to its ack


class Sync:
    """Runs the machine until cancelled. `gateway` makes the gateway road when it is first taken."""

    def __init__(  # noqa: PLR0913 - the parts that app.py wires
        self,
        *,
        store: Store,
        recorder: Recorder,
        link: Link,
        gateway: Callable[[], Gateway],
        clock: Clock,
        boot: Boot,
        rng: Rng,
        says: Says,
        meter: Allowance,
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._link = link
        self._make_gateway = gateway
        self._gateway: Gateway | None = None
        self._clock = clock
        self._boot = boot
        self._rng = rng
        self._says = says
        self._allowance = meter
        self._gate = Gate()
        self._weighed_s = clock.mono_s()  # when the gate was last looked at
        self._called_s = -math.inf  # when the gateway was last called
        self._told_saving = ""
        self._status = SyncStatus()
        self._inbox: asyncio.Queue[Input] = asyncio.Queue()  # bounded by what can be in flight
        self._packers = {lane: Packer(store, lane) for lane in Lane}
        self._outboxes: dict[Lane, asyncio.Queue[Send]] = {lane: asyncio.Queue(1) for lane in Lane}
        self._roads: dict[Lane, tuple[str, Road, float]] = {}  # of the batch sent last: its name, way and moment
        self._link_task: asyncio.Task[None] | None = None
        self._link_port = 0
        self._health_at = -math.inf
        self._is_proven = False  # it is on the disk that the buffer is in step with the fleet

    def status(self) -> SyncStatus:
        """Return how the sync fares."""
        return self._status

    def renewed(self) -> None:
        """Call the fleet anew with another certificate, whatever it said to the one before."""
        self._status = replace(self._status, is_refused=False, last_error="")
        self._inbox.put_nowait(Readmitted())

    def meter(self, metering: Metering) -> None:
        """Keep to what the link may carry from here on."""
        self._allowance.metering = metering
        self._inbox.put_nowait(self._gate)  # whatever it is now: to have the loop look at it

    def wake(self) -> None:
        """Call the fleet now, as far as a road is open: there is something to report."""
        self._inbox.put_nowait(Wake())

    async def run(self) -> None:
        """Sync until cancelled; raises Damaged if the buffer is."""
        ends = {lane: await self._store.ends(lane) for lane in Lane}
        self._link_port = int(await self._store.value(LINK_PORT_KEY) or 0)
        uplink = Uplink(
            {lane: (end.mark, end.top) for lane, end in ends.items()},
            self._link_port,
            self._rng,
            self._clock.mono_s(),
            bases={lane: end.base for lane, end in ends.items()},
            is_former=bool(await self._store.value(FORMER)),
        )
        self._recorder.on_committed = self._committed
        self._allowance.restore(await self._store.value(ALLOWANCE_KEY))
        try:
            async with asyncio.TaskGroup() as group:
                for lane in Lane:
                    group.create_task(self._send_lane(lane), name=f"sync {lane}")
                await self._run(uplink, group)
        finally:
            await self._keep_allowance(at_end=True)
            if self._gateway is not None:
                await self._gateway.rest()

    async def _run(self, uplink: Uplink, group: asyncio.TaskGroup) -> None:
        while True:
            event = await self._next_input(uplink)
            road = self._note(event)
            if isinstance(event, Readmitted) and self._gateway is not None:
                await self._gateway.rest()  # its connection shows the certificate that was
            gate = self._weigh(uplink)
            actions = [] if gate == self._gate else uplink.handle(gate, self._clock.mono_s())
            self._gate = gate
            if not isinstance(event, Gate):
                actions += uplink.handle(event, self._clock.mono_s())
            await self._keep_allowance()
            for action in sorted(actions, key=lambda action: isinstance(action, GiveUp)):  # the next batch leaves first
                await self._do(action, group)
            self._status = replace(self._status, is_link_up=uplink.roads.link_is_up, next_s=uplink.next_s)
            if uplink.roads.link_port != self._link_port:
                self._link_port = uplink.roads.link_port
                await self._keep(LINK_PORT_KEY, str(self._link_port))
            if road is Road.LINK and self._gateway is not None:
                await self._gateway.rest()

    def _weigh(self, uplink: Uplink) -> Gate:
        """Return what may leave now, and count what it takes to hold the link."""
        now = self._clock.mono_s()
        if uplink.roads.link_is_up:
            self._allowance.spend(math.ceil((now - self._weighed_s) * allowance.PING_BYTES / allowance.KEEPALIVE_S))
        self._weighed_s = now
        return self._allowance.gate(self._utc_us())

    def _utc_us(self) -> int | None:
        """Return the time, if need be the fleet's; None while nobody has told it."""
        if self._boot.clock() is not ClockState.UNKNOWN:
            return self._clock.now_us()
        return self._clock.now_us() + self._status.server_offset_us if self._status.last_ack_us else None

    async def _keep_allowance(self, *, at_end: bool = False) -> None:
        text = self._allowance.to_keep(at_end=at_end)
        if text is not None:
            await self._keep(ALLOWANCE_KEY, text)

    async def _next_input(self, uplink: Uplink) -> Input | None:
        due = uplink.due()
        if self._allowance.metering.is_on:
            due = min(due, self._clock.mono_s() + METERED_LOOK_S)
        try:
            async with asyncio.timeout(None if math.isinf(due) else max(0.0, due - self._clock.mono_s())):
                return await self._inbox.get()
        except TimeoutError:
            return None

    async def _do(self, action: Action, group: asyncio.TaskGroup) -> None:
        match action:
            case Send(lane=lane):
                if self._outboxes[lane].full():
                    self._outboxes[lane].get_nowait()  # given up by the machine before its turn came
                self._outboxes[lane].put_nowait(action)
            case Connect(port=port):
                self._link_task = group.create_task(self._hold_link(port, self._link_task), name="link")
            case Disconnect():
                if self._link_task is not None:
                    self._link_task.cancel()
            case GiveUp() | Rewind() | Renew() | SetAside():
                await self._keep_account(action)
            case Deliver(config=config):
                self._says.on_config(config)

    async def _keep_account(self, action: GiveUp | Rewind | Renew | SetAside) -> None:
        match action:
            case GiveUp(lane=lane, through_seq=seq):
                await self._try(self._store.give_up(lane, seq))
            case Rewind(lane=lane, to_seq=seq):
                await self._try(self._store.rewind(lane, seq))
            case Renew(bases=bases):
                await self._renew(dict(bases))
            case SetAside():
                await self._set_aside(action)

    # Senders: one a lane, one batch at a time.

    async def _send_lane(self, lane: Lane) -> None:
        while True:
            send = await self._outboxes[lane].get()
            try:
                payload, built = await self._build(send)
                self._roads[lane] = (built.batch, send.road, self._clock.mono_s())
                self._inbox.put_nowait(built)
                if send.road is Road.LINK:
                    self._allowance.spend(allowance.on_wire(len(payload)))
                    await self._link.send(payload)  # the ack comes as a message
                    if not self._gate.is_metered:
                        await self._packers[lane].ahead(built)
                else:
                    self._spend_call(len(payload))
                    self._take_ack(await self._call_gateway(payload))
            except (Unavailable, Refused) as error:
                self._failed(error)
                wait_s = error.wait_s if isinstance(error, Busy) else None
                self._inbox.put_nowait(Failed(lane, send.flight, wait_s, isinstance(error, Refused)))

    async def _build(self, send: Send) -> tuple[bytes, Built]:
        if send.max_bytes and not self._is_proven:
            await self._store.prove()
            self._is_proven = True
        rows = await self._packers[send.lane].rows(send)
        head = Batch(
            version=VERSION,
            store_id=self._store.store_id,
            lane=send.lane,
            prev_seq=send.prev_seq,
            sent_us=self._clock.now_us(),
            boot_id=self._boot.boot_id,
            agent_version=__version__,
            clock=self._boot.clock(),
            reported=self._says.reported(),
            newest=self._recorder.snapshot() if send.snapshot else (),
            health=self._due_health(),
            next_s=send.call_s,
        )
        return finish(send, rows, head)

    async def _renew(self, bases: dict[Lane, int]) -> None:
        try:
            await self._recorder.renew(bases)
        except Unavailable as error:
            self._failed(error)
            self._inbox.put_nowait(Renewed(is_done=False))
        else:
            self._is_proven = True
            self._inbox.put_nowait(Renewed(is_done=True))

    async def _call_gateway(self, payload: bytes) -> bytes:
        if self._gateway is None:
            self._gateway = self._make_gateway()
        try:
            async with asyncio.timeout(GATEWAY_S):
                return await self._gateway.sync(payload)
        except TimeoutError:
            raise Unavailable(f"The gateway took more than {GATEWAY_S:g} s to answer.") from None

    def _spend_call(self, size: int) -> None:
        """Count a call over the gateway; the ack is counted as it comes."""
        now, before = self._clock.mono_s(), self._called_s
        self._called_s = now
        self._allowance.spend(allowance.on_wire(size) + allowance.HTTP_BYTES)
        if now - before > GATEWAY_IDLE_S:
            self._allowance.spend(allowance.CONNECT_BYTES)

    def _take_ack(self, data: bytes) -> None:
        self._allowance.spend(allowance.on_wire(len(data)))
        try:
            ack = decode(Ack, data)
            check_ack(ack)
        except WireError as error:
            raise Unavailable(f"The fleet's ack cannot be read: {error}.") from error
        self._inbox.put_nowait(Acked(ack))

    # The link.

    async def _hold_link(self, port: int, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait((before,))  # one connection at a time
        try:
            await self._link.hold(port, lambda: self._inbox.put_nowait(LinkUp()), self._hear)
        except (Unavailable, Refused) as error:
            self._failed(error)
            self._inbox.put_nowait(LinkDown())

    def _hear(self, leaf: Down, payload: bytes) -> None:
        try:
            if leaf is Down.ACK:
                self._take_ack(payload)
            elif leaf is Down.CONFIG:
                self._allowance.spend(allowance.on_wire(len(payload)))
                document = decode(ConfigDocument, payload)
                check_config(document)
                self._inbox.put_nowait(Pushed(document))
            elif leaf is Down.WAKE:
                self._inbox.put_nowait(Wake())
        except (Unavailable, WireError) as error:
            self._status = replace(self._status, last_error=f"A message on {leaf} cannot be read: {error}")

    # Helpers.

    def _committed(self, lane: Lane, top_seq: int, urgent: bool) -> None:  # noqa: FBT001 - told by position
        self._inbox.put_nowait(Committed(lane, top_seq, urgent))

    def _due_health(self) -> Health | None:
        if self._boot.clock() is ClockState.UNKNOWN:
            return None
        now, metering = self._clock.mono_s(), self._allowance.told()
        every_s = METERED_HEALTH_EVERY_S if self._gate.is_metered else HEALTH_EVERY_S
        saving = metering.saving if metering is not None else ""
        if now - self._health_at < every_s and bool(saving) == bool(self._told_saving):
            return None
        health = self._says.health()
        self._health_at, self._told_saving = now, saving
        return None if health is None else replace(health, metering=metering)

    def _note(self, event: Input | None) -> Road | None:
        """Keep the status; returns the road of an ack that answers a batch of ours."""
        if isinstance(event, LinkUp):
            self._allowance.spend(allowance.CONNECT_BYTES)
            self._status = replace(self._status, connects=self._status.connects + 1)
        if not isinstance(event, Acked):
            return None
        found = next((sent for sent in self._roads.values() if sent[0] == event.ack.batch), None)
        road = found[1] if found else None
        if found is not None:
            rtt_s = self._clock.mono_s() - found[2]
            self._says.on_time(event.ack.server_us, rtt_s)
            now_us = self._clock.now_us()
            self._status = replace(
                self._status,
                road=road,
                last_ack_us=now_us,
                is_refused=False,
                last_error="",
                server_offset_us=event.ack.server_us - now_us,
                rtt_s=round(rtt_s, 4),
            )
        return road

    def _failed(self, error: AgentError) -> None:
        is_refused = isinstance(error, Refused)
        self._status = replace(self._status, last_error=str(error), is_refused=self._status.is_refused or is_refused)

    async def _set_aside(self, action: SetAside) -> None:
        try:
            what = await self._store.quarantine(action.lane, action.first_seq, action.through_seq)
        except Unavailable as error:
            self._failed(error)
            return  # they are sent, and set aside, again after the next start
        reason = f"the fleet could not read it and keeps its bytes in quarantine: {action.problem}"[:1000]
        gap = Gap(
            lane=action.lane,
            from_seq=action.first_seq,
            to_seq=action.through_seq,
            from_us=what.oldest_us,
            to_us=what.newest_us,
            count=what.readings,
            reason=reason,
        )
        text = f"A batch of {what.rows} rows ({what.readings} entries) of {action.lane} was refused: {reason}"
        self._recorder.event("batch.quarantined", action.lane, text, gap=gap)

    async def _keep(self, key: str, value: str) -> None:
        await self._try(self._store.commit([], {key: value}))

    async def _try(self, work: Awaitable[None]) -> None:
        """Do what may as well be done after the next ack."""
        try:
            await work
        except Unavailable as error:
            self._failed(error)
