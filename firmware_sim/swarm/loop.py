"""One thread, one epoll, one heap of timers: 10,000 TLS connections at a few KB of Python each.

asyncio's TLS keeps some 300 KB a connection; a swarm needs callbacks, not tasks, so it has its own loop. A callback
that is cancelled stays in the heap until its time and is then passed over.
"""

import heapq
import select
from collections.abc import Callable
from itertools import count

from firmware_sim.clock import monotonic_s

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
MAX_WAIT_S = 0.5
EVENTS_AT_ONCE = 512

Callback = Callable[[], None]


class Timer:
    """A callback that will be run at a time, unless it is cancelled."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callback) -> None:
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        """Never run it."""
        self.callback = None


class Loop:
    """Runs callbacks as sockets become ready and times come."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = count()
        self._stopping = False
        self.now = monotonic_s()

    def add(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Call `handler(events)` whenever the descriptor is ready."""
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        """Wait for other events of a descriptor that was added."""
        self._epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Forget a descriptor; call it before closing."""
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def at(self, when_s: float, callback: Callback) -> Timer:
        """Run a callback at a monotonic time."""
        timer = Timer(callback)
        heapq.heappush(self._timers, (when_s, next(self._numbers), timer))
        return timer

    def every(self, seconds: float, callback: Callback) -> None:
        """Run a callback again and again, first in `seconds`; what was missed is left out."""

        def again() -> None:
            callback()
            self.at(self.now + seconds, again)

        self.at(self.now + seconds, again)

    def stop(self) -> None:
        """Return from `run` after the callbacks that are due."""
        self._stopping = True

    def run(self) -> None:
        """Run until `stop`."""
        self._stopping = False
        while not self._stopping:
            wait_s = max(0.0, min(MAX_WAIT_S, self._timers[0][0] - monotonic_s())) if self._timers else MAX_WAIT_S
            ready = self._epoll.poll(wait_s, EVENTS_AT_ONCE)
            self.now = monotonic_s()
            for fd, events in ready:
                handler = self._handlers.get(fd)
                if handler is not None:
                    handler(events)
            while self._timers and self._timers[0][0] <= self.now:
                callback = heapq.heappop(self._timers)[2].callback
                if callback is not None:
                    callback()

    def close(self) -> None:
        """Give the descriptor back."""
        self._epoll.close()
