"""Work in turns: what one device says is handled in its order, devices beside each other, and all of it bounded.

A task exists only for devices that have something waiting; with 100,000 idle ones there is none.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from agent.wire.topics import device_of
from fleet.gateway.seldom import Seldom

MAX_PENDING_OF_ONE = 8  # messages of one device: two batches in flight, birth, will, and room for a reconnect
MAX_PENDING = 8192  # messages of all: when a site or a broker goes, as many wills come at once
MAX_PENDING_BYTES = 64 * 1024 * 1024  # of their payloads

SAID_EVERY_S = 60.0  # of one device

log = structlog.get_logger(part="link")

Said = tuple[str, bytes]
"""A subject, and what was said on it."""


class Turns:
    """Hands messages to `handle` (device, subject, payload), one at a time for each device.

    It lives in the task group that it is given.
    """

    def __init__(self, group: asyncio.TaskGroup, handle: Callable[[str, str, bytes], Awaitable[None]]) -> None:
        self._group = group
        self._handle = handle
        self._waiting: dict[str, deque[Said]] = {}
        self._pending = 0
        self._pending_bytes = 0
        self._seldom = Seldom(SAID_EVERY_S)

    def is_waiting(self, device_id: str) -> bool:
        """Tell whether something of the device waits or is in hand: what comes now has to wait for it."""
        return device_id in self._waiting

    def offer(self, subject: str, data: bytes) -> None:
        """Take a message in, or drop it where too much waits: without an ack it comes again."""
        device_id = device_of(subject)
        queue = self._waiting.get(device_id)
        full = self._pending >= MAX_PENDING or self._pending_bytes + len(data) > MAX_PENDING_BYTES
        if not device_id or full or (queue is not None and len(queue) >= MAX_PENDING_OF_ONE):
            if self._seldom.may(device_id, asyncio.get_running_loop().time()):
                log.warning("dropped what a device said: too much waits", device=device_id, waiting=self._pending)
            return
        self._pending += 1
        self._pending_bytes += len(data)
        if queue is not None:
            queue.append((subject, data))
            return
        self._waiting[device_id] = deque([(subject, data)])
        self._group.create_task(self._drain(device_id), name=f"link {device_id}")

    async def _drain(self, device_id: str) -> None:
        queue = self._waiting[device_id]
        try:
            while queue:
                subject, data = queue.popleft()
                try:
                    await self._handle(device_id, subject, data)
                except Exception:  # the edge: one message that nobody foresaw must not end the link of all
                    if self._seldom.may(f"{device_id} failed", asyncio.get_running_loop().time()):
                        log.exception("failed on what a device said", device=device_id, subject=subject)
                finally:
                    self._pending -= 1
                    self._pending_bytes -= len(data)
        finally:
            del self._waiting[device_id]
