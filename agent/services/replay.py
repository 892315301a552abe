"""A capture through a source, as the agent would have read it: by `Acquire`, on the capture's own port and clock."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from agent.core.config import SourceConfig
from agent.ports import Clock, Ports, ProtocolKind
from agent.services.acquire import Acquire, OnReadings
from agent.wire.messages import SourceHealth


class Replay(Ports, Protocol):
    """Ports that end."""

    over: asyncio.Event


async def replay(
    ports: Replay, clock: Clock, source: SourceConfig, find: Callable[[str], ProtocolKind], on_readings: OnReadings
) -> SourceHealth:
    """Read a capture to its end; returns how the source fared. Raises Misconfigured if it has no protocol."""
    acquire = Acquire(clock, ports, find, on_readings, lambda *_: None)
    await acquire.apply((source,))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(acquire.run(), name="replay")
        ended = group.create_task(ports.over.wait(), name="over")
        await asyncio.wait((task, ended), return_when=asyncio.FIRST_COMPLETED)
        (health,) = acquire.health()
        for one in (task, ended):
            one.cancel()
    return health
