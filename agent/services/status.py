"""The running agent's answer to `fleet-agent status`: gathered when somebody asks, and at no other time."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agent.core.status import (
    VERSION,
    BufferStatus,
    ClockStatus,
    LatestStatus,
    LocalStatus,
    SourceStatus,
    Status,
    SyncStatus,
    certificate,
    flash_of,
    iso,
)
from agent.core.token import FILE
from agent.ports import Clock
from agent.services.health import Backlog
from agent.wire.messages import Health, MeteringHealth, Newest, Reported, SourceHealth
from agent.wire.units import US_PER_S


@dataclass(frozen=True, slots=True)
class Views:
    """Where the parts of the status come from."""

    health: Callable[[], Awaitable[Health]]
    backlog: Callable[[], Awaitable[Backlog]]
    problem: Callable[[], str]  # why nothing can be stored now; "" if it can
    newest: Callable[[], tuple[Newest, ...]]
    clock: Callable[[], ClockStatus]
    sync: Callable[[], SyncStatus]
    reported: Callable[[], Reported]
    local: Callable[[], LocalStatus]
    metering: Callable[[], MeteringHealth | None] = lambda: None


class Look:
    """Gathers the status of the running agent."""

    def __init__(  # noqa: PLR0913, PLR0917 - who it tells of, and where from
        self, device: str, agent_version: str, pid: int, clock: Clock, views: Views, key: str = FILE
    ) -> None:
        self._device = device
        self._key = key
        self._agent_version = agent_version
        self._pid = pid
        self._clock = clock
        self._views = views

    async def status(self) -> Status:
        """Return the status as of now."""
        health = await self._views.health()
        now = self._clock.now_us()
        return Status(
            version=VERSION,
            running=True,
            device=self._device,
            agent_version=self._agent_version,
            pid=self._pid,
            t_us=now,
            t=iso(now),
            uptime_s=health.uptime_s,
            rss_bytes=health.rss_bytes,
            clock=self._views.clock(),
            sources=tuple(_source(source) for source in health.sources),
            latest=latest_of(self._views.newest()),
            buffer=buffer_of(await self._views.backlog(), now, self._views.problem()),
            sync=self._views.sync(),
            config=self._views.reported(),
            certificate=certificate(health.cert_expires_us, now, self._key),
            local=self._views.local(),
            flash=flash_of(health.written_bytes, health.written_readings),
            metering=self._views.metering(),
        )


def latest_of(newest: tuple[Newest, ...]) -> tuple[LatestStatus, ...]:
    """Return the newest values, by name."""
    return tuple(
        LatestStatus(it.name, it.unit, it.t_us, iso(it.t_us), it.v) for it in sorted(newest, key=lambda it: it.name)
    )


def buffer_of(backlog: Backlog, now_us: int, problem: str) -> BufferStatus:
    """Return what waits, with the age of its oldest row."""
    oldest_us = backlog.oldest_us
    age_s = max(0.0, (now_us - oldest_us) / US_PER_S) if oldest_us else 0.0
    return BufferStatus(
        backlog.rows, backlog.bytes, backlog.readings, oldest_us, iso(oldest_us), round(age_s, 3), problem
    )


def _source(source: SourceHealth) -> SourceStatus:
    return SourceStatus(
        name=source.name,
        connected=source.connected,
        readings=source.readings,
        errors=source.errors,
        last_us=source.last_us,
        last=iso(source.last_us),
        detail=source.detail,
        line=source.line,
        slaves=source.slaves,
    )
