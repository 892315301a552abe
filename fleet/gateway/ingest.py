"""Ingest: a device's bytes in, an ack out, one function for both roads.

The ack is built in the transaction that it vouches for and leaves after its COMMIT.

    decode → lock the device → prev_seq above the mark? answer the mark, store nothing
           → skip rows at or below the mark → a row too far in the future? quarantine
           → what it explains, then holes, to gaps → rows to their tables → rules → advance the mark
           → latest, presence, reported → ack

What cannot be read is an answer too: quarantine, an event, the fleet's own alarm, and an ack that says `refused`.
"""

import asyncio
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import msgspec
from sqlalchemy import Connection

from agent.wire.codec import batch_id, peek, unpack
from agent.wire.errors import WireError
from agent.wire.limits import MAX_SEQ, MAX_TEXT_CHARS
from agent.wire.messages import VERSION, Ack, Batch, Birth, ConfigDocument, Gap, Lane, Refusal, Segment, Will
from agent.wire.units import US_PER_S
from fleet.clock import now_us
from fleet.core.actor import FLEET
from fleet.core.event import MAX_EVENT_TEXT_CHARS, Event
from fleet.core.hole import Row, runs_of
from fleet.core.intake import Effects, Standing, decide, is_ordinary, span_of
from fleet.core.limit import MAX_KEYS, Limit
from fleet.core.pace import Pace, scattered
from fleet.core.rush import Rush
from fleet.errors import Busy, FleetError
from fleet.gateway import lanes
from fleet.gateway.aside import Aside
from fleet.gateway.decode import decode_batch, decode_raw, is_events
from fleet.gateway.glance import glance
from fleet.gateway.places import Places
from fleet.store import alarm, batch, config, event, gap, intake, latest, mark, presence, quarantine, reported, rule
from fleet.store.database import Database, Done, settle
from fleet.store.device import unknown
from fleet.store.gather import Gathered
from fleet.store.intake import Wanted
from fleet.store.standings import Standings

MAX_TAKING_BATCHES = 2048  # batches between arrival and ack, all devices
MAX_TAKING_EVENTS = 512  # batches of events that are taken beyond that
MAX_TAKING_OF_ONE = 8  # batches of one device: one in flight a lane, and room for what is sent again
MAX_TAKING_BYTES = 64 * 1024 * 1024  # bytes of their payloads …
MAX_TAKING_RAW_BYTES = 128 * 1024 * 1024  # … and of these unpacked: what is kept of them until the ack grows with it
DECODE_HERE_BYTES = 64 * 1024  # what unpacks to more is decoded in a thread, so that small ones need not wait …
DECODE_AT_ONCE = 2  # … by so many: of the largest each needs 100 MB meanwhile
QUARANTINE_RULE = "fleet.quarantine"


@dataclass(frozen=True, slots=True)
class AckPolicy:
    """What every ack says: the pace of the devices, and where the link listens; and how much they may send."""

    next_s: float = 5.0
    link_port: int = 0  # 0: no link
    device_readings_s: float = 0.0  # readings a second of one device, in the long run; 0: no limit
    product_readings_s: float = 0.0  # of all devices of one product, at all nodes


@dataclass(slots=True)
class Taken:
    """One batch between its arrival and its ack."""

    device_id: str
    payload: bytes
    road: str
    received_us: int
    raw_bytes: int = 0  # of the payload, unpacked
    told: Batch | None = None  # without segments; None: it cannot be read …
    problem: WireError | None = None  # … because of this
    rows: Sequence[Row] = ()
    owed_s: float = 0.0  # until its device may send again, under the limits

    def decode(self, raw: bytes | None = None) -> None:
        """Read the payload, no more of it than has to be; `raw` is what it unpacks to, where that is known."""
        try:
            raw = unpack(self.payload) if raw is None else raw
            self.raw_bytes = len(raw)
            seen = glance(raw)
            if seen is not None:
                self.told, self.rows = seen
                return
            told = decode_raw(raw)
        except WireError as error:
            self.problem = error
        else:
            self.rows = lanes.rows_of(told)
            self.told = replace(told, segments=())

    def segments(self, first_seq: int) -> list[Segment]:
        """Return the rows of telemetry from a seq on, with their values."""
        if self.told is None or not self.rows or self.rows[-1].seq < first_seq:
            return []
        return [segment for segment in decode_batch(self.payload).segments if segment.seq >= first_seq]

    @property
    def is_first(self) -> bool:
        """Whether it passes telemetry: events and alarms do."""
        return self.told is not None and self.told.lane is Lane.EVENTS

    @property
    def key(self) -> Wanted:
        """Device, store and lane that it is about."""
        if self.told is None:
            return self.device_id, "", Lane.TELEMETRY
        return self.device_id, self.told.store_id, self.told.lane


@dataclass(frozen=True, slots=True)
class Linked:
    """A link that came up, or one that ended."""

    device_id: str
    told: Birth | Will
    received_us: int

    @property
    def key(self) -> Wanted:
        """Device; no store is asked for."""
        return self.device_id, "", Lane.TELEMETRY


class Ingest:
    """Takes what devices send, over whichever road."""

    def __init__(self, db: Database, policy: AckPolicy, clock: Callable[[], int] = now_us) -> None:
        self._db = db
        self._policy = policy
        self._now_us = clock
        self._taking_batches = 0
        self._taking_bytes = 0
        self._taking_raw_bytes = 0
        self._aside = Aside(DECODE_AT_ONCE)
        self._taking_of = Places()  # batches by device
        self._standings = Standings()
        self._rush = Rush()
        self._pace = Pace(policy.next_s)
        self._is_limited = bool(policy.device_readings_s or policy.product_readings_s)
        self._of_device = Limit(policy.device_readings_s)
        self._of_product = Limit(policy.product_readings_s)
        self._products: dict[str, str] = {}  # of devices that were heard, where products are limited

    def share_limits(self, nodes: int) -> None:
        """Take a part of what a product may send, since its devices hang on so many nodes; a device hangs on one."""
        self._of_product.rate = self._policy.product_readings_s / nodes

    def is_rushed(self) -> bool:
        """Tell whether batches come so fast that what can wait should."""
        return self._rush.is_on(asyncio.get_running_loop().time())

    async def take(self, device_id: str, payload: bytes, road: str) -> Ack:
        """Store one batch and return its ack, after COMMIT. `road` is "link" or "gateway".

        Raises Busy on overload; NotFound and Refused for a device that does not exist or is revoked. No payload
        makes it raise anything.
        """
        answer: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        self.offer(device_id, payload, road, partial(settle, answer))
        return await answer

    def offer(self, device_id: str, payload: bytes, road: str, done: Done) -> None:
        """Take one batch in; `done` gets its ack, after COMMIT, or what `take` would raise. Raises Busy itself."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        taken = Taken(device_id, payload, road, self._now_us())
        self._admit(taken, began_s)

        def answered(ack: Ack | None, error: BaseException | None) -> None:
            self._release(taken)
            now_s = loop.time()
            self._pace.note(now_s - began_s, self._db.fill, now_s)
            done(ack, error)

        def submit() -> None:
            try:
                self._hold(taken)
                self._charge(taken, began_s)
                self._db.submit(self.store_all, taken, answered, first=taken.is_first)
            except Busy as busy:
                answered(None, busy)

        self._rush.note(began_s)
        raw = peek(payload, DECODE_HERE_BYTES)
        if raw is None:
            self._aside.run(taken.decode, submit)
            return
        taken.decode(raw)
        submit()

    async def birth(self, device_id: str, birth: Birth) -> None:
        """Note that a device's link came up; a birth of an older link changes nothing. Raises as `take` does."""
        await self._note_link(Linked(device_id, birth, self._now_us()))

    async def will(self, device_id: str, will: Will) -> None:
        """Note that a device's link broke; the will of an older link changes nothing. Raises as `take` does."""
        await self._note_link(Linked(device_id, will, self._now_us()))

    async def _note_link(self, linked: Linked) -> None:
        committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._db.submit(self.store_all, linked, partial(settle, committed), first=True)
        await committed

    # In the transaction.

    def store_all(self, conn: Connection, taken: Sequence[Taken | Linked]) -> list[Ack | FleetError | None]:
        """Store batches, births and wills, in order: the ordinary ones together, each other one by itself."""
        keys = [one.key for one in taken]
        standings = self._standings.of(conn, keys)
        gathered = Gathered()
        unsure: set[str] = set()  # devices that said something new of their config; the table may hold what is newer
        answers: list[Ack | FleetError | None] = []

        def read_again(device_id: str) -> None:
            gathered.write(conn)
            standings.update(intake.standings(conn, [key for key in keys if key[0] == device_id]))
            unsure.discard(device_id)

        for one in taken:
            if one.device_id in unsure:
                read_again(one.device_id)
            standing = standings.get(one.device_id)
            if isinstance(one, Linked):
                answers.append(self._gather_link(gathered, one, standing))
                continue
            trouble = intake.trouble(one.device_id, standing)
            if standing is None or trouble is not None:
                answers.append(trouble or unknown(one.device_id))
                continue
            self._note_product(standing)
            effects = None if one.told is None else decide(standing, one.told, one.rows, received_us=one.received_us)
            if one.told is not None and effects is not None and self._is_ordinary(conn, standing, one.told, effects):
                if one.told.reported != standing.reported:
                    unsure.add(one.device_id)
                self._gather(gathered, one, standing, one.told, effects)
                answers.append(self._ack(one, standing, acked_seq=effects.acked_seq))
                continue
            gathered.write(conn)
            answers.append(self._store(conn, one, standing, effects))
            read_again(one.device_id)  # it changed more than effects tell
        gathered.write(conn)
        self._standings.keep(conn, {name: known for name, known in standings.items() if name not in unsure})
        return answers

    def _is_ordinary(self, conn: Connection, standing: Standing, told: Batch, effects: Effects) -> bool:
        if not is_ordinary(standing, told, effects):
            return False
        return told.lane is Lane.EVENTS or not config.rules_of(conn, standing.desired, standing.desired_hash)

    def _gather_link(self, gathered: Gathered, one: Linked, standing: Standing | None) -> FleetError | None:
        if standing is None:
            return unknown(one.device_id)
        if isinstance(one.told, Will):  # a revoked device's counts: its link has ended
            gathered.will(standing, one.told, received_us=one.received_us)
            return None
        trouble = intake.trouble(one.device_id, standing)
        if trouble is None:
            gathered.birth(standing, one.told, received_us=one.received_us, next_s=self._next_s())
        return trouble

    def _gather(self, gathered: Gathered, one: Taken, standing: Standing, told: Batch, effects: Effects) -> None:
        new_events = [row for row in told.events if effects.mark is not None and row.seq >= effects.rows[0].seq]
        gathered.add(
            standing,
            told,
            effects,
            one.payload,
            events=lanes.events_of(one.device_id, told.store_id, new_events, received_us=one.received_us),
            received_us=one.received_us,
            next_s=max(self._next_s(one.owed_s), told.next_s),
            health_json=_health_json(told),
        )

    def _store(self, conn: Connection, taken: Taken, standing: Standing, effects: Effects | None) -> Ack:
        """Store one batch, whatever is in it."""
        told = taken.told
        if told is None or effects is None:
            return self._refuse(conn, taken, standing, taken.problem or WireError("$", "unreadable"))
        device_id, received_us = taken.device_id, taken.received_us
        if effects.problem is not None:
            _explain_quarantined(conn, taken, told, effects)
            return self._refuse(conn, taken, standing, effects.problem)
        if effects.mark is not None:
            lanes.explain(conn, device_id, told, effects.rows[0].seq, received_us=received_us)
            if (told.store_id, told.lane) in standing.gaps_ahead:  # one that was told of rows that come after all
                gap.fill(conn, device_id, told.store_id, told.lane, runs_of(effects.rows))
            if effects.holes:
                lanes.note_holes(conn, device_id, told, effects.holes, received_us=received_us)
            self._store_rows(conn, taken, told, effects)
            mark.advance(conn, device_id, told.store_id, told.lane, effects.mark)
        if told.lane is Lane.TELEMETRY and effects.is_level:
            self._judge(conn, standing, taken, told, effects)
        if effects.latest is not None:
            latest.put(conn, device_id, effects.latest)
        self._note_heard(conn, taken, standing, told)
        document = None
        if standing.desired not in (0, told.reported.handled):
            document = config.desired(conn, device_id)
        return self._ack(taken, standing, acked_seq=effects.acked_seq, document=document)

    def _store_rows(self, conn: Connection, taken: Taken, told: Batch, effects: Effects) -> None:
        device_id, received_us = taken.device_id, taken.received_us
        span = span_of(effects.rows)
        if told.lane is Lane.EVENTS:
            new_events = [row for row in told.events if row.seq >= span.first_seq]
            lanes.store_events(conn, device_id, told.store_id, new_events, received_us=received_us)
        else:
            batch.add(conn, device_id, told.store_id, span, taken.payload, received_us=received_us)

    def _judge(self, conn: Connection, standing: Standing, taken: Taken, told: Batch, effects: Effects) -> None:
        """Run the fleet's rules on the new rows of telemetry; without any, the device has sent all that it has."""
        rules = config.rules_of(conn, standing.desired, standing.desired_hash)
        if not rules:
            return
        first_seq = effects.rows[0].seq if effects.rows else MAX_SEQ
        rule.judge(
            conn,
            taken.device_id,
            rules,
            taken.segments(first_seq),
            newest=told.newest,
            until_us=max((row.to_us for row in taken.rows), default=min(told.sent_us, taken.received_us)),
            received_us=taken.received_us,
        )

    def _refuse(self, conn: Connection, taken: Taken, standing: Standing, error: WireError) -> Ack:
        """Keep a batch that cannot be stored as data, and say so: event, alarm, ack."""
        device_id, payload, received_us = taken.device_id, taken.payload, taken.received_us
        presence.seen(conn, device_id, standing.facts, now_us=received_us, next_s=self._next_s(taken.owed_s))
        about = {"place": error.place, "problem": error.problem}
        if quarantine.put(conn, device_id, payload, **about, road=taken.road, received_us=received_us):
            text = f"A batch of {device_id} could not be read and is in quarantine: {error}"[:MAX_EVENT_TEXT_CHARS]
            data = {**about, "batch": batch_id(payload), "bytes": len(payload), "road": taken.road}
            what = (device_id, FLEET.id, FLEET.origin, text, device_id, data)
            event.append(conn, Event(received_us, received_us, "batch.quarantined", "device", *what))
            alarm.raise_own(conn, device_id, QUARANTINE_RULE, text, t_us=received_us, received_us=received_us)
        refusal = Refusal(error.place[:MAX_TEXT_CHARS], error.problem[:MAX_TEXT_CHARS], quarantined=True)
        return self._ack(taken, standing, acked_seq=None, refused=refusal)

    def _note_heard(self, conn: Connection, taken: Taken, standing: Standing, told: Batch) -> None:
        device_id, received_us = taken.device_id, taken.received_us
        presence.seen(
            conn,
            device_id,
            standing.facts,
            now_us=received_us,
            next_s=max(self._next_s(taken.owed_s), told.next_s),
            boot_id=told.boot_id,
            health_json=_health_json(told),
        )
        _note_agent(conn, standing, told.agent_version)
        if told.reported != standing.reported:
            # Dated by the server: a device whose clock was set back in between must not be taken for outdated.
            reported.record(conn, device_id, told.reported, t_us=received_us, received_us=received_us)

    def _ack(
        self,
        taken: Taken,
        standing: Standing,
        *,
        acked_seq: int | None,
        document: ConfigDocument | None = None,
        refused: Refusal | None = None,
    ) -> Ack:
        return Ack(
            version=VERSION,
            batch=batch_id(taken.payload),
            acked_seq=acked_seq,
            server_us=self._now_us(),
            config_revision=standing.desired,
            next_s=max(self._own_next_s(taken), taken.owed_s),
            link_port=self._policy.link_port,
            config=document,
            refused=refused,
        )

    def _own_next_s(self, taken: Taken) -> float:
        """Return the pace; who met a crowd is told a little else than its fellows."""
        waited_s = (self._now_us() - taken.received_us) / US_PER_S
        return scattered(self._pace.next_s, waited_s, random.random())  # noqa: S311 - jitter, not a secret

    def _next_s(self, least_s: float = 0.0) -> int:
        return math.ceil(max(self._pace.next_s, least_s))

    def _admit(self, taken: Taken, now_s: float) -> None:
        """Bound what is on its way: beyond it devices are told to come again, long before memory grows.

        Events pass where telemetry does not: alarms above all must come through a server that is behind.
        """
        device_id, size_bytes = taken.device_id, len(taken.payload)
        if self._taking_of.taken(device_id) >= MAX_TAKING_OF_ONE:
            raise Busy(f"{MAX_TAKING_OF_ONE} batches of {device_id} are on their way", retry_after_s=self._next_s())
        full = self._taking_batches >= MAX_TAKING_BATCHES
        if full and self._taking_batches >= MAX_TAKING_BATCHES + MAX_TAKING_EVENTS * is_events(taken.payload):
            self._pace.note(0.0, 1.0, now_s)
            raise Busy("too many batches are on their way to the database", retry_after_s=self._next_s())
        if self._taking_bytes + size_bytes > MAX_TAKING_BYTES:
            raise Busy("too much is on its way to the database", retry_after_s=self._next_s())
        owed_s = self._owed_s(device_id, now_s)
        if owed_s and not is_events(taken.payload):
            text = f"{device_id} sends more than it may ({self._policy.device_readings_s:g} readings/s, "
            text += f"its product {self._policy.product_readings_s:g}; 0: no limit)"
            raise Busy(text, retry_after_s=math.ceil(owed_s))
        self._taking_batches += 1
        self._taking_bytes += size_bytes
        self._taking_of.take(device_id)

    def _hold(self, taken: Taken) -> None:
        """Bound what is kept of all batches between being read and their acks, which no payload tells by its size."""
        if self._taking_raw_bytes + taken.raw_bytes > MAX_TAKING_RAW_BYTES:
            taken.raw_bytes = 0
            raise Busy("too much is on its way to the database", retry_after_s=self._next_s())
        self._taking_raw_bytes += taken.raw_bytes

    def _release(self, taken: Taken) -> None:
        self._taking_batches -= 1
        self._taking_raw_bytes -= taken.raw_bytes
        self._taking_bytes -= len(taken.payload)
        self._taking_of.give_back(taken.device_id)

    def _charge(self, taken: Taken, now_s: float) -> None:
        """Count a batch against the limits of its device and its product; who owes is told when to come."""
        if not self._is_limited:
            return
        readings = sum([row.readings for row in taken.rows])
        self._of_device.spend(taken.device_id, readings, now_s)
        self._of_product.spend(self._products.get(taken.device_id, ""), readings, now_s)
        taken.owed_s = self._owed_s(taken.device_id, now_s)

    def _owed_s(self, device_id: str, now_s: float) -> float:
        if not self._is_limited:
            return 0.0
        product_id = self._products.get(device_id)
        of_product = self._of_product.wait_s(product_id, now_s) if product_id else 0.0
        return max(self._of_device.wait_s(device_id, now_s), of_product)

    def _note_product(self, standing: Standing) -> None:
        if self._policy.product_readings_s:
            if len(self._products) >= MAX_KEYS:
                self._products.clear()
            self._products[standing.device_id] = standing.product_id


def _health_json(told: Batch) -> str | None:
    return None if told.health is None else msgspec.json.encode(told.health).decode()


def _note_agent(conn: Connection, standing: Standing, agent_version: str) -> None:
    if agent_version != standing.agent_version:
        intake.note_agent(conn, standing.device_id, agent_version)


def _explain_quarantined(conn: Connection, taken: Taken, told: Batch, effects: Effects) -> None:
    """Say where the rows are of a batch that is readable and yet goes to quarantine."""
    rows = effects.rows
    explained = Gap(
        lane=told.lane,
        from_seq=rows[0].seq,
        to_seq=rows[-1].seq,
        from_us=taken.received_us,
        to_us=taken.received_us,
        count=sum(row.readings for row in rows) or len(rows),
        reason=f"in quarantine: {effects.problem.problem if effects.problem else 'unreadable'}",
    )
    gap.explain(conn, taken.device_id, told.store_id, told.lane, [explained], received_us=taken.received_us)
