"""What the machine says of itself: temperature, throttling, load, memory, disk, wear of the flash.

Read from /proc and /sys alone, no program is started: the sandbox has none, and a minute's health should cost nothing.
Whatever a machine does not tell is None, empty or 0, never an error.

A Raspberry Pi's firmware tells of throttling in `get_throttled`, a word of bits: 0…3 what holds now, 16…19 what has
held since the boot (the same word that `vcgencmd get_throttled` prints).

Paths are plain text here: `pathlib` interns each part of each path, and an hour of health records would make the table
of interned strings grow by a megabyte.

eMMC tells how much of its life is used in tenths (`life_time`, JEDEC JESD84-B51, EXT_CSD 268 and 269: 1 = up to
10 %, …, 11 = beyond its life). SD cards do not.
"""

import contextlib
import glob
import os
from dataclasses import dataclass
from pathlib import Path

from agent.wire.messages import MachineHealth

THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
SINCE_BOOT = 16  # the same bits, moved up by so many
MILLI = 1000
KIB = 1024
CPU_ZONES = ("cpu", "soc", "x86_pkg_temp", "acpitz")  # types of thermal zones that mean the processor, best first
PRE_EOL = {1: "", 2: "80 % of its spare blocks are used", 3: "90 % of its spare blocks are used"}  # EXT_CSD 267
TENTH_PERCENT = 10


@dataclass(frozen=True, slots=True)
class Flash:
    """The device that a directory lies on."""

    name: str  # mmcblk0; "" where it lies on none (a RAM disk, an overlay)
    used_percent: int | None  # of its life, at most so much; None: it does not tell
    warning: str  # its own warning; "" if none
    errors: int  # that the file system has met since it was made (ext4)


@dataclass(frozen=True, slots=True)
class Space:
    """The file system that a directory lies on."""

    size_bytes: int
    free_bytes: int  # that an ordinary user may write
    free_files: int
    is_read_only: bool


@dataclass(frozen=True, slots=True)
class Memory:
    """The machine's memory."""

    size_bytes: int
    free_bytes: int  # that programs can have without swapping


class Vitals:
    """Reads the machine whose file system begins at `root`."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = os.fspath(root)

    def _at(self, path: str) -> str:
        return os.path.join(self._root, path)  # noqa: PTH118 - see above

    def cpu_celsius(self) -> float | None:
        """Return the processor's temperature, °C."""
        zones = sorted(glob.glob(self._at("sys/class/thermal/thermal_zone*")), key=_zone_rank)  # noqa: PTH207 - the same
        for zone in zones:
            value = _number(f"{zone}/temp")
            if value is not None:
                return round(value / MILLI, 1)
        return None

    def throttling(self) -> tuple[str, ...]:
        """Return what slows the processor now, and with "since boot" what has slowed it before."""
        text = _text(self._at(THROTTLED))
        try:
            word = int(text, 16) if text else 0
        except ValueError:
            return ()
        now = [said for bit, said in BITS.items() if word >> bit & 1]
        before = [
            f"{said} since boot" for bit, said in BITS.items() if word >> (bit + SINCE_BOOT) & 1 and said not in now
        ]
        return (*now, *before)

    def load(self) -> float | None:
        """Return how many tasks wanted a processor, on average of the last minute."""
        words = (_text(self._at("proc/loadavg")) or "").split()
        with contextlib.suppress(ValueError, IndexError):
            return float(words[0])
        return None

    def memory(self) -> Memory:
        """Return the machine's memory; zeros where it does not tell."""
        found = dict.fromkeys(("MemTotal", "MemAvailable"), 0)
        for line in (_text(self._at("proc/meminfo")) or "").splitlines():
            key, _, rest = line.partition(":")
            if key in found:
                with contextlib.suppress(ValueError, IndexError):
                    found[key] = int(rest.split()[0]) * KIB
        return Memory(found["MemTotal"], found["MemAvailable"])

    def flash(self, directory: Path) -> Flash:
        """Return the device that a directory lies on."""
        try:
            number = os.stat(directory).st_dev  # noqa: PTH116 - the same
        except OSError:
            return Flash("", None, "", 0)
        return self.flash_of(self._at(f"sys/dev/block/{os.major(number)}:{os.minor(number)}"))

    def flash_of(self, node: str | Path) -> Flash:
        """Return a block device by its directory in /sys."""
        part = os.path.realpath(node)
        if not _is_there(part):
            return Flash("", None, "", 0)
        above, _, name = part.rpartition("/")
        disk = above if _is_there(f"{part}/partition") else part
        disk_name = disk.rpartition("/")[2]
        errors = _number(self._at(f"sys/fs/ext4/{name}/errors_count"))
        with contextlib.suppress(ValueError):
            tenths = [int(word, 16) for word in (_text(f"{disk}/device/life_time") or "").split()]
            warning = PRE_EOL.get(int(_text(f"{disk}/device/pre_eol_info") or "0", 16), "")
            used = max(tenths) * TENTH_PERCENT if any(tenths) else None
            return Flash(disk_name, used, warning, int(errors or 0))
        return Flash(disk_name, None, "", int(errors or 0))

    def health(self, directory: Path) -> MachineHealth:
        """Return all of it as the fleet is told; the disk is that of `directory`."""
        memory, room, flash = self.memory(), space(directory), self.flash(directory)
        return MachineHealth(
            cpu_celsius=self.cpu_celsius(),
            throttling=self.throttling(),
            load=self.load(),
            memory_bytes=memory.size_bytes,
            memory_free_bytes=memory.free_bytes,
            disk_bytes=room.size_bytes if room else 0,
            disk_free_bytes=room.free_bytes if room else 0,
            flash=flash.name,
            flash_used_percent=flash.used_percent,
            flash_errors=flash.errors,
        )


def space(directory: Path) -> Space | None:
    """Return the room on the file system of a directory; None if it is not there."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return None
    return Space(
        found.f_frsize * found.f_blocks,
        found.f_frsize * found.f_bavail,
        found.f_favail,
        bool(found.f_flag & os.ST_RDONLY),
    )


def _zone_rank(zone: str) -> tuple[int, str]:
    kind = _text(f"{zone}/type") or ""
    ranks = [rank for rank, name in enumerate(CPU_ZONES) if kind.startswith(name)]
    return (ranks[0] if ranks else len(CPU_ZONES)), zone


def _is_there(path: str) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - the same


def _number(path: str) -> float | None:
    try:
        return float(_text(path) or "")
    except ValueError:
        return None


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="ascii", errors="replace") as file:  # noqa: PTH123 - the same
            return file.read().strip()
    except OSError:
        return None
