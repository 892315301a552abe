"""From serial ports to readings: one task a port, which opens it, speaks, and comes back by itself.

A port's task knows two states, and each change between them is one event for each of its sources:

    open    bytes go to the dialogues, their actions become writes, readings and counted faults
    lost    the path is looked for each `LOOK_S`; once it is there the port is opened, and if that fails, again after
            `RETRY_S`, silently: a port is told as lost once

A port that is absent when its source starts is told as lost; one that is there from the start is not told. An open port
on which nothing comes is told as silent, and as heard when something does (`agent.core.silence`).
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agent.core.bus import Bus, Marked
from agent.core.config import SourceConfig
from agent.core.silence import Silence
from agent.errors import Unavailable
from agent.ports import (
    Clock,
    Dialogue,
    Emit,
    Fault,
    LineErrors,
    Link,
    Ports,
    ProtocolKind,
    Reading,
    Reopen,
    Time,
    Write,
    Written,
)
from agent.wire.limits import MAX_SLAVES, MAX_TEXT_CHARS
from agent.wire.messages import LineHealth, SlaveHealth, SourceHealth
from agent.wire.units import US_PER_S

LOOK_S = 0.25  # between looks for a path that is gone
RETRY_S = 1.0  # between tries to open a port that is there
JITTER_US = 100_000  # a reading dated this little before the one before it is dated like it: two clocks were read
SECONDS_PER_MINUTE = 60

OnReadings = Callable[[Sequence[Reading]], None]
OnEvent = Callable[[str, str, str], None]
"""Takes kind, subject (the source) and a sentence for a person."""
OnTime = Callable[[str, int, float], None]
"""Takes the source that told the time, UTC in microseconds, and the monotonic seconds at which it began to say so."""


class Acquire:
    """All sources of the device."""

    def __init__(  # noqa: PLR0913, PLR0917 - what it reads with, and whom it tells
        self,
        clock: Clock,
        ports: Ports,
        find: Callable[[str], ProtocolKind],
        on_readings: OnReadings,
        on_event: OnEvent,
        on_time: OnTime = lambda *_: None,
    ) -> None:
        self._world = _World(clock, ports, find, on_readings, on_event, on_time)
        self._wanted: dict[str, tuple[SourceConfig, ...]] = {}  # by port
        self._running: dict[str, _Running] = {}
        self._group: asyncio.TaskGroup | None = None
        self._changing = asyncio.Lock()

    async def run(self) -> None:
        """Read all sources until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await self._follow()
                await asyncio.Event().wait()
            finally:
                self._group = None

    async def apply(self, sources: tuple[SourceConfig, ...]) -> None:
        """Read these from now on; a port whose sources stay as they are is not touched.

        Raises Misconfigured if a protocol cannot be loaded; everything stays as it was then.
        """
        wanted: dict[str, tuple[SourceConfig, ...]] = {}
        for source in sources:
            self._world.find(source.protocol)
            wanted[source.port] = (*wanted.get(source.port, ()), source)
        self._wanted = wanted
        await self._follow()

    async def write(self, source: str, order: Any) -> str:  # noqa: ANN401 - a protocol's own, as modbus_write.Order
        """Have a source write to its device, at its next turn; returns "" once it is done, or why it is not.

        `order` is a dataclass with a `number`, which is set here. Cancelling does not take it back. Raises Unavailable
        if the source is not there or takes no order now, ValueError if the order cannot be followed.
        """
        for running in self._running.values():
            for i, one in enumerate(running.port.sources):
                if one.name == source:
                    return await running.port.write(i, order)
        raise Unavailable(f"There is no source {source!r}.")

    def health(self) -> tuple[SourceHealth, ...]:
        """Return how each source fares."""
        return tuple(
            running.port.health(i)
            for running in (self._running[port] for port in self._wanted if port in self._running)
            for i in range(len(running.port.sources))
        )

    def alive(self) -> bool:
        """Tell whether every source has its task at work; for the watchdog."""
        return self._group is not None and not any(running.task.done() for running in self._running.values())

    async def _follow(self) -> None:
        """Bring what runs to what is wanted, once `run` is there to hold the tasks."""
        async with self._changing:
            if self._group is None:
                return
            obsolete = [p for p, running in self._running.items() if self._wanted.get(p) != running.port.sources]
            ended = {port: self._running.pop(port) for port in obsolete}
            for running in ended.values():
                running.task.cancel()
            if ended:
                await asyncio.wait([running.task for running in ended.values()])
            for port, sources in self._wanted.items():
                if port not in self._running:
                    told_lost = port in ended and ended[port].port.told_lost
                    served = _Port(sources, self._world, told_lost=told_lost)
                    self._running[port] = _Running(served, self._group.create_task(served.run(), name=f"port {port}"))


@dataclass(slots=True)
class _Count:
    """What one source has brought since it was started."""

    readings: int = 0
    errors: int = 0
    overlong: int = 0
    last_us: int = 0
    detail: str = ""
    names: dict[str, str] = field(default_factory=dict)  # quantity -> series


@dataclass(frozen=True, slots=True)
class _World:
    """What every port's task is given."""

    clock: Clock
    ports: Ports
    find: Callable[[str], ProtocolKind]
    on_readings: OnReadings
    on_event: OnEvent
    on_time: OnTime


class _Port:
    """One port, and the sources that share it."""

    def __init__(self, sources: tuple[SourceConfig, ...], world: _World, *, told_lost: bool) -> None:
        self.sources = sources
        self.counts = tuple(_Count() for _ in sources)
        self.connected = False
        self._settings = sources[0].settings
        self._world = world
        self._clock = world.clock
        self._ports = world.ports
        self._silence = Silence()
        self._line_errors = LineErrors()  # since the port was opened
        self._line_errors_before = LineErrors()  # of the times that it was open before
        self._openings = 0
        self._dialogues: Sequence[Dialogue] = ()
        self._numbers = 0  # of orders to write
        self._written: dict[tuple[int, int], asyncio.Future[str]] = {}  # by source and number
        self.told_lost = told_lost  # also by those who had the port before: its return is to be told

    async def run(self) -> None:
        while True:
            try:
                await self._session()
            except Unavailable as error:
                self._lost(str(error))
            await asyncio.sleep(RETRY_S if self._ports.present(self._settings.port) else LOOK_S)
            while not self._ports.present(self._settings.port):
                self._lost(f"{self._settings.port} is not there.")
                await asyncio.sleep(LOOK_S)

    async def write(self, i: int, order: Any) -> str:  # noqa: ANN401 - a protocol's own
        """Hand an order to a dialogue and wait for the outcome."""
        write = getattr(self._dialogues[i], "write", None) if self.connected else None
        self._numbers += 1
        number = self._numbers
        if write is None or not write(replace(order, number=number)):
            raise Unavailable(f"The source {self.sources[i].name!r} takes no order now.")
        outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._written[i, number] = outcome
        try:
            return await outcome
        finally:
            del self._written[i, number]

    def health(self, i: int) -> SourceHealth:
        """Return how one of the sources fares."""
        count, before, now = self.counts[i], self._line_errors_before, self._line_errors
        line = LineHealth(
            framing=before.framing + now.framing,
            parity=before.parity + now.parity,
            overrun=before.overrun + now.overrun,
            breaks=before.breaks + now.breaks,
            overlong=count.overlong,
            reopened=max(0, self._openings - 1),
            silent=self.connected and self._silence.is_silent,
        )
        return SourceHealth(
            self.sources[i].name,
            self.connected,
            count.readings,
            count.errors,
            count.last_us,
            self._told(i, count.detail),
            line if line != LineHealth() else None,
            self._slaves(i)[:MAX_SLAVES],
        )

    def _slaves(self, i: int) -> tuple[SlaveHealth, ...]:
        """Return what the dialogue has counted on its bus, as long as the port is open."""
        slaves = getattr(self._dialogues[i], "slaves", None) if self._dialogues else None
        return tuple(slaves()) if slaves is not None else ()

    def _told(self, i: int, detail: str) -> str:
        """Return the last error as health tells it, with what the dialogue has counted, or the port's silence."""
        summary = getattr(self._dialogues[i], "summary", None) if self.connected and detail else None
        if summary is not None and summary():
            return f"{detail}; {summary()}"[:MAX_TEXT_CHARS]
        if not (self.connected and self._silence.is_silent):
            return detail
        minutes = self._silence.lasts_s(self._clock.mono_s()) / SECONDS_PER_MINUTE
        silence = f"open, but nothing has come for {minutes:.0f} min"
        return f"{silence}; before: {detail}"[:MAX_TEXT_CHARS] if detail else silence

    async def _session(self) -> None:
        """Open the port and speak until it is lost; raises Unavailable."""
        if not self._ports.present(self._settings.port):
            raise Unavailable(f"{self._settings.port} is not there.", hint="Is it plugged in, and the path right?")
        async with self._ports.open(self._settings) as link:
            self._found()
            try:
                await self._speak(link)
            finally:
                self.connected = False

    async def _speak(self, link: Link) -> None:
        world, settings = self._world, self._settings
        self._dialogues = [world.find(source.protocol).open(source.options, settings) for source in self.sources]
        bus, clock = Bus(self._dialogues), self._clock
        self._silence.opened(self._clock.mono_s(), listens=bus.due() is None)
        await self._act(link, bus.opened(link.listening_s), self._clock.now_us(), self._clock.mono_s())
        while True:
            due_s = bus.due()
            for chunk in await link.read(self._timeout_s(due_s)):
                if self._silence.heard(chunk.mono_s):
                    self._tell("port.heard", f"{self._settings.port} is heard again.")
                # Dated now and not as it came: the clock may have been set in between.
                t_us = clock.now_us() - round((clock.mono_s() - chunk.mono_s) * US_PER_S)
                await self._act(link, bus.feed(chunk.data, chunk.mono_s), t_us, chunk.mono_s)
            if link.line_errors != self._line_errors:
                self._count_line(link.line_errors)
            if due_s is not None:
                now_s = self._clock.mono_s()
                await self._act(link, bus.tick(now_s), self._clock.now_us(), now_s)
            if self._silence.tick(self._clock.mono_s()):
                minutes = self._silence.after_s / SECONDS_PER_MINUTE
                self._tell("port.silent", f"{self._settings.port} is open, but nothing has come for {minutes:.0f} min.")

    def _timeout_s(self, due_s: float | None) -> float | None:
        """Return for how long nothing but bytes is awaited; None: forever."""
        silent_s = self._silence.due()
        if due_s is None and silent_s is None:
            return None
        first_s = min(at_s for at_s in (due_s, silent_s) if at_s is not None)
        return max(0.0, first_s - self._clock.mono_s())

    def _count_line(self, found: LineErrors) -> None:
        """Count what the driver saw on the line; of a port that is shared, for each source."""
        known, self._line_errors = self._line_errors, found
        more = {kind: getattr(found, kind) - getattr(known, kind) for kind in ("framing", "parity", "overrun")}
        for count in self.counts:
            count.errors += sum(more.values())
            count.detail = (
                f"the line had {found.framing} framing, {found.parity} parity and {found.overrun} overrun errors"
                f" since it was opened; are speed ({self._settings.baudrate}) and parity right?"
            )

    async def _act(self, link: Link, marked: Iterable[Marked], t_us: int, now_s: float) -> None:
        """Do what the dialogues say; `t_us` and `now_s` are one moment on two clocks.

        Readings are handed on before the clock may move: they are dated by it as it stood.
        """
        readings: list[Reading] = []
        times: list[tuple[str, int, float]] = []
        for i, actions in marked:
            for action in actions:
                if isinstance(action, Emit):
                    self._read(i, action, t_us, now_s, readings)
                elif isinstance(action, Time):
                    at_s = now_s if action.at_s is None else action.at_s
                    times.append((self.sources[i].name, action.utc_us, at_s))
                elif isinstance(action, Reopen):
                    if readings:
                        self._world.on_readings(readings)
                        readings = []
                    await link.reopen(action.baudrate)
                else:
                    self._do(link, i, action, now_s)
        if readings:
            self._world.on_readings(readings)
        for time in times:
            self._world.on_time(*time)

    def _do(self, link: Link, i: int, action: Fault | Write | Written, now_s: float) -> None:
        if isinstance(action, Fault):
            count = self.counts[i]
            count.errors += 1
            count.overlong += action.overlong
            count.detail = action.problem[:MAX_TEXT_CHARS].replace("\0", "\N{REPLACEMENT CHARACTER}")
        elif isinstance(action, Write):
            link.write(action.data)
            self._silence.asked(now_s)
        elif (outcome := self._written.get((i, action.number))) is not None and not outcome.done():
            outcome.set_result(action.problem)

    def _read(self, i: int, emit: Emit, t_us: int, now_s: float, readings: list[Reading]) -> None:
        count = self.counts[i]
        at_us = t_us if emit.at_s is None else t_us - round((now_s - emit.at_s) * US_PER_S)
        if 0 < count.last_us - at_us < JITTER_US:
            at_us = count.last_us
        count.last_us = at_us
        count.readings += len(emit.values)
        names = count.names
        for quantity, unit, value in emit.values:
            name = names.get(quantity)
            if name is None:
                name = names[quantity] = f"{self.sources[i].name}.{quantity}"
            readings.append(Reading(name, unit, at_us, value))

    def _found(self) -> None:
        self.connected = True
        self._openings += 1
        before, now = self._line_errors_before, self._line_errors
        self._line_errors_before = LineErrors(
            before.framing + now.framing,
            before.parity + now.parity,
            before.overrun + now.overrun,
            before.breaks + now.breaks,
        )
        self._line_errors = LineErrors()
        for count in self.counts:
            count.detail = ""
        if self.told_lost:
            self._tell("port.found", f"{self._settings.port} is back.")
        self.told_lost = False

    def _lost(self, reason: str) -> None:
        for outcome in self._written.values():
            if not outcome.done():
                outcome.set_result(f"the port was lost: {reason}")
        for count in self.counts:
            count.detail = reason[:MAX_TEXT_CHARS]
        if not self.told_lost:
            self._tell("port.lost", reason)
        self.told_lost = True

    def _tell(self, kind: str, text: str) -> None:
        for source in self.sources:
            self._world.on_event(kind, source.name, text)


@dataclass(frozen=True, slots=True)
class _Running:
    port: _Port
    task: asyncio.Task[None]
