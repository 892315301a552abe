"""What a UART's driver has counted on its line (TIOCGICOUNT of Linux's serial core).

    struct serial_icounter_struct {
        int cts, dsr, rng, dcd, rx, tx, frame, overrun, parity, brk, buf_overrun, reserved[9];
    }

Ptys and some USB drivers keep no such counters and refuse the question.
"""

import fcntl
import struct

from agent.ports import LineErrors

TIOCGICOUNT = 0x545D  # asm-generic/ioctls.h; the same on x86, arm and riscv
_LAYOUT = struct.Struct("=20i")


def read_line_errors(fd: int) -> LineErrors | None:
    """Return the counters of an open port, since its driver was loaded; None where there are none."""
    try:
        raw = fcntl.ioctl(fd, TIOCGICOUNT, bytes(_LAYOUT.size))
    except OSError:
        return None
    _, _, _, _, _, _, frame, overrun, parity, breaks, full, *_ = _LAYOUT.unpack(raw)
    return LineErrors(frame, parity, overrun + full, breaks)
