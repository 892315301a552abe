"""The sync machine, sans IO: rows wait, roads open and close, acks come or do not → what to do next.

    actions = uplink.handle(input, now)     # or None as the input, when `due` has come
    timer   = uplink.due()                  # monotonic seconds; infinity for never

Per lane it knows three numbers, `mark ≤ cursor ≤ top`:

    mark     up to here the fleet has acked; a batch says it as `prev_seq`
    cursor   rows after this one are sent next; above the mark only past rows that the fleet quarantined
    top      the newest row in the buffer

and at most one batch in flight. What an ack of that batch means, in this order:

    refused, quarantined    set its rows aside, cursor moves past them; the mark stays the server's
    refused, no mark        the server could not handle it and keeps nothing: back off, send again
    acked < prev_seq        the server was restored from a backup: mark and cursor go back to what it has
    acked ≥ prev_seq        rows up to there are on the server's disk: give up, mark and cursor move on

An ack of any other batch (late, doubled, of another life of this process) is ignored: what it would have said, the
next one says again. So nothing is given up unless the fleet said, in answer to what it was just sent, that it has it.

A device's card may be put back to an older image of itself, too. Then the buffer numbers new rows with seqs that the
fleet has already seen and would take for rows it knows: a loss that nobody notices. So in each life, before any row
leaves, a batch without rows asks on each lane where the fleet stands. A mark above `base`, the top of the lane when it
was last known to be in step, means that the buffer went back: it takes a new store_id, and what it wrote since is sent
under that. So does a buffer whose rows were carried over from a damaged file, whatever the fleet says: the answer,
under the damaged file's name, tells which of them the fleet has.

When a batch leaves: telemetry when `next_s` of the last ack is over; events with it; urgent events (alarms) at once;
at once also whatever follows a batch that was cut at its size limit, since that is what a backlog is. After an
outage, events and a snapshot of the newest values go alone and first; where both lanes were asked first, the events
that waited still go before the backlog. A lane that has nothing to send still asks for
an ack now and then, since only that tells whether the server went back.

A metered link has a gate (`agent.core.allowance`). While it is closed rows wait, but for events up to the newest
urgent one; and the telemetry lane calls without rows each `call_s`, so that the fleet sees the device, and the device
its config. Each batch tells the fleet how long it may be silent; what has not been told when the gate closes is told
at once.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from agent.core.backoff import Backoff, Rng
from agent.core.roads import Pace, Roads
from agent.core.uplink_events import (
    Acked,
    Action,
    Built,
    Committed,
    Deliver,
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
from agent.wire import limits
from agent.wire.messages import Ack, ConfigDocument, Lane


@dataclass(slots=True)
class _Flight:
    """The batch of a lane that waits for its ack."""

    number: int
    road: Road
    prev_seq: int
    after_seq: int
    deadline: float
    batch: str = ""  # not built yet
    last_seq: int | None = None
    more: bool = False
    call_s: int = 0  # that it tells


@dataclass(slots=True)
class _Lane:
    mark: int
    cursor: int
    top: int
    backoff: Backoff
    owed: bool = False  # a batch is to leave as soon as a road is free
    backlog: bool = False  # the last batch was cut at its limit
    not_before: float = -math.inf
    acked_at: float = -math.inf
    flight: _Flight | None = None
    base: int = 0
    is_proven: bool = True  # the fleet has said where it stands on this lane
    fleet_mark: int = 0  # and it was here, when it did
    urgent: int = 0  # rows up to here go through a closed gate


class Uplink:
    """The machine. `ends` gives each lane's (mark, top) as the buffer knows them; `rng` is a seeded source.

    `bases` gives each lane's top when the buffer was last known to be in step with the fleet; without them there is
    nothing to prove. `is_former` says that the buffer still goes by the name of a damaged file.
    """

    def __init__(  # noqa: PLR0913 - what it goes on from, and what it is run by
        self,
        ends: Mapping[Lane, tuple[int, int]],
        link_port: int,
        rng: Rng,
        now: float,
        pace: Pace | None = None,
        *,
        bases: Mapping[Lane, int] | None = None,
        is_former: bool = False,
    ) -> None:
        self._pace = pace = pace or Pace()
        self._rng = rng
        self.roads = Roads(link_port, rng, pace, now)
        self.next_s = pace.first_next_s
        self.call_at = now
        self.acked_at = -math.inf
        self.stale_acks = 0
        self._handled_at = -math.inf
        self._flights = 0  # counted, so that each has a number
        self._delivered: tuple[int, str] | None = None
        self._lanes = {
            lane: _Lane(mark, mark, top, Backoff(rng, base_s=pace.backoff_base_s, cap_s=pace.backoff_cap_s))
            for lane, (mark, top) in ends.items()
        }
        for name, base in (bases or {}).items():
            self._lanes[name].base = base
            self._lanes[name].is_proven = False
        self._lanes[Lane.EVENTS].urgent = self._lanes[Lane.EVENTS].top  # an earlier life did not say which are
        self._is_renewing = False
        self._is_behind = False  # events wait since before the lanes were asked: the backlog comes after them
        self._is_former = is_former
        self._gate = Gate()
        self._told_s = 0  # for how long the fleet was told not to wait for a call
        self._is_called = False  # a call is due, and has not left

    def handle(self, event: Input | None, now: float) -> list[Action]:
        """Take one input, or None for the passing of time; returns what to do, in order."""
        self._handled_at = now
        actions = [] if event is None else self._take(event, now)
        actions += self._expire(now)
        self._note_call(now)
        return actions + (self.roads.advance(now) if self._wants_road() else []) + self._depart(now)

    def due(self) -> float:
        """Return when `handle(None, …)` is wanted next, in monotonic seconds; infinity for never."""
        waiting = any(lane.owed and lane.flight is None for lane in self._lanes.values())
        lanes = (lane.not_before if lane.flight is None else lane.flight.deadline for lane in self._lanes.values())
        times = (self.call_at, self.roads.due(waiting=waiting), *lanes)
        # What was due when it was last called is done, or waits for an input or for a later time of its own.
        return min((t for t in times if t > self._handled_at), default=math.inf)

    # Time passes.

    def _expire(self, now: float) -> list[Action]:
        """Give up waiting for acks that are overdue."""
        actions: list[Action] = []
        for lane in self._lanes.values():
            flight = lane.flight
            if flight is None or now < flight.deadline:
                continue
            if flight.road is Road.LINK:
                self._ground_link()
                actions += self.roads.link_silent(now)
            else:
                self._ground(lane)
                self.roads.gateway_failed(now, None, refused=False)
        return actions

    def _note_call(self, now: float) -> None:
        """Owe what a call brings, when one is due."""
        if now < self.call_at:
            return
        self.call_at = now + self._period_s()
        self._is_called = True
        self._lanes[Lane.TELEMETRY].owed = True  # with or without rows: it brings the ack
        events = self._lanes[Lane.EVENTS]
        if events.flight is None:
            events.owed |= events.top > events.cursor or now - events.acked_at > self._pace.events_s

    def _wants_road(self) -> bool:
        """Tell whether anything may leave: connecting has its price, too."""
        events = self._lanes[Lane.EVENTS]
        return self._gate.is_open or self._is_called or (events.owed and events.cursor < events.urgent)

    def _period_s(self) -> float:
        return self.next_s if self._gate.is_open else max(self.next_s, self._gate.call_s)

    def _depart(self, now: float) -> list[Action]:
        """Send what is owed, events before telemetry, as far as roads are open."""
        is_stale = self._gate.is_open and now - self.acked_at > max(2 * self.next_s, self._pace.stale_s)
        if is_stale and self._lanes[Lane.TELEMETRY].owed and self._lanes[Lane.EVENTS].flight is None:
            self._lanes[Lane.EVENTS].owed = True
        actions: list[Action] = []
        is_proven = all(lane.is_proven for lane in self._lanes.values())
        is_events_turn = is_stale and (is_proven or not self._lanes[Lane.EVENTS].is_proven)
        is_events_turn |= self._is_behind and self._gate.is_open
        for name in (Lane.EVENTS,) if is_events_turn else (Lane.EVENTS, Lane.TELEMETRY):
            lane = self._lanes[name]
            if self._is_renewing or (lane.is_proven and not is_proven):
                continue
            if not lane.owed or lane.flight is not None or now < lane.not_before:
                continue
            most = self._most(name, lane) if is_proven else 0
            if most is None:
                continue
            road = self.roads.choose(now)
            if road is None:
                break
            lane.owed = False
            self._is_called &= name is not Lane.TELEMETRY
            self._flights += 1
            deadline = now + self.roads.timeout_s(road)
            call_s = self._gate.call_s
            lane.flight = _Flight(self._flights, road, lane.mark, lane.cursor, deadline, call_s=call_s)
            actions.append(Send(name, self._flights, road, lane.mark, lane.cursor, most, is_stale, call_s))
        return actions

    def _most(self, name: Lane, lane: _Lane) -> int | None:
        """Return how many bytes of rows may leave now, 0 for a call without rows; None if the lane has to wait."""
        is_urgent = lane.cursor < lane.urgent
        if not self._gate.is_open:
            if name is Lane.TELEMETRY:
                return 0 if self._is_called else None
            return limits.STEADY_BATCH_BYTES if is_urgent else None
        if not self._gate.is_metered:
            return limits.BACKLOG_BATCH_BYTES if lane.backlog else limits.STEADY_BATCH_BYTES
        is_alone = all(other.flight is None for other in self._lanes.values())
        return limits.STEADY_BATCH_BYTES if is_alone or is_urgent else None

    def _take(self, event: Input, now: float) -> list[Action]:  # noqa: C901 - one case an input
        match event:
            case Committed():
                self._committed(event)
            case Built():
                self._built(event)
            case Acked():
                return self._acked(event.ack, now)
            case Failed():
                self._failed(event, now)
            case Readmitted():
                self.roads.renewed(now)
                self.call_at = now
            case LinkUp():
                self.roads.link_up()
                self.call_at = min(self.call_at, now)
            case LinkDown():
                self._ground_link()
                self.roads.link_down(now)
            case Wake():
                # While it saves, those who wake it often do not wear the allowance down.
                self.call_at = now if self._gate.is_open else max(now, self.acked_at + self._pace.woken_s)
            case Pushed():
                return self._deliver(event.config)
            case Renewed():
                self._renewed(event, now)
            case Gate():
                self._pass(event, now)
        return []

    def _committed(self, event: Committed) -> None:
        lane = self._lanes[event.lane]
        lane.top = max(lane.top, event.top_seq)
        lane.owed |= event.urgent
        if event.urgent:
            lane.urgent = max(lane.urgent, event.top_seq)

    def _pass(self, gate: Gate, now: float) -> None:
        """Keep to another gate: what waited goes, at a moment that not all devices share; or the fleet is told."""
        was_open, self._gate = self._gate.is_open, gate
        if gate.is_open and not was_open:
            self.call_at = min(self.call_at, now + self.next_s * self._rng())
        elif not gate.is_open:
            self.call_at = self._call_at(now) if was_open else self.call_at

    def _call_at(self, now: float) -> float:
        """Return when to call next: at once if the fleet does not know yet how long the device may be silent."""
        is_untold = not self._gate.is_open and self._told_s < self._gate.call_s
        return now if is_untold else now + self._period_s()

    def _built(self, event: Built) -> None:
        flight = self._lanes[event.lane].flight
        if flight is not None and flight.number == event.flight:
            flight.batch, flight.last_seq, flight.more = event.batch, event.last_seq, event.more

    def _failed(self, event: Failed, now: float) -> None:
        lane = self._lanes[event.lane]
        flight = lane.flight
        if flight is None or flight.number != event.flight:
            return
        self._ground(lane)
        lane.backlog = False  # a road that fails may do so for the size
        if not flight.batch:
            lane.not_before = now + lane.backoff.failed()
        elif flight.road is Road.GATEWAY:
            self.roads.gateway_failed(now, event.wait_s, refused=event.refused)

    def _acked(self, ack: Ack, now: float) -> list[Action]:
        for name, lane in self._lanes.items():
            flight = lane.flight
            if flight is not None and flight.batch == ack.batch:
                lane.flight = None
                self._is_behind &= name is not Lane.EVENTS
                self._told_s = flight.call_s
                self._note_pace(name, flight.road, ack, now)
                return self._settle(name, flight, ack, now) + self._deliver(ack.config)
        self.stale_acks += 1
        return []

    # What an ack means.

    def _settle(self, name: Lane, flight: _Flight, ack: Ack, now: float) -> list[Action]:
        """Do what the ack of this flight means: the table at the top of the module."""
        lane = self._lanes[name]
        if ack.acked_seq is not None:
            if lane.is_proven and ack.acked_seq > max(lane.top, lane.mark, flight.last_seq or 0):
                return self._renew({name: other.mark for name, other in self._lanes.items()})
            lane.fleet_mark = ack.acked_seq if not lane.is_proven else lane.fleet_mark
            self._prove(lane)
            if self._went_back():
                return self._renew({name: min(it.base, it.fleet_mark) for name, it in self._lanes.items()})
            if self._is_former or lane.fleet_mark > lane.base:
                return []  # the other lane is to be asked first
        is_behind = ack.acked_seq is not None and ack.acked_seq < flight.prev_seq
        if ack.refused is not None and ack.refused.quarantined:
            return self._set_aside(name, flight, ack) + (self._rewind(name, ack) if is_behind else [])
        is_stuck = ack.acked_seq == flight.prev_seq and flight.last_seq is not None  # taken, yet nothing of it stored
        if ack.refused is not None or ack.acked_seq is None or is_stuck:
            lane.not_before = now + lane.backoff.failed()
            lane.owed = True
            return []
        return self._rewind(name, ack) if is_behind else self._advance(name, flight, ack.acked_seq)

    def _prove(self, lane: _Lane) -> None:
        if lane.is_proven:
            return
        lane.is_proven = True
        if all(other.is_proven for other in self._lanes.values()):
            for other in self._lanes.values():
                other.owed |= other.top > other.cursor
            events = self._lanes[Lane.EVENTS]
            self._is_behind = events.top > events.cursor

    def _went_back(self) -> bool:
        """Tell, once both lanes have been answered, whether the buffer needs another name than it asked under."""
        lanes = self._lanes.values()
        is_behind = self._is_former or any(lane.fleet_mark > lane.base for lane in lanes)
        return is_behind and all(lane.is_proven for lane in lanes)

    def _renew(self, bases: Mapping[Lane, int]) -> list[Action]:
        """Ask for a new store_id; what is in flight under the old one is nobody's any more."""
        self._is_renewing = True
        for lane in self._lanes.values():
            self._ground(lane)
        return [Renew(tuple(bases.items()))]

    def _renewed(self, event: Renewed, now: float) -> None:
        self._is_renewing = False
        for lane in self._lanes.values():
            if event.is_done:
                self._is_former = False
                lane.mark = lane.cursor = lane.base = lane.fleet_mark = 0
                lane.is_proven = True
            else:
                lane.is_proven = False
                lane.not_before = now + lane.backoff.failed()
            lane.owed = True

    def _set_aside(self, name: Lane, flight: _Flight, ack: Ack) -> list[Action]:
        self._go_on(name, more=flight.more)
        if flight.last_seq is None:
            return []
        self._lanes[name].cursor = flight.last_seq
        problem = f"{ack.refused.place}: {ack.refused.problem}" if ack.refused else ""
        return [SetAside(name, flight.after_seq + 1, flight.last_seq, problem)]

    def _rewind(self, name: Lane, ack: Ack) -> list[Action]:
        lane = self._lanes[name]
        lane.mark = lane.cursor = ack.acked_seq or 0
        self._go_on(name, more=True)
        for other in self._lanes.values():
            other.owed = True  # a backup is of both lanes
        return [Rewind(name, lane.mark)]

    def _advance(self, name: Lane, flight: _Flight, acked_seq: int) -> list[Action]:
        lane = self._lanes[name]
        actions: list[Action] = [GiveUp(name, acked_seq)] if acked_seq > lane.mark else []
        lane.mark = acked_seq
        lane.cursor = max(acked_seq, flight.after_seq)
        self._go_on(name, more=flight.more or acked_seq < (flight.last_seq or 0))
        return actions

    # Helpers.

    def _go_on(self, name: Lane, *, more: bool) -> None:
        lane = self._lanes[name]
        lane.backoff.succeeded()
        lane.backlog = more
        lane.owed |= more

    def _note_pace(self, name: Lane, road: Road, ack: Ack, now: float) -> None:
        """Keep to the server's pace. An ack of events never puts the next call off, or a busy alarm would."""
        self.acked_at = self._lanes[name].acked_at = now
        self.next_s = max(self._pace.least_next_s, min(float(limits.MAX_NEXT_S), ack.next_s))
        call_at = self._call_at(now)
        self.call_at = call_at if name is Lane.TELEMETRY else min(self.call_at, call_at)
        self.roads.acked(road, ack.link_port)

    def _deliver(self, config: ConfigDocument | None) -> list[Action]:
        if config is None or self._delivered == (config.revision, config.hash):
            return []
        self._delivered = (config.revision, config.hash)
        return [Deliver(config)]

    def _ground(self, lane: _Lane) -> None:
        lane.flight = None
        lane.owed = True
        self._is_called |= lane is self._lanes[Lane.TELEMETRY]

    def _ground_link(self) -> None:
        for lane in self._lanes.values():
            if lane.flight is not None and lane.flight.road is Road.LINK:
                self._ground(lane)
