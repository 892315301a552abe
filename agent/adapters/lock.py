"""One agent a state directory: an advisory lock that the kernel gives up when its holder dies, however it dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import Misconfigured


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock file for the length of the context; raises Misconfigured if another process holds it."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise Misconfigured(
            f"{path} cannot be opened: {error.strerror}.",
            hint="Run as the user that owns the state directory, or choose another with --state.",
        ) from error
    try:
        _lock(fd, path)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def holder(path: Path) -> int | None:
    """Return the process id of the running agent; None if nobody holds the lock."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid(fd)
    else:
        return None
    finally:
        os.close(fd)


def _lock(fd: int, path: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Misconfigured(
            f"Another agent (process {_pid(fd)}) is running on {path.parent}.",
            hint="Stop it first (`systemctl stop fleet-agent`), or give this one a directory of its own with --state.",
        ) from None


def _pid(fd: int) -> int:
    text = os.pread(fd, 20, 0).strip()
    return int(text) if text.isdigit() else 0
