"""A stage on which real programs play: a folder, child processes, and an end that leaves nothing behind.

Every child runs in a session of its own, so that it can be stopped, frozen or killed with whatever it started.
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self, TypeVar

T = TypeVar("T")

BIN = Path(sys.executable).parent
STOP_S = 6.0  # seconds that a child has to stop by itself
POLL_S = 0.05
PORTS = range(10_240, 32_768)  # below those that Linux gives to connections by itself (ip_local_port_range)


class StageError(Exception):
    """Something on the stage did not happen in time, or a program failed; the message says which, and where to look."""


class Stage:
    """A folder and the programs that run in it."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fieldline-"))
        self.environment = {**os.environ, **(environment or {}), "HOME": str(self.folder)}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._before: Callable[[int, FrameType | None], object] | int | None = None  # SIGTERM's handler

    def __enter__(self) -> Self:
        # Told to end, a stage ends as with Ctrl-C, leaving nothing behind. Only a main thread can see to that.
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def start(self, name: str, *words: str) -> None:
        """Start `words` (a program of ours and its arguments) as the child `name`; its output goes to a log."""
        with self.log(name).open("ab") as log:
            self._children[name] = subprocess.Popen(  # noqa: S603 - our own programs
                [str(BIN / words[0]), *words[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )

    def run(self, *words: str, most_s: float = 30.0) -> str:
        """Run a program of ours to its end and return what it printed; raises StageError if it fails."""
        done = subprocess.run(  # noqa: S603 - our own programs
            [str(BIN / words[0]), *words[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=most_s,
            check=False,
        )
        if done.returncode:
            raise StageError(f"`{' '.join(words[:3])} …` failed: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def log(self, name: str) -> Path:
        """Return the file that holds what a child printed."""
        return self.folder / f"{name}.log"

    def pid(self, name: str) -> int:
        """Return the process id of a child."""
        return self._children[name].pid

    def family(self, name: str) -> Sequence[int]:
        """Return the process ids of a child and of all that it started."""
        return (self.pid(name), *descendants(self.pid(name)))

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a child and to all that it started."""
        child = self._children[name]
        for pid in self.family(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if number is signal.SIGKILL:
            child.wait()

    def stop(self, name: str) -> None:
        """Ask a child to stop, and see to it; one that was never started has."""
        child = self._children.pop(name, None)
        if child is None:
            return
        family = (child.pid, *descendants(child.pid))
        if child.poll() is None:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(STOP_S)
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        child.wait()

    def fail_if_ended(self) -> None:
        """Raise StageError if a child ended that nobody stopped."""
        for name, child in self._children.items():
            if child.poll() not in {None, -signal.SIGKILL}:
                tail = self.log(name).read_text(errors="replace")[-2000:]
                raise StageError(f"{name} ended with status {child.returncode}:\n{tail}")

    def wait_for(self, what: str, probe: Callable[[], T | None], *, most_s: float) -> T:
        """Poll until `probe` returns something true; raises StageError that says what did not happen."""
        until = time.monotonic() + most_s
        while True:
            found = probe()
            if found:
                return found
            self.fail_if_ended()
            if time.monotonic() > until:
                raise StageError(f"in {most_s:g} s this did not happen: {what}; logs are in {self.folder}")
            time.sleep(POLL_S)

    def close(self) -> None:
        """Stop all children, the last one first, and remove the folder."""
        for name in reversed(list(self._children)):
            with contextlib.suppress(ProcessLookupError):
                self.send(name, signal.SIGCONT)
            self._children[name].terminate()
        for name in reversed(list(self._children)):
            self.stop(name)
        shutil.rmtree(self.folder, ignore_errors=True)


def free_ports(count: int) -> Sequence[int]:
    """Return TCP ports on loopback that nobody uses now, nor any connection gets before they are used."""
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        while len(found) < count:
            port = random.choice(PORTS)  # noqa: S311 - not a secret
            with contextlib.suppress(OSError):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
                found.append(port)
    return found


def descendants(pid: int) -> list[int]:
    """Return the process ids of all that a process has started, and they in turn."""
    try:
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [each for child in children for each in (child, *descendants(child))]
