"""What the kernel says about this process, and what its C library is told."""

import asyncio
import contextlib
import ctypes
import gc
import os
from pathlib import Path

STATM = Path("/proc/self/statm")
IO = Path("/proc/self/io")
M_ARENA_MAX = -8  # mallopt(3)
COLLECT_S = 60.0


def share_one_arena() -> None:
    """Have all threads take memory from one arena; to be called before there are threads.

    glibc gives a new thread an arena of its own, and what that once held stays resident: each port that was unplugged
    and found again would cost memory for good. Without effect under another C library.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def spare_imports() -> None:
    """Keep what is imported by now out of garbage collections, which then take a fraction of the time."""
    gc.freeze()


async def collect_garbage() -> None:
    """Collect garbage every `COLLECT_S`, until cancelled.

    CPython runs a full collection only after tens of thousands of new objects. An agent makes few that stay, so what
    each lost connection leaves in cycles would lie about for hours, a little more of it with every fault.
    """
    while True:
        await asyncio.sleep(COLLECT_S)
        gc.collect()


def rss_bytes() -> int:
    """Return the resident set size (proc(5), statm, second field); 0 where there is no /proc."""
    try:
        pages = int(STATM.read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def written_bytes() -> int | None:
    """Return the bytes that this process has caused to be written to a disk (proc(5), write_bytes); None if not told.

    The kernel counts whole pages as they become dirty, so a page that is written twice between two syncs counts once.
    """
    try:
        lines = IO.read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("write_bytes:")), None)
    except (OSError, IndexError, ValueError):
        return None
