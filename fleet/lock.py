"""The lock of a data directory: one server, or one copy, at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet.errors import Misconfigured


@contextmanager
def held(data: Path) -> Iterator[None]:
    """Make the data directory and hold it alone; raises Misconfigured."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Misconfigured(
            f"the data directory {data} cannot be written: {error.strerror}",
            hint="Choose another with --data, or give this user the right to write there.",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise Misconfigured(
            f"another server, or a copy, runs on the data directory {data}",
            hint="Stop that server or let `fleet db copy` end, or give this one a directory of its own with --data.",
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)
