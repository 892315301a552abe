"""The device's own condition, kept fresh for whoever asks: the sync once a minute, a person whenever they look."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agent.errors import Unavailable
from agent.ports import Clock
from agent.wire.limits import MAX_SOURCES, MAX_TIME_US
from agent.wire.messages import Health, SourceHealth

EVERY_S = 15.0


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


class Checkup:
    """Takes a health record every `EVERY_S` and has the newest at hand, for callers that cannot wait."""

    def __init__(self, clock: Clock, vitals: Vitals) -> None:
        self._clock = clock
        self._vitals = vitals
        self._started_s = clock.mono_s()
        self._newest: Health | None = None

    async def run(self) -> None:
        """Take records until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
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
        )
        return health

    def uptime_s(self) -> int:
        """Return for how long the agent has run, whole seconds."""
        return int(self._clock.mono_s() - self._started_s)


def _date(t_us: int) -> int:
    return min(max(t_us, 0), MAX_TIME_US)
