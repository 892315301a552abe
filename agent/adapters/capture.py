"""Captures as ports: `RecordingPorts` writes down what goes over a real one, `ReplayPorts` plays it back.

A replay runs on a clock of its own, as fast as the reader takes it: when the reader waits, the clock jumps to what
comes next, so that time-outs, turns and dates are those of the capture.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

from agent.core.capture import Capture, Entry, Header, entry_line, header_line
from agent.errors import Unavailable
from agent.ports import Chunk, Clock, LineErrors, Link, Ports, PortSettings
from agent.wire.units import US_PER_S


class RecordingPorts:
    """Ports whose traffic is written down, a line a call of `write`. For one port: entries do not say of which."""

    def __init__(self, ports: Ports, clock: Clock, write: Callable[[str], None]) -> None:
        self._ports = ports
        self._clock = clock
        self._write = write
        self._began_s: float | None = None

    def present(self, port: str) -> bool:
        """Tell whether the port is there."""
        return self._ports.present(port)

    @contextlib.asynccontextmanager
    async def open(self, settings: PortSettings) -> AsyncIterator[Link]:
        """Open a port; raises Unavailable."""
        async with self._ports.open(settings) as link:
            if self._began_s is None:
                self._began_s = self._clock.mono_s()
                header = Header(settings, self._clock.now_us(), min(0.0, link.listening_s - self._began_s))
                self._write(header_line(header))
            yield RecordingLink(link, self._clock, self._began_s, self._write)


class RecordingLink:
    """An open port whose traffic is written down."""

    def __init__(self, link: Link, clock: Clock, began_s: float, write: Callable[[str], None]) -> None:
        self.listening_s = link.listening_s
        self._link = link
        self._clock = clock
        self._began_s = began_s
        self._write = write
        self._last_s = 0.0

    @property
    def line_errors(self) -> LineErrors:
        """What the driver has counted."""
        return self._link.line_errors

    async def read(self, timeout_s: float | None) -> Sequence[Chunk]:
        """Return what has come; raises Unavailable when the port is gone."""
        try:
            chunks = await self._link.read(timeout_s)
        except Unavailable as error:
            self._note(self._clock.mono_s(), lost=str(error))
            raise
        for chunk in chunks:
            self._note(chunk.mono_s, rx=chunk.data)
        return chunks

    def write(self, data: bytes) -> None:
        """Queue bytes to be sent; raises Unavailable."""
        self._link.write(data)
        self._note(self._clock.mono_s(), tx=data)

    async def reopen(self, baudrate: int) -> None:
        """Set another speed; raises Unavailable."""
        await self._link.reopen(baudrate)
        self._note(self._clock.mono_s(), baudrate=baudrate)

    def _note(self, now_s: float, *, rx: bytes = b"", tx: bytes = b"", baudrate: int = 0, lost: str = "") -> None:
        self._last_s = max(self._last_s, now_s - self._began_s)
        self._write(entry_line(Entry(self._last_s, rx, tx, baudrate, lost)))


class ReplayClock:
    """The time within a capture. Implements `agent.ports.Clock`."""

    def __init__(self, header: Header) -> None:
        self._t_us = header.t_us
        self.now_s = 0.0

    def now_us(self) -> int:
        """Return UTC in microseconds."""
        return self._t_us + round(self.now_s * US_PER_S)

    def mono_s(self) -> float:
        """Return seconds since the capture began."""
        return self.now_s


class ReplayPorts:
    """The one port of a capture, under any name. `over` is set when all of it was read."""

    def __init__(self, capture: Capture, clock: ReplayClock) -> None:
        self.over = asyncio.Event()
        self._listening_s = capture.header.listening_s
        self._entries = deque(capture.entries)
        self._clock = clock

    def present(self, port: str) -> bool:
        """Tell whether there is something left to replay."""
        del port
        return not self.over.is_set()

    @contextlib.asynccontextmanager
    async def open(self, settings: PortSettings) -> AsyncIterator[Link]:
        """Open what is left of the capture."""
        del settings
        yield ReplayLink(self._entries, self._clock, self.over, self._listening_s)


class ReplayLink:
    """What came, at its time; what is written is dropped, since its answers are known."""

    line_errors = LineErrors()

    def __init__(self, entries: deque[Entry], clock: ReplayClock, over: asyncio.Event, listening_s: float) -> None:
        self.listening_s = clock.now_s + listening_s
        self._entries = entries
        self._clock = clock
        self._over = over

    async def read(self, timeout_s: float | None) -> Sequence[Chunk]:
        """Return the next bytes, or nothing if they came later than the timeout; at the end it never returns."""
        await asyncio.sleep(0)
        until_s = float("inf") if timeout_s is None else self._clock.now_s + timeout_s
        while self._entries and self._entries[0].s <= until_s:
            entry = self._entries.popleft()
            self._clock.now_s = max(self._clock.now_s, entry.s)
            if entry.lost:
                raise Unavailable(entry.lost)
            if entry.rx:
                return (Chunk(entry.rx, self._clock.now_us(), self._clock.now_s),)
        if not self._entries:
            self._over.set()
            await asyncio.Event().wait()
        self._clock.now_s = until_s
        return ()

    def write(self, data: bytes) -> None:
        """Drop what would be sent."""

    async def reopen(self, baudrate: int) -> None:
        """Do nothing: the capture was taken at the right speed."""
