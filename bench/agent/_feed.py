"""Numbered lines on pseudo terminals: the same bytes, at the same time, to each of them.

Line k is `k`, and with more columns `k,k,k…`; so what arrived can be told by the numbers alone: all of 1 … `sent`,
each once. A line that does not fit into the terminal waits (and `late_s` tells how long, at most); nothing is ever
left out, so what is missing in the end was lost by the reader.
"""

import errno
import os
import threading
import time
import tty
from pathlib import Path
from types import TracebackType
from typing import Self

TICK_S = 0.005
LINGER_S = 10.0  # for the readers to take what was written


class Wire:
    """One pseudo terminal under a name of its own; the far end stays open, so that nothing hangs up."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.terminal = os.ttyname(self._slave)
        path.symlink_to(self.terminal)
        self._rest = b""

    def write(self, data: bytes) -> int:
        """Write what fits; returns how many bytes still wait."""
        self._rest += data
        while self._rest:
            try:
                self._rest = self._rest[os.write(self._master, self._rest) :]
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                break
        return len(self._rest)

    def held_by(self, pid: int) -> bool:
        """Tell whether a process has it open."""
        try:
            return any(str(fd.readlink()) == self.terminal for fd in Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            return False

    def close(self) -> None:
        """Take it away."""
        self.path.unlink(missing_ok=True)
        os.close(self._master)
        os.close(self._slave)


class Feed:
    """Lines at a steady rate to some wires, from a thread, for the time of a `with` block."""

    def __init__(self, wires: list[Wire], lines_s: float, columns: int = 1, first: int = 1) -> None:
        self.first = first
        self.sent = 0  # lines, to each of the wires
        self.late_s = 0.0  # the longest that a line had to wait for its reader
        self._wires, self._lines_s, self._columns = wires, lines_s, columns
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed")

    @property
    def next(self) -> int:
        """The number of the line after the last one."""
        return self.first + self.sent

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        behind_since: float | None = None
        while not self._stopping.wait(TICK_S):
            now = time.monotonic()
            due = int((now - began) * self._lines_s) - self.sent
            data = self._lines(due)
            self.sent += due
            waiting = sum([wire.write(data) for wire in self._wires])
            behind_since = (behind_since or now) if waiting else None
            self.late_s = max(self.late_s, now - behind_since if behind_since else 0.0)
        until = time.monotonic() + LINGER_S
        while sum([wire.write(b"") for wire in self._wires]) and time.monotonic() < until:
            time.sleep(TICK_S)

    def _lines(self, count: int) -> bytes:
        columns = range(self._columns)
        return b"".join(b",".join([b"%d" % n for _ in columns]) + b"\n" for n in range(self.next, self.next + count))
