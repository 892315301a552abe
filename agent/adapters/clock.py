"""The one place where the agent reads a clock, and asks how far it can be trusted.

`SystemClock` is the machine's, wall clock and all; `DeviceClock` is what the running agent dates by (decision 140).

Monotonic is CLOCK_BOOTTIME: it counts on while the machine is suspended, as UTC does, so the two keep their distance.
"""

import ctypes
import errno
import time
from pathlib import Path

from agent.core.reckoning import BUILT_US, Reckoning
from agent.wire.messages import Clock as ClockState

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TIMESYNC = Path("/run/systemd/timesync/synchronized")  # made by systemd-timesyncd once it has the time
_TIMEX_BYTES = 512  # larger than struct timex on any Linux
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised


class SystemClock:
    """The machine's clock. Implements `agent.ports.Clock`."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._timex = ctypes.create_string_buffer(_TIMEX_BYTES)  # once: a buffer of this size is a new type each time

    def now_us(self) -> int:
        """Return UTC in microseconds."""
        return time.time_ns() // 1000

    def mono_s(self) -> float:
        """Return monotonic seconds."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def state(self) -> ClockState:
        """Return how far the time of day can be trusted, as the kernel says (adjtimex(2), which NTP daemons feed)."""
        if self.now_us() < BUILT_US:
            return ClockState.UNKNOWN
        self._timex.raw = bytes(_TIMEX_BYTES)  # modes = 0: only read
        code = self._libc.adjtimex(self._timex)
        if code == -1 and ctypes.get_errno() == errno.EPERM:  # a sandbox that forbids the question
            return ClockState.SYNCED if TIMESYNC.exists() else ClockState.FREE
        return ClockState.FREE if code in {-1, _TIME_ERROR} else ClockState.SYNCED


class DeviceClock:
    """The agent's own clock: the machine's monotonic one, and what is reckoned from it. A port's Clock."""

    def __init__(self, machine: SystemClock, reckoning: Reckoning) -> None:
        self.reckoning = reckoning
        self._mono_s = machine.mono_s
        self._reckon = reckoning.now_us

    def now_us(self) -> int:
        """Return UTC in microseconds, as far as it is known (`state`)."""
        return self._reckon(int(self._mono_s() * 1_000_000))

    def mono_s(self) -> float:
        """Return monotonic seconds."""
        return self._mono_s()

    def state(self) -> ClockState:
        """Return how far the time can be trusted; UNKNOWN: it is a guess."""
        return self.reckoning.state(int(self._mono_s() * 1_000_000))


def boot_id() -> str:
    """Return the id of this boot of the machine; monotonic times of one boot are comparable."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"
