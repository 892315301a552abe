"""The watchdog: systemd restarts the agent if it is not told in time that the work goes on.

It is told only while this loop turns and `alive` says that every port has its task at work. A process that merely
exists is not alive.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger(__name__)

STATUS_S = 5.0  # cadence of the status line
FEEDS_A_PERIOD = 3  # so that one late turn of the loop is no death


class Manager(Protocol):
    """The service manager: systemd, or nobody."""

    watchdog_s: float | None

    def status(self, sentence: str) -> None:
        """Show one line to the operator."""

    def feed(self) -> None:
        """Say that the work goes on."""


class Supervise:
    """Feeds the watchdog and keeps the status line current."""

    def __init__(self, manager: Manager, alive: Callable[[], bool], sentence: Callable[[], str]) -> None:
        self._manager = manager
        self._alive = alive
        self._sentence = sentence

    async def run(self) -> None:
        """Feed until cancelled, or until the work has stopped."""
        watchdog_s = self._manager.watchdog_s
        every_s = min(watchdog_s / FEEDS_A_PERIOD, STATUS_S) if watchdog_s else STATUS_S
        shown = ""
        while True:
            if self._alive():
                self._manager.feed()
            else:
                log.error("a serial port is no longer served; the watchdog is not fed")
            sentence = self._sentence()
            if sentence != shown:
                self._manager.status(sentence)
                log.info("%s", sentence)
                shown = sentence
            await asyncio.sleep(every_s)
