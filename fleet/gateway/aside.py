"""Work that would hold up the event loop, done in threads of which few run at once: each may need a lot of memory."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

Work = Callable[[], None]


class Aside:
    """Runs work in threads, `at_once` at a time, in the order it came. Who gives it work bounds how much waits."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: deque[tuple[Work, Work]] = deque()

    def run(self, work: Work, then: Work) -> None:
        """Have `work` done in a thread, and `then` on the loop, whatever came of it."""
        self._waiting.append((work, then))
        self._start()

    def _start(self) -> None:
        while self._free and self._waiting:
            self._free -= 1
            work, then = self._waiting.popleft()
            done = asyncio.get_running_loop().run_in_executor(None, work)
            done.add_done_callback(partial(self._end, then))

    def _end(self, then: Work, _done: object) -> None:
        self._free += 1
        self._start()
        then()
