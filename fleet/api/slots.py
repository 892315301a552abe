"""Slots for long queries: a few at a time, so that the readers that are left answer everybody else at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fleet.errors import Busy

RETRY_AFTER_S = 5


class Slots:
    """Lets `at_once` go, and `waiting` wait; raises Busy for more."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._most = at_once + waiting
        self._here = 0

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Wait for a slot, and hold it for the length of the block."""
        if self._here >= self._most:
            raise Busy("too many queries wait already", retry_after_s=RETRY_AFTER_S, hint="Ask for less at once.")
        self._here += 1
        try:
            async with self._free:
                yield
        finally:
            self._here -= 1
