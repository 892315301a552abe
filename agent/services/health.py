"""The device's own condition, kept fresh for whoever asks: the sync once a minute, a person whenever they look."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agent.errors import Unavailable
from agent.ports import Clock
from agent.wire.limits import MAX_GAUGE, MAX_SOURCES, MAX_TIME_US
from agent.wire.messages import Health, MachineHealth, RoadHealth, SourceHealth

EVERY_S = 15.0
LOOKS = 15  # at the loop's lag in that time
LAG_WINDOWS = 5  # of EVERY_S over which the greatest lag is told: the minute between two tellings, and a little


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in the buffer for an ack, both lanes together."""

    rows: int
    bytes: int
    readings: int
    oldest_us: int  # event time of the oldest row; 0 if none


@dataclass(frozen=True, slots=True)
class Vitals:
    """Where the figures come from."""

    rss_bytes: Callable[[], int]
    backlog: Callable[[], Awaitable[Backlog]]
    sources: Callable[[], tuple[SourceHealth, ...]]
    cert_expires_us: Callable[[], int]
    machine: Callable[[], MachineHealth | None] = lambda: None
    road: Callable[[], RoadHealth | None] = lambda: None
    server_offset_s: Callable[[], float | None] = lambda: None
    written_bytes: Callable[[], int | None] = lambda: None  # to the disk, since the start
    written_readings: Callable[[], int] = lambda: 0  # committed since then


class Checkup:
    """Takes a health record every `EVERY_S` and has the newest at hand, for callers that cannot wait."""

    def __init__(self, clock: Clock, vitals: Vitals) -> None:
        self._clock = clock
        self._vitals = vitals
        self._started_s = clock.mono_s()
        self._newest: Health | None = None
        self._lags: deque[float] = deque([0.0], maxlen=LAG_WINDOWS)

    async def run(self) -> None:
        """Take records until cancelled, and between them see for how long the loop is held up."""
        while True:
            self._lags.append(0.0)
            for _ in range(LOOKS):
                due_s = self._clock.mono_s() + EVERY_S / LOOKS
                await asyncio.sleep(EVERY_S / LOOKS)
                self._lags[-1] = max(self._lags[-1], self._clock.mono_s() - due_s)
            with contextlib.suppress(Unavailable):  # a disk that cannot be read now: the recorder tells of it
                await self.examine()

    def newest(self) -> Health | None:
        """Return the newest record; None before the first."""
        return self._newest

    async def examine(self) -> Health:
        """Take a record now; raises Unavailable if the buffer cannot be read."""
        backlog = await self._vitals.backlog()
        self._newest = health = Health(
            t_us=_date(self._clock.now_us()),
            uptime_s=self.uptime_s(),
            rss_bytes=self._vitals.rss_bytes(),
            buffer_rows=backlog.rows,
            buffer_bytes=backlog.bytes,
            buffer_oldest_us=_date(backlog.oldest_us),
            cert_expires_us=_date(self._vitals.cert_expires_us()),
            sources=self._vitals.sources()[:MAX_SOURCES],
            machine=self._vitals.machine(),
            road=self._vitals.road(),
            loop_lag_s=round(min(max(self._lags), MAX_GAUGE), 4),
            server_offset_s=_gauge(self._vitals.server_offset_s()),
            written_bytes=self._vitals.written_bytes(),
            written_readings=self._vitals.written_readings(),
        )
        return health

    def uptime_s(self) -> int:
        """Return for how long the agent has run, whole seconds."""
        return int(self._clock.mono_s() - self._started_s)


def _gauge(value: float | None) -> float | None:
    return None if value is None else min(max(value, -MAX_GAUGE), MAX_GAUGE)


def _date(t_us: int) -> int:
    return min(max(t_us, 0), MAX_TIME_US)
