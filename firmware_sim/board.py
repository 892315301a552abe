"""Boards for tests and scenarios: a board as a process of its own, or run in this one.

with Board("freezer", folder / "tty0", ledger=folder / "ledger.db", rate=10) as board:
    board.fault("overheat")
    ...
rows = ledger.read(folder / "ledger.db")
"""

import contextlib
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from firmware_sim import clock, control
from firmware_sim.control import Message
from firmware_sim.errors import SimError, Unavailable
from firmware_sim.run import Run, Settings

START_S = 30.0
STOP_S = 10.0
POLL_S = 0.02


def run_board(settings: Settings) -> None:
    """Run a board in this process until `count` samples are out, or SIGINT or SIGTERM; in the main thread only.

    Raises Refused if the board cannot do what is asked, Unavailable if link, pty or ledger cannot be had.
    """
    Run(settings).run()


class Board:
    """A board that runs in a process of its own; flags and options are those of `firmware-sim board`."""

    def __init__(self, kind: str, link: Path, *flags: str, **options: object) -> None:
        self.link = link
        words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        self._command = [sys.executable, "-m", "firmware_sim", "board", kind, "--link", str(link), *flags, *words]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def process(self) -> subprocess.Popen[str]:
        """The process; raises Unavailable if it was not started."""
        if self._process is None:
            raise Unavailable(f"The board on {self.link} was not started.")
        return self._process

    def start(self) -> None:
        """Start it and wait until its port is there; raises Unavailable with what it printed."""
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        until_s = clock.monotonic_s() + START_S
        while self._process.poll() is None and clock.monotonic_s() < until_s:
            with contextlib.suppress(SimError):
                self.status()
                return
            clock.sleep(POLL_S)
        _, printed = self.stop()
        raise Unavailable(f"The board on {self.link} did not start: {printed.strip()}")

    def status(self) -> Message:
        """Return what the board says of itself; raises Unavailable if it does not run."""
        return control.ask(self.link, {"do": "status"})

    def fault(self, fault: str, *, quantity: str | None = None, for_s: float | None = None) -> Message:
        """Set a fault, or `clear` or `replug`; raises Refused or Unavailable."""
        return control.ask(self.link, {"do": "fault", "fault": fault, "quantity": quantity, "for_s": for_s})

    def wait(self, most_s: float = START_S) -> int:
        """Wait until the board ends by itself (it was given a count) and return its exit status."""
        return self.process.wait(most_s)

    def stop(self) -> tuple[int, str]:
        """Stop it, cleanly if it can; returns its exit status and what it printed on stderr."""
        process = self.process
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            _, printed = process.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            _, printed = process.communicate()
        return process.returncode, printed
