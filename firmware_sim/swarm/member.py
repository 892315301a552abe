"""One device of the swarm at work: its rows, its two roads, and the sync that follows acks as an agent does.

What it has measured is a function (`course`), so all that it keeps of its buffer is two numbers and what was refused:

    mark     the fleet has acked up to here
    cursor   rows after this one are sent next; above the mark only past rows that the fleet quarantined

One batch is in flight. After 15 s without an ack (and two calls) the events lane goes first, with the newest values. A
batch that was cut at its limit is followed by the next at once; else the next call is due when the fleet said. An ack
below `prev_seq` takes mark and cursor back. A link that was lost comes back after a random time below a ceiling that
doubles; when it has been gone for some 5 s the gateway is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_sim.clock import now_us
from firmware_sim.swarm import http, wire
from firmware_sim.swarm.loop import Timer
from firmware_sim.swarm.opening import Opening
from firmware_sim.swarm.roads import KEEPALIVE_S, Gateway, Link

if TYPE_CHECKING:
    from firmware_sim.swarm.crew import Crew

LINK_ACK_S = 20.0
GATEWAY_ACK_S = 45.0
BACKOFF_BASE_S = 1.0
BACKOFF_CAP_S = 60.0
REFUSED_S = 900.0
RETRY_JITTER = 0.25
STALE_S = 15.0
HEALTH_S = 60.0
MAX_DOUBLINGS = 16
OK, UNAVAILABLE, TOO_MANY = 200, 503, 429
REFUSALS = (401, 403)
TELEMETRY, EVENTS = "telemetry", "events"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a device is: its number in the swarm, its id in the fleet, the PEM file with key and certificate."""

    number: int
    device_id: str
    path: Path


@dataclass(slots=True)
class Flight:
    """The batch that waits for its ack."""

    lane: str
    batch: str
    prev_seq: int
    after_seq: int
    last_seq: int | None  # None: it has no rows
    road: str
    sent_s: float
    deadline_s: float
    cut: bool  # at its limit: more is waiting


class Member:
    """One device. `start_us` is when it began to measure; it emits no rows beyond `last_row` once that is set."""

    __slots__ = (
        "_acked_s",
        "_call",
        "_connections",
        "_crew",
        "_event_row",
        "_events_acked",
        "_flight",
        "_gateway",
        "_gateway_failures",
        "_gateway_open",
        "_health_s",
        "_link_failures",
        "_not_before_s",
        "_premade",
        "_refusals",
        "_reported",
        "_said_s",
        "_sent",
        "aside",
        "boot_id",
        "cursor",
        "identity",
        "is_on",
        "last_row",
        "link",
        "mark",
        "next_s",
        "start_us",
        "store_id",
    )

    def __init__(self, crew: "Crew", identity: Identity, start_us: int) -> None:
        self._crew = crew
        self.identity = identity
        self.start_us = start_us
        self.store_id = f"{crew.run_id}-{identity.number}"
        self.boot_id = f"boot-{crew.run_id}"
        self.mark = self.cursor = 0
        self.last_row: int | None = None
        self.aside: list[tuple[int, int]] = []  # first and last row of what the fleet quarantined
        self.is_on = False
        self.link: Link | None = None
        self._gateway: Gateway | None = None
        self._flight: Flight | None = None
        self._call: Timer | None = None
        self._premade: dict[int, bytes] = {}
        self._reported = wire.Reported()
        self._connections = crew.first_connection
        self._event_row = self._events_acked = self._sent = 0
        self._link_failures = self._gateway_failures = self._refusals = 0
        self.next_s = crew.first_next_s
        self._acked_s = self._health_s = self._not_before_s = self._said_s = 0.0
        self._gateway_open = Opening()

    # What its owner does with it.

    def begin(self) -> None:
        """Start, or come back: connect and call."""
        self.is_on = True
        self._event_row = self._events_acked + 1
        self._gateway_open = Opening()
        if self._crew.uses_link(self.identity.number):
            self._gateway_open.link_lost(self._crew.loop.now, self._crew.random())
            self._crew.connect(self)
        else:
            self._gateway_open.link_silent(self._crew.loop.now)
        self.call()

    def call(self) -> None:
        """Call now, if nothing is in flight."""
        self._call_at(self._crew.loop.now)

    def vanish(self) -> None:
        """Be gone, as when the site loses its power: nothing is said."""
        self.is_on = False
        self._flight = None
        self._acked_s = 0.0
        self._link_failures = self._gateway_failures = 0
        self._cancel_call()
        self._drop_link(abruptly=True)
        if self._gateway is not None:
            self._gateway.close(abruptly=True)
            self._gateway = None

    def finish(self, now_us: int) -> None:
        """Measure no more; what was measured is still sent."""
        whole = self._crew.course.rows_until(self.start_us, now_us)
        self.last_row = whole if self.last_row is None else min(self.last_row, whole)

    def abandon(self) -> None:
        """Have measured nothing beyond what has left: the end of a load that has no end of its own."""
        in_flight = self._flight.last_seq if self._flight is not None else None
        self.last_row = max(self.cursor, in_flight or 0)

    @property
    def is_done(self) -> bool:
        """Tell whether all that it has measured is acked or refused, and it measures no more."""
        return self.last_row is not None and self.cursor >= self.last_row and self._flight is None

    @property
    def unacked_rows(self) -> int:
        """Rows that were measured and are neither acked nor refused."""
        return max(0, self._waiting(self._crew.wall_us()) - self.cursor)

    @property
    def in_flight(self) -> int:
        """The last row that has left without an ack, and may have been stored; the mark if none."""
        return max(self.mark, self._sent)

    def premake(self, batches: int) -> None:
        """Make the first batches beforehand: what a device that was offline has in its buffer anyway."""
        for n in range(batches):
            before = n * self._crew.most_rows(1)
            payload, _ = self._telemetry(before, before, self._crew.wall_us())
            self._premade[before] = payload

    def sweep(self, now: float) -> None:
        """Look after what takes too long; call it once a second."""
        flight = self._flight
        if flight is not None and now > flight.deadline_s:
            self._crew.meter.error(f"no ack in {LINK_ACK_S if flight.road == 'link' else GATEWAY_ACK_S:.0f} s")
            if flight.road == "link":
                self._gateway_open.link_silent(now)
                self._lost_link("no ack in time")
            else:
                self._gateway_failed("no ack in time")
        if self.link is not None:
            self.link.channel.expire(now)
            if self.link is not None and self.link.is_up and now - self._said_s > KEEPALIVE_S / 2:
                self._said_s = now
                self.link.ping()
        if self._gateway is not None:
            self._gateway.expire(now)

    # The link.

    def connect(self) -> None:
        """Open the link now; the crew says when."""
        if not self.is_on or self.link is not None:
            self._crew.connected_or_not(self)
            return
        self._connections += 1
        self.link = Link(
            self._crew.loop,
            self.identity.device_id,
            birth=wire.birth(self._connections, now_us(), self.boot_id),
            will=wire.will(self._connections),
            on_up=self._link_up,
            on_heard=self._heard,
            on_down=self._lost_link,
        )
        self.link.open(self._crew.server, self.identity.path)

    def _link_up(self) -> None:
        self._crew.connected_or_not(self)
        self._crew.meter.connected += 1
        self._crew.meter.counts["links opened"] += 1
        self._said_s = self._crew.loop.now
        self.call()

    def _lost_link(self, why: str) -> None:
        self._crew.meter.error(f"link: {why}")
        self._drop_link(abruptly=True)
        self._gateway_open.link_lost(self._crew.loop.now, self._crew.random())
        if self._flight is not None and self._flight.road == "link":
            self._flight = None
        if not self.is_on:
            return
        self._crew.loop.at(self._crew.loop.now + self._wait_s(self._link_failures), lambda: self._crew.connect(self))
        self._link_failures += 1
        self._call_at(self._gateway_open.at_s)

    def _drop_link(self, *, abruptly: bool) -> None:
        link, self.link = self.link, None
        if link is None:
            return
        self._crew.connected_or_not(self)
        if link.was_up:
            self._crew.meter.connected -= 1
        link.close(abruptly=abruptly)

    def _heard(self, leaf: str, payload: bytes) -> None:
        if leaf == "ack":
            self._take_ack(payload, "link")
        elif leaf == "config":
            self._crew.hinted(self)
            self._reported = wire.read_config(payload)
        elif leaf == "wake":
            self.call()

    # The gateway.

    def _answered(self, answer: http.Answer) -> None:
        if answer.status == OK:
            self._take_ack(answer.body, "gateway")
            return
        self._crew.meter.error(f"gateway: {answer.status}")
        if answer.status in (UNAVAILABLE, TOO_MANY) and answer.retry_after_s:
            wait_s = answer.retry_after_s * (1 + RETRY_JITTER * self._crew.random())
        elif answer.status in REFUSALS:
            wait_s = REFUSED_S * (0.5 + self._crew.random() / 2)
        else:
            wait_s = self._wait_s(self._gateway_failures)
            self._gateway_failures += 1
        self._leave_gateway(wait_s)

    def _gateway_failed(self, why: str) -> None:
        self._crew.meter.error(f"gateway: {why}")
        if self._gateway is not None:
            self._gateway.close(abruptly=True)
            self._gateway = None
        self._leave_gateway(self._wait_s(self._gateway_failures))
        self._gateway_failures += 1

    def _leave_gateway(self, for_s: float) -> None:
        """Do not call it for some time; what was in flight goes over the link, if that has come up meanwhile."""
        self._flight = None
        now = self._crew.loop.now
        self._gateway_open.put_off(now + for_s)
        self._call_at(now if self.link is not None and self.link.is_up else self._gateway_open.at_s)

    # The sync.

    def _call_at(self, when_s: float) -> None:
        self._cancel_call()
        self._call = self._crew.loop.at(max(when_s, self._not_before_s), self._depart)

    def _cancel_call(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _depart(self) -> None:
        """Send what is owed, on the road that is open."""
        self._call = None
        now = self._crew.loop.now
        if not self.is_on or self._flight is not None or self._crew.is_holding:
            return
        is_link = self.link is not None and self.link.is_up
        if not is_link and (not self._crew.uses_gateway(self.identity.number) or now < self._gateway_open.at_s):
            if self._crew.uses_gateway(self.identity.number):
                self._call_at(self._gateway_open.at_s)
            return
        is_stale = now - self._acked_s > max(2 * self.next_s, STALE_S)
        lane = EVENTS if is_stale or self._event_row > self._events_acked else TELEMETRY
        wall_us = self._crew.wall_us()
        if lane == EVENTS:
            prev = after = self._events_acked
            payload, last = self._events(wall_us)
            cut = True  # telemetry follows at once
        else:
            prev, after = self.mark, self.cursor
            payload, last = self._telemetry(prev, after, wall_us)
            cut = last is not None and last - after >= self._crew.most_rows(last - after)
        self._send(payload, Flight(lane, wire.batch_id(payload), prev, after, last, "", now, 0.0, cut), is_link=is_link)

    def _send(self, payload: bytes, flight: Flight, *, is_link: bool) -> None:
        crew, now = self._crew, self._crew.loop.now
        crew.meter.counts["batches"] += 1
        crew.meter.counts["bytes"] += len(payload)
        self._flight = flight
        self._said_s = now
        if flight.lane == TELEMETRY:
            self._sent = max(self._sent, flight.last_seq or 0)
        if is_link and self.link is not None:
            flight.road, flight.deadline_s = "link", now + LINK_ACK_S
            self.link.publish_batch(payload)
            return
        crew.meter.counts["gateway calls"] += 1
        flight.road, flight.deadline_s = "gateway", now + GATEWAY_ACK_S
        if self._gateway is None:
            self._gateway = Gateway(crew.loop, crew.server, self.identity.path, self._answered, self._gateway_failed)
        self._gateway.post(payload)

    def _telemetry(self, prev: int, after: int, wall_us: int) -> tuple[bytes, int | None]:
        """Return a batch of the rows after `after`, and its last row."""
        if prev == after and (made := self._premade.pop(after, None)) is not None:
            return made, after + self._crew.most_rows(1)
        crew = self._crew
        last = after
        rows: list[str] = []
        waiting = self._waiting(wall_us) - after
        if waiting > 0:
            last = after + min(waiting, crew.most_rows(waiting))
            course, number = crew.course, self.identity.number
            rows = [course.row(number, self.start_us, seq, self.boot_id) for seq in range(after + 1, last + 1)]
        payload = wire.batch(
            store_id=self.store_id,
            boot_id=self.boot_id,
            lane=TELEMETRY,
            prev_seq=prev,
            sent_us=wall_us,
            reported=self._reported,
            rows=rows,
            health=self._health(wall_us, waiting),
            level=crew.gzip_level,
        )
        return payload, last if rows else None

    def _events(self, wall_us: int) -> tuple[bytes, int | None]:
        """Return a batch of the events lane, with the newest values, and its last row."""
        waiting = self._waiting(wall_us)
        rows = [wire.started_event(self._event_row, wall_us, self.boot_id)] * (self._event_row > self._events_acked)
        newest = self._crew.course.newest(self.identity.number, self.start_us, waiting) if waiting else ""
        payload = wire.batch(
            store_id=self.store_id,
            boot_id=self.boot_id,
            lane=EVENTS,
            prev_seq=self._events_acked,
            sent_us=wall_us,
            reported=self._reported,
            rows=rows,
            newest=newest,
        )
        return payload, self._event_row if rows else None

    def _waiting(self, wall_us: int) -> int:
        """Return the newest row that is whole."""
        if self.last_row is not None:
            return self.last_row
        return self._crew.course.rows_until(self.start_us, wall_us)

    def _health(self, wall_us: int, rows: int) -> str:
        now = self._crew.loop.now
        if now - self._health_s < HEALTH_S:
            return ""
        self._health_s = now
        return wire.health(t_us=wall_us, uptime_s=int(now), rows=max(rows, 0))

    def _take_ack(self, data: bytes, road: str) -> None:
        try:
            ack = wire.read_ack(data)
        except ValueError as error:
            self._crew.meter.error(f"{road}: {error}")
            return
        flight, now = self._flight, self._crew.loop.now
        if flight is None or flight.batch != ack.batch:
            self._crew.meter.counts["acks of other batches"] += 1
            return
        self._flight = None
        self._acked_s = self._crew.last_ack_s = now
        self.next_s = max(0.05, ack.next_s)
        if road == "link":
            self._link_failures = 0
            self._gateway_open.link_acked()
        else:
            self._gateway_failures = 0
        if ack.config is not None and ack.config != self._reported:
            self._reported = ack.config
        before = self.mark
        again = self._settle(flight, ack)
        rows = max(0, self.mark - before)
        self._crew.meter.acked(now - flight.sent_s, rows * self._crew.course.readings_a_row)
        if again and now >= self._not_before_s:
            self._cancel_call()
            self._depart()  # at once, not after the acks of others that came with it
        else:
            self._call_at(now if again else now + self.next_s)

    def _settle(self, flight: Flight, ack: wire.Ack) -> bool:
        """Do what the ack of this flight means; returns whether the next batch is to follow at once."""
        if ack.acked_seq is None or ack.refused or (ack.acked_seq == flight.prev_seq and flight.last_seq is not None):
            return self._refused(flight, ack)
        self._refusals = 0
        if flight.lane == EVENTS:
            self._events_acked = ack.acked_seq
            return True
        if ack.acked_seq < flight.prev_seq:
            self._crew.meter.counts["rewinds"] += 1
            self.mark = self.cursor = ack.acked_seq
            return True
        self.mark = ack.acked_seq
        self.cursor = max(ack.acked_seq, flight.after_seq)
        return flight.cut and not self.is_done

    def _refused(self, flight: Flight, ack: wire.Ack) -> bool:
        if ack.quarantined:
            self._crew.meter.error(f"quarantined: {ack.refused}")
            if flight.lane == TELEMETRY and flight.last_seq is not None:
                self.aside.append((flight.after_seq + 1, flight.last_seq))
                self.cursor = flight.last_seq
            elif flight.last_seq is not None:
                self._events_acked = flight.last_seq
            return True
        self._crew.meter.error(f"not stored: {ack.refused or 'the mark stood still'}")
        self._not_before_s = self._crew.loop.now + self._wait_s(self._refusals)
        self._refusals += 1
        return True

    def _wait_s(self, failures: int) -> float:
        """Full jitter below a ceiling that doubles."""
        ceiling_s: float = min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2 ** min(failures, MAX_DOUBLINGS))
        return self._crew.random() * ceiling_s


def acked_rows(member: Member) -> Sequence[tuple[int, int]]:
    """Return the spans of rows, first and last, that the fleet has acked as stored."""
    spans: list[tuple[int, int]] = []
    first = 1
    for low, high in (*sorted(member.aside), (member.mark + 1, member.mark)):
        if min(low - 1, member.mark) >= first:
            spans.append((first, min(low - 1, member.mark)))
        first = max(first, high + 1)
    return spans
