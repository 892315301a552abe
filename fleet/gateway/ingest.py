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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection

from agent.wire.codec import batch_id
from agent.wire.errors import WireError
from agent.wire.limits import MAX_AHEAD_S, MAX_SEQ, MAX_TEXT_CHARS
from agent.wire.messages import VERSION, Ack, Batch, Birth, Gap, Lane, Refusal, Reported, Will
from fleet.clock import now_us
from fleet.core.actor import FLEET
from fleet.core.event import Event
from fleet.core.hole import Row, find_holes
from fleet.errors import Busy
from fleet.gateway import lanes
from fleet.gateway.decode import decode_batch
from fleet.store import alarm, batch, config, event, gap, intake, latest, mark, presence, quarantine, reported, rule
from fleet.store.batch import Span
from fleet.store.database import Database
from fleet.store.intake import Standing
from fleet.store.mark import Mark

MAX_TAKING_BATCHES = 2048  # batches between arrival and ack, all devices
MAX_TAKING_BYTES = 64 * 1024 * 1024  # bytes of their payloads
DECODE_ASIDE_BYTES = 16 * 1024  # larger payloads are decoded in a thread, so that small ones need not wait
QUARANTINE_RULE = "fleet.quarantine"
MAX_EVENT_TEXT_CHARS = 2048


@dataclass(frozen=True, slots=True)
class AckPolicy:
    """What every ack says: the pace of the devices, and where the link listens."""

    next_s: float = 5.0
    link_port: int = 0  # 0: no link


class Ingest:
    """Takes what devices send, over whichever road."""

    def __init__(self, db: Database, policy: AckPolicy, clock: Callable[[], int] = now_us) -> None:
        self._db = db
        self._policy = policy
        self._now_us = clock
        self._taking_batches = 0
        self._taking_bytes = 0

    async def take(self, device_id: str, payload: bytes, road: str) -> Ack:
        """Store one batch and return its ack, after COMMIT. `road` is "link" or "gateway".

        Raises Busy on overload; NotFound and Refused for a device that does not exist or is revoked. No payload
        makes it raise anything.
        """
        with self._admitted(len(payload)):
            received_us = self._now_us()
            try:
                if len(payload) > DECODE_ASIDE_BYTES:
                    decoded = await asyncio.to_thread(decode_batch, payload)
                else:
                    decoded = decode_batch(payload)
            except WireError as error:
                problem = error  # `error` itself ends with this block
                return await self._db.write(
                    lambda conn: self._refuse(conn, device_id, payload, problem, road=road, received_us=received_us)
                )
            return await self._db.write(
                lambda conn: self._store(conn, device_id, payload, decoded, road=road, received_us=received_us)
            )

    async def birth(self, device_id: str, birth: Birth) -> None:
        """Note that a device's link came up."""
        received_us = self._now_us()

        def work(conn: Connection) -> None:
            standing = intake.standing(conn, device_id)
            _note_agent(conn, device_id, standing, birth.agent_version)
            facts = {"connection": birth.connection, "boot_id": birth.boot_id}
            presence.birth(conn, device_id, **facts, next_s=self._next_s(), now_us=received_us)  # type: ignore[arg-type] # by name

        await self._db.write(work)

    async def will(self, device_id: str, will: Will) -> None:
        """Note that a device's link broke; the will of an older link changes nothing."""
        received_us = self._now_us()

        def work(conn: Connection) -> None:
            intake.lock(conn, device_id)
            presence.will(conn, device_id, connection=will.connection, now_us=received_us)

        await self._db.write(work)

    # In the transaction.

    def _store(  # noqa: PLR0913 - one batch
        self, conn: Connection, device_id: str, payload: bytes, told: Batch, *, road: str, received_us: int
    ) -> Ack:
        standing = intake.standing(conn, device_id, told.store_id, told.lane)
        acked_seq = standing.mark.seq
        all_rows = lanes.rows_of(told)
        rows = [row for row in all_rows if row.seq > acked_seq]
        heard = [new for new in told.newest if new.t_us <= received_us + MAX_AHEAD_S * lanes.US_PER_S]
        if rows and told.prev_seq <= acked_seq:
            place = lanes.first_ahead(told, all_rows, received_us)
            if place is not None:
                problem = WireError(place, f"lies more than {MAX_AHEAD_S} s in the future; is the device's clock set?")
                _explain_quarantined(conn, device_id, told, rows, problem, received_us=received_us)
                return self._refuse(conn, device_id, payload, problem, road=road, received_us=received_us)
            lanes.explain(conn, device_id, told, rows[0].seq, received_us=received_us)
            for hole in find_holes(acked_seq, standing.mark.t_us, rows):
                lanes.note_hole(conn, device_id, told, hole, received_us=received_us)
            self._store_rows(conn, device_id, payload, told, rows, received_us=received_us)
            newest_us = max(*(row.to_us for row in rows), standing.mark.t_us or 0)
            acked_seq = rows[-1].seq
            mark.advance(conn, device_id, told.store_id, told.lane, Mark(acked_seq, newest_us))
            heard += lanes.newest_of([segment for segment in told.segments if segment.seq > standing.mark.seq])
        if told.lane is Lane.TELEMETRY and told.prev_seq <= acked_seq:
            self._judge(conn, device_id, told, rows, received_us=received_us)
        body = latest.merge(standing.latest, heard) if heard else None
        if body is not None:
            latest.put(conn, device_id, body)
        self._note_heard(conn, device_id, standing, told, received_us=received_us)
        return self._ack(conn, device_id, payload, acked_seq=acked_seq, said=told.reported)

    def _store_rows(  # noqa: PLR0913 - one batch
        self, conn: Connection, device_id: str, payload: bytes, told: Batch, rows: list[Row], *, received_us: int
    ) -> None:
        first_seq = rows[0].seq
        if told.lane is Lane.EVENTS:
            new_events = [row for row in told.events if row.seq >= first_seq]
            lanes.store_events(conn, device_id, told.store_id, new_events, received_us=received_us)
            return
        segments = [segment for segment in told.segments if segment.seq >= first_seq]
        span = Span(
            first_seq=first_seq,
            last_seq=rows[-1].seq,
            from_us=min(row.from_us for row in rows),
            to_us=max(row.to_us for row in rows),
            readings=lanes.count_readings(segments),
        )
        batch.add(conn, device_id, told.store_id, span, payload, received_us=received_us)

    def _judge(self, conn: Connection, device_id: str, told: Batch, rows: list[Row], *, received_us: int) -> None:
        """Run the fleet's rules on the new rows of telemetry; without any, the device has sent all that it has."""
        rules = config.fleet_rules(conn, device_id)
        if not rules:
            return
        all_rows = lanes.rows_of(told)
        first_seq = rows[0].seq if rows else MAX_SEQ
        rule.judge(
            conn,
            device_id,
            rules,
            [segment for segment in told.segments if segment.seq >= first_seq],
            newest=told.newest,
            until_us=max(row.to_us for row in all_rows) if all_rows else min(told.sent_us, received_us),
            received_us=received_us,
        )

    def _refuse(  # noqa: PLR0913 - one batch
        self, conn: Connection, device_id: str, payload: bytes, error: WireError, *, road: str, received_us: int
    ) -> Ack:
        """Keep a batch that cannot be stored as data, and say so: event, alarm, ack."""
        standing = intake.standing(conn, device_id)
        presence.seen(conn, device_id, standing.facts, now_us=received_us, next_s=self._next_s())
        about = {"place": error.place, "problem": error.problem}
        if quarantine.put(conn, device_id, payload, **about, road=road, received_us=received_us):
            text = f"A batch of {device_id} could not be read and is in quarantine: {error}"[:MAX_EVENT_TEXT_CHARS]
            data = {**about, "batch": batch_id(payload), "bytes": len(payload), "road": road}
            what = (device_id, FLEET.id, FLEET.origin, text, device_id, data)
            event.append(conn, Event(received_us, received_us, "batch.quarantined", "device", *what))
            alarm.raise_own(conn, device_id, QUARANTINE_RULE, text, t_us=received_us, received_us=received_us)
        refusal = Refusal(error.place[:MAX_TEXT_CHARS], error.problem[:MAX_TEXT_CHARS], quarantined=True)
        return self._ack(conn, device_id, payload, acked_seq=None, said=None, refused=refusal)

    def _note_heard(
        self, conn: Connection, device_id: str, standing: Standing, told: Batch, *, received_us: int
    ) -> None:
        presence.seen(
            conn,
            device_id,
            standing.facts,
            now_us=received_us,
            next_s=max(self._next_s(), told.next_s),
            boot_id=told.boot_id,
            health_json=None if told.health is None else msgspec.json.encode(told.health).decode(),
        )
        _note_agent(conn, device_id, standing, told.agent_version)
        if told.reported != standing.reported:
            # Dated by the server: a device whose clock was set back in between must not be taken for outdated.
            reported.record(conn, device_id, told.reported, t_us=received_us, received_us=received_us)

    def _ack(  # noqa: PLR0913 - the parts of an ack
        self,
        conn: Connection,
        device_id: str,
        payload: bytes,
        *,
        acked_seq: int | None,
        said: Reported | None,
        refused: Refusal | None = None,
    ) -> Ack:
        revision = config.desired_revision(conn, device_id)
        wanted = revision and said is not None and said.handled != revision
        return Ack(
            version=VERSION,
            batch=batch_id(payload),
            acked_seq=acked_seq,
            server_us=self._now_us(),
            config_revision=revision,
            next_s=self._policy.next_s,
            link_port=self._policy.link_port,
            config=config.desired(conn, device_id) if wanted else None,
            refused=refused,
        )

    def _next_s(self) -> int:
        return math.ceil(self._policy.next_s)

    @contextmanager
    def _admitted(self, size_bytes: int) -> Iterator[None]:
        """Bound what is on its way: beyond it devices are told to come again, long before memory grows."""
        if self._taking_batches >= MAX_TAKING_BATCHES or self._taking_bytes + size_bytes > MAX_TAKING_BYTES:
            raise Busy("too many batches are on their way to the database", retry_after_s=self._next_s())
        self._taking_batches += 1
        self._taking_bytes += size_bytes
        try:
            yield
        finally:
            self._taking_batches -= 1
            self._taking_bytes -= size_bytes


def _note_agent(conn: Connection, device_id: str, standing: Standing, agent_version: str) -> None:
    if agent_version != standing.agent_version:
        intake.note_agent(conn, device_id, agent_version)


def _explain_quarantined(  # noqa: PLR0913 - one batch
    conn: Connection, device_id: str, told: Batch, rows: list[Row], problem: WireError, *, received_us: int
) -> None:
    """Say where the rows are of a batch that is readable and yet goes to quarantine."""
    count = lanes.count_readings([row for row in told.segments if row.seq >= rows[0].seq]) or len(rows)
    explained = Gap(
        lane=told.lane,
        from_seq=rows[0].seq,
        to_seq=rows[-1].seq,
        from_us=received_us,
        to_us=received_us,
        count=count,
        reason=f"in quarantine: {problem.problem}",
    )
    gap.explain(conn, device_id, told.store_id, explained, received_us=received_us)
