"""What the kernel says about this process."""

import os
from pathlib import Path

STATM = Path("/proc/self/statm")


def rss_bytes() -> int:
    """Return the resident set size (proc(5), statm, second field); 0 where there is no /proc."""
    try:
        pages = int(STATM.read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
