"""Files that are whole or not there: written beside, synced, renamed over.

After a power cut at any point the path holds the old content or the new, never a part of either. A file written by
root into another user's directory is given to that user, so `sudo fleet-agent enroll` leaves nothing that the
service cannot read.
"""

import contextlib
import errno
import os
from pathlib import Path

from agent.errors import Misconfigured


def make_state_dir(root: Path) -> None:
    """Make the state directory, 0750, if it is missing; raises Misconfigured if it cannot be made or written to."""
    try:
        root.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(root, error) from error
    if not os.access(root, os.W_OK | os.X_OK):
        raise Misconfigured(f"{root} may not be written to by this user.", hint=_HINT)


def replace_file(path: Path, data: bytes, *, mode: int = 0o640) -> None:
    """Write `data` to `path` atomically and durably; raises Misconfigured if that cannot be done."""
    beside = path.with_name(path.name + ".new")
    try:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(fd, "wb") as file:
            give_to_owner_of(path.parent, fd)
            file.write(data)
            file.flush()
            os.fsync(fd)
        beside.replace(path)
        sync_dir(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise _unwritable(path, error) from error


def remove_file(path: Path) -> None:
    """Remove `path` durably if it is there; raises Misconfigured if that cannot be done."""
    try:
        path.unlink(missing_ok=True)
        sync_dir(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error


def set_aside(path: Path, *suffixes: str) -> Path:
    """Rename a damaged file, and those that belong to it (`path` + suffix), to `….damaged`; returns the new path.

    One damaged file of a name is kept, so that a disk that damages everything does not fill up with them.
    """
    aside = path.with_name(path.name + ".damaged")
    try:
        for suffix in ("", *suffixes):
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.replace(aside.with_name(aside.name + suffix))
        sync_dir(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    return aside


def give_to_owner_of(directory: Path, file: int | Path) -> None:
    """Give a file to the user whose directory it is in, where that is ours to do."""
    if os.geteuid() == 0:
        owner = directory.stat()
        os.chown(file, owner.st_uid, owner.st_gid)


def sync_dir(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


_HINT = "Choose another directory with --state, or run as a user that may write there."
_FULL = "Make room on that disk (sudo journalctl --vacuum-size=50M; sudo apt clean), then run the same command again."
_HINTS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: "Look with `dmesg` for the cause; mount that disk writable, then run the same command again.",
}


def _unwritable(path: Path, error: OSError) -> Misconfigured:
    hint = _HINTS.get(error.errno or 0, _HINT)
    return Misconfigured(f"{path} cannot be written: {error.strerror or error}.", hint=hint)
