"""From readings and events to the disk: judge, gather, commit.

    readings ─▶ edge rules ─▶ alarm events ┐
        └─▶ sampling ─▶ columns ───────────┴▶ pending rows ─▶ one transaction each `flush_s`, or at once for an alarm

Alarm, the readings that raised it and the rule's state are committed together, so a power cut never leaves an alarm
without its state or a state without its alarm.

When the buffer's room is used up, what it lets go of (`agent.core.shedding`) and the gap record that tells of it go
with the next transaction.

While the disk fails, rows wait in memory up to `MAX_PENDING_BYTES`; beyond that the oldest telemetry is shed, events
last, and what was shed becomes a gap record (`gap.recorded`) that is committed with the first rows that can be.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from agent.core.backoff import Backoff, Rng
from agent.core.dating import Order, moved
from agent.core.log_tail import last_lines
from agent.core.outbox import Columns, Moment, Row, event_row
from agent.core.sampling import Sampler, Sampling
from agent.core.shedding import Shed
from agent.core.store import Store
from agent.errors import Unavailable
from agent.ports import Clock, Reading
from agent.rules.engine import RAISED, Change, Judge, RuleState, gone
from agent.rules.phase import shifted
from agent.rules.rule import Place, Rule
from agent.services.restore import Restored, dump_states, state_key
from agent.wire.limits import MAX_SERIES
from agent.wire.messages import AlarmChange, AlarmState, DeviceEvent, Gap, JobResult, Lane, Newest, Severity
from agent.wire.messages import Clock as ClockState

DEFAULT_FLUSH_S = 1.0
CUT_READINGS = 4096  # gathered readings are made rows at this count, so that encoding never holds the loop up for long
COMMIT_BYTES = 1024 * 1024  # of rows in one transaction
MAX_PENDING_BYTES = 4 * 1024 * 1024  # of rows that wait in memory while the disk fails: hours at 10 readings a second
RETRY_BASE_S = 0.5
RETRY_CAP_S = 5.0
TICK_S = 1.0  # how soon silence is noticed
MEMORY_EVERY_S = 60.0  # how much of what the rules remember a power cut may cost
Committed = Callable[[Lane, int, bool], None]
"""Told after each commit: lane, greatest seq, and whether an alarm is among it."""


@dataclass(frozen=True, slots=True)
class Boot:
    """This boot of the machine, and how far its clock is trusted."""

    boot_id: str
    clock: Callable[[], ClockState]


@dataclass(slots=True)
class _Hole:
    """Rows of one lane that were shed; `seq` is that of its gap record, once there was an attempt to commit it."""

    gap: Gap
    seq: int = 0


class Recorder:
    """The one writer of the buffer. `readings` and `event` are called on the loop and never wait."""

    def __init__(  # noqa: PLR0913 - the parts that app.py wires
        self,
        store: Store,
        clock: Clock,
        boot: Boot,
        restored: Restored,
        rng: Rng,
        *,
        max_pending_bytes: int = MAX_PENDING_BYTES,
    ) -> None:
        self.problem = ""  # why the last commit failed; "" if it did not
        self.written_readings = 0  # committed since the start
        self.log: Callable[[], Sequence[str]] = lambda: ()  # the agent's last log lines, oldest first
        self.flush_s = DEFAULT_FLUSH_S
        self.on_committed: Committed = lambda _lane, _top, _urgent: None
        self.on_live: Callable[[Sequence[Reading]], None] | None = None
        self.on_order: Callable[[], None] = lambda: None  # told when it is on the disk what rows are to be dated by
        self._store = store
        self._clock = clock
        self._boot = boot
        self._backoff = Backoff(rng, base_s=RETRY_BASE_S, cap_s=RETRY_CAP_S)
        self._max_pending_bytes = max_pending_bytes
        self._rules: dict[str, Rule] = {}
        self._judge = Judge(())
        self._sampling: tuple[Sampling, ...] = ()
        self._sampler: Sampler | None = None  # None: every reading is kept
        self._restored = dict(restored.states)  # of rules that no config has brought yet
        self._has_undated = restored.has_undated
        self._order: Order | None = None  # goes with the next transaction
        self._memories_at_s = clock.mono_s()  # when all of the rules' memory was written last, monotonic
        self._next_seq = dict(restored.next_seq)
        self._newest: dict[str, Reading] = {}
        self._columns = Columns()
        self._gathered = 0
        self._pending: dict[Lane, deque[Row]] = {lane: deque() for lane in Lane}
        self._pending_bytes = 0
        self._sending: list[Row] = []  # of the transaction that is under way, or that failed
        self._values: dict[str, str] = {}
        self._holes: dict[Lane, _Hole] = {}
        self._relief: Shed | None = None  # goes with the next transaction; `_sending` tells of it
        self._failing_since: Moment | None = None
        self._wanted = asyncio.Event()
        self._urgent = asyncio.Event()
        self._flushing = asyncio.Lock()

    # Intake: on the loop, never waiting.

    def readings(self, readings: Sequence[Reading]) -> None:
        """Take readings as they come."""
        if not self._newest:  # the first after a start is committed at once: somebody may stand there and wait for it
            self._urgent.set()
        feed = self._judge.feed
        for reading in readings:
            for change in feed(reading.name, reading.t_us, reading.v):
                self._tell(change)
            self._newest[reading.name] = reading
        self._keep_readings(readings if self._sampler is None else self._sampler.take(readings))
        if self.on_live is not None and self._boot.clock() is not ClockState.UNKNOWN:
            self.on_live(readings)

    def event(  # noqa: PLR0913 - the fields of an event
        self,
        kind: str,
        subject: str,
        text: str,
        *,
        alarm: AlarmChange | None = None,
        gap: Gap | None = None,
        job: JobResult | None = None,
        log: tuple[str, ...] = (),
        t_us: int | None = None,
    ) -> None:
        """Take an event; it is committed with the next flush, an alarm's at once. `t_us` is now unless given."""
        moment = self._moment()
        t_us = moment.now_us if t_us is None else t_us
        mono_us = max(0, moment.mono_us - (moment.now_us - t_us))
        seq = self._take_seq(Lane.EVENTS)
        at = (seq, t_us, moment.boot_id, mono_us, moment.clock)
        event = DeviceEvent(*at, kind, subject, text, alarm=alarm, gap=gap, job=job, log=log)
        self._queue(event_row(event))
        self._wanted.set()
        if alarm is not None:
            self._urgent.set()

    def newest(self) -> tuple[Newest, ...]:
        """Return the newest reading of each series, of the series read last first, as many as a snapshot may hold."""
        latest = sorted(self._newest.values(), key=lambda reading: -reading.t_us)[:MAX_SERIES]
        return tuple(Newest(reading.name, reading.unit, reading.t_us, reading.v) for reading in latest)

    def snapshot(self) -> tuple[Newest, ...]:
        """Return the newest readings for the fleet: none while they are dated by a guess."""
        return () if self._boot.clock() is ClockState.UNKNOWN else self.newest()

    async def apply(self, rules: Iterable[Rule], flush_s: float, sampling: tuple[Sampling, ...] = ()) -> None:
        """Judge and sample by these from now on. The alarm of a rule that is gone is cleared."""
        if sampling != self._sampling:
            self._finish_windows()
            self._sampling = sampling
            self._sampler = Sampler(sampling) if sampling else None
        before, self._rules = self._rules, {rule.name: rule for rule in rules if rule.at is Place.EDGE}
        self.flush_s = flush_s
        states = {**self._restored, **self._judge.states()}
        self._restored = {}
        for (name, series), state in gone(self._rules.values(), states).items():
            if state.phase in RAISED:
                self._clear_orphan(name, series, state, before.get(name))
            self._values[state_key(name, series)] = "{}"
            self._wanted.set()
        judge = Judge(self._rules.values(), states, from_us=self._judge.from_us)
        if not self._judge.from_us:  # the first config: nobody listened before
            judge.listen(self._clock.now_us())
        self._judge = judge

    def tick(self) -> None:
        """Tell the rules how late it is, so that they notice silence; called each second."""
        now_us = self._clock.now_us()
        for change in self._judge.tick(now_us):
            self._tell(change)
        if self._sampler is not None:
            self._keep_readings(self._sampler.tick(now_us))

    def finish(self) -> None:
        """Take what is open into the last flush: windows, and what the rules remember."""
        self._finish_windows()
        self._memories_at_s = -math.inf

    # The clock: its one user (`agent.services.reckon`) calls `cut`, moves it, and calls `set_clock`.

    def cut(self) -> None:
        """Make rows of all that was gathered by the clock as it stands, open windows too."""
        self._finish_windows()
        self._cut()

    def set_clock(self, by_us: int, from_us: int) -> None:
        """Take note that the clock was moved: what is in memory, of `from_us` or later by its own date, moves along."""
        now_us = self._clock.now_us()
        self._judge.reset_clock(by_us, now_us, from_us)
        self._restored = {key: shifted(state, by_us, from_us, now_us) for key, state in self._restored.items()}
        self._values.update(dump_states({**self._restored, **self._judge.states()}))
        for name, reading in self._newest.items():
            self._newest[name] = reading._replace(t_us=moved(reading.t_us, by_us, from_us))
        for hole in self._holes.values():
            begin_us, end_us = (moved(it, by_us, from_us) for it in (hole.gap.from_us, hole.gap.to_us))
            hole.gap = replace(hole.gap, from_us=min(begin_us, end_us), to_us=end_us)

    def date(self, by_us: int, from_us: int, clock: ClockState) -> None:
        """Have the rows that were dated by a guess dated by this, those of this boot by `clock`."""
        if self._has_undated:
            self._has_undated = False
            through = {lane: seq - 1 for lane, seq in self._next_seq.items()}
            self._order = Order(through, by_us, from_us, self._boot.boot_id, clock)
            self._wanted.set()
            self._urgent.set()

    def keep(self, key: str, value: str) -> None:
        """Keep a value in the buffer, from the next transaction on."""
        self._values[key] = value
        self._wanted.set()

    def _keep_readings(self, readings: Sequence[Reading]) -> None:
        """Gather readings for the next row."""
        if not readings:
            return
        if self._sampler is not None:
            self._newest.update((reading.name, reading) for reading in readings)
        self._columns.add(readings)
        self._gathered += len(readings)
        if self._gathered >= CUT_READINGS:
            self._cut()
        self._wanted.set()

    def _finish_windows(self) -> None:
        if self._sampler is not None:
            self._keep_readings(self._sampler.finish())

    # Commit.

    async def run(self) -> None:
        """Commit what came, each `flush_s` or at once, and tick; until cancelled. Raises Damaged in a group."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._commit_what_comes(), name="commit")
            group.create_task(self._tick_on(), name="tick")

    async def _tick_on(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.tick()

    async def _commit_what_comes(self) -> None:
        while True:
            await self._wanted.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.flush_s):
                    await self._urgent.wait()
            try:
                await self.flush()
            except Unavailable:
                await asyncio.sleep(self._backoff.failed())

    async def flush(self) -> None:
        """Commit everything taken so far; raises Unavailable, and then it is all still there to be tried again."""
        async with self._flushing:
            urgent = self._urgent.is_set()
            self._wanted.clear()
            self._urgent.clear()
            try:
                self._cut()
                self._note_memories()
                while await self._find_relief() or self._fill() or self._values or self._holes or self._order:
                    await self._commit(urgent=urgent)
            except BaseException:
                self._wanted.set()
                if urgent:
                    self._urgent.set()
                raise

    async def renew(self, bases: Mapping[Lane, int]) -> None:
        """Give the buffer a new store_id, since the fleet knows other rows by its name; raises Unavailable.

        Rows go on being numbered as they were; a gap record without readings explains why those before are missing.
        """
        await self.flush()
        async with self._flushing:
            self._cut()
            for lane, base in bases.items():
                now_us = self._clock.now_us()
                reason = "nothing is missing: the rows up to here came under the buffer's former store_id"
                gap = Gap(lane, 1, base, now_us, now_us, 0, reason)
                if base:
                    text = f"The buffer took a new store_id; its {lane} up to row {base} came under the former one."
                    self.event("buffer.renewed", lane, text, gap=gap)
            while self._pending[Lane.EVENTS]:
                self._sending.append(self._unqueue(Lane.EVENTS))
            await self._store.renew(self._sending, bases)
            tops = {row.lane: row.seq for row in self._sending}
            self._sending = []
            for lane, top in tops.items():
                self.on_committed(lane, top, lane is Lane.EVENTS)

    async def _commit(self, *, urgent: bool) -> None:
        """Commit one transaction: the rows under way, what was shed before them, and the values."""
        self._fill()
        holes: dict[Lane, _Hole] = {}
        if not self._pending[Lane.EVENTS]:  # or their seqs would come after those of the gap records
            holes, self._holes = self._holes, {}
        values, order = dict(self._values), self._order
        rows = [*self._sending, *(self._hole_row(hole) for hole in holes.values())]
        try:
            await self._store.commit(rows, values, self._relief, order)
        except BaseException as error:
            self._keep(holes)
            if isinstance(error, Unavailable):
                self.problem = str(error)
                self._failing_since = self._failing_since or self._moment()
            raise
        if self._failing_since is not None:
            self._tell_recovered(self._failing_since)
        self.problem = ""
        self._backoff.succeeded()
        self._sending = []
        self.written_readings += sum(row.count for row in rows if row.lane is Lane.TELEMETRY)
        self._relief = None
        if order is not None:
            self._order = None
            self.on_order()
        self._values = {key: text for key, text in self._values.items() if values.get(key) != text}
        for lane in Lane:
            top = max((row.seq for row in rows if row.lane is lane), default=0)
            if top:
                self.on_committed(lane, top, urgent and lane is Lane.EVENTS)

    async def _find_relief(self) -> bool:
        """Ask what goes, if the buffer's room is used up; the event that tells of it is queued as any other."""
        if self._relief is None and self._store.tight and not self._pending[Lane.EVENTS]:
            shed = await self._store.relief()
            if shed is not None:
                noun = "readings" if shed.lane is Lane.TELEMETRY else "events"
                self.event("gap.recorded", shed.lane, f"{shed.gap.count} {noun} were {shed.gap.reason}.", gap=shed.gap)
                while self._pending[Lane.EVENTS]:  # it goes with this transaction, and what was queued before it
                    self._sending.append(self._unqueue(Lane.EVENTS))
                self._relief = shed
        return self._relief is not None

    def _tell_recovered(self, since: Moment) -> None:
        self._failing_since = None
        seconds = self._clock.mono_s() - since.mono_us / 1_000_000
        text = f"The buffer could not be written for {seconds:.0f} s and can be again: {self.problem}"
        self.event("buffer.recovered", "", text)

    def _fill(self) -> bool:
        """Fill the transaction from what is pending; events first, as they are few. Tells whether it holds rows."""
        self._values.update(dump_states(self._judge.moved()))
        size = sum(len(row.body) for row in self._sending)
        for lane in (Lane.EVENTS, Lane.TELEMETRY):
            queue = self._pending[lane]
            while queue and (size < COMMIT_BYTES or not self._sending):
                self._sending.append(self._unqueue(lane))
                size += len(self._sending[-1].body)
        return bool(self._sending)

    def _cut(self) -> None:
        """Make rows of what was gathered."""
        if self._gathered:
            self._gathered = 0
            rows = self._columns.cut(self._next_seq[Lane.TELEMETRY], self._moment())
            self._next_seq[Lane.TELEMETRY] += len(rows)
            for row in rows:
                self._queue(row)

    def _queue(self, row: Row) -> None:
        self._has_undated |= not row.is_dated
        self._pending[row.lane].append(row)
        self._pending_bytes += len(row.body)
        while self._pending_bytes > self._max_pending_bytes:
            shed = self._unqueue(Lane.TELEMETRY if self._pending[Lane.TELEMETRY] else Lane.EVENTS)
            gap = Gap(shed.lane, shed.seq, shed.seq, shed.from_us, shed.to_us, shed.count, "")
            self._keep({shed.lane: _Hole(gap)})

    def _unqueue(self, lane: Lane) -> Row:
        row = self._pending[lane].popleft()
        self._pending_bytes -= len(row.body)
        return row

    # What was shed.

    def _keep(self, holes: Mapping[Lane, _Hole]) -> None:
        """Keep holes that are not on the disk yet, joined to those of their lane."""
        for lane, hole in holes.items():
            other = self._holes.get(lane)
            self._holes[lane] = hole if other is None else _Hole(_join(hole.gap, other.gap), hole.seq or other.seq)

    def _hole_row(self, hole: _Hole) -> Row:
        hole.seq = hole.seq or self._take_seq(Lane.EVENTS)
        gap = replace(
            hole.gap, reason=f"the device could not write in time: {self.problem or 'its disk is slow'}"[:1000]
        )
        moment = self._moment()
        text = f"{gap.count} {'readings' if gap.lane is Lane.TELEMETRY else 'events'} were lost: {gap.reason}"
        return event_row(
            DeviceEvent(
                hole.seq,
                moment.now_us,
                moment.boot_id,
                moment.mono_us,
                moment.clock,
                "gap.recorded",
                gap.lane,
                text,
                gap=gap,
            )
        )

    # Rules.

    def _note_memories(self) -> None:
        """Write what the rules remember of the readings, once a minute: it changes with each of them."""
        now_s = self._clock.mono_s()
        if now_s - self._memories_at_s >= MEMORY_EVERY_S:
            self._memories_at_s = now_s
            self._values.update(dump_states({key: it for key, it in self._judge.states().items() if it.memory}))

    def _tell(self, change: Change) -> None:
        rule = change.rule
        alarm = AlarmChange(
            rule=rule.name,
            series=change.series,
            state=change.state,
            severity=rule.severity,
            first_bad_us=change.first_bad_us,
            ticket=rule.ticket,
            value=change.value,
            condition=str(rule.condition),
        )
        seen = "" if change.value is None else f"{change.series} is {change.value}; "
        text = f"{seen}the rule {rule.name} ({change.series}: {rule.condition}) is {change.state}."
        text = text[0].upper() + text[1:] if not seen else text
        wants_log = change.rule.ticket and change.state is AlarmState.ACTIVE
        log = last_lines(self.log()) if wants_log else ()
        self.event("alarm.changed", rule.name, text, alarm=alarm, log=log, t_us=change.t_us)

    def _clear_orphan(self, name: str, series: str, state: RuleState, rule: Rule | None) -> None:
        alarm = AlarmChange(
            rule=name,
            series=series,
            state=AlarmState.CLEARED,
            severity=rule.severity if rule else Severity.WARNING,
            first_bad_us=state.first_bad_us,
            ticket=rule.ticket if rule else False,
            value=None,
            condition="",  # which is how the fleet knows it from a clear by a reading
        )
        text = f"The rule {name} is no longer part of the config; its alarm on {series} is cleared."
        self.event("alarm.changed", name, text, alarm=alarm)

    # Helpers.

    def _take_seq(self, lane: Lane) -> int:
        seq = self._next_seq[lane]
        self._next_seq[lane] = seq + 1
        return seq

    def _moment(self) -> Moment:
        return Moment(
            self._clock.now_us(), int(self._clock.mono_s() * 1_000_000), self._boot.boot_id, self._boot.clock()
        )


def _join(a: Gap, b: Gap) -> Gap:
    return Gap(
        a.lane,
        min(a.from_seq, b.from_seq),
        max(a.to_seq, b.to_seq),
        min(a.from_us, b.from_us),
        max(a.to_us, b.to_us),
        a.count + b.count,
        a.reason or b.reason,
    )
