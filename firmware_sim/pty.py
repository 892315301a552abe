"""A serial port made of a Linux pseudo terminal, with a link to it that survives replugging.

What Linux does (seen on 5.x and 6.x), and what is made of it here:

- A pty keeps what is written while nobody has the other end open, some 20 KB, and hands it to the next reader. A UART
  does not. So nothing is written to a closed port: poll(2) on our end says POLLHUP while the other end is closed.
- When the last reader closes the port or is killed, what it left unread stays. It is taken out here before anybody else
  opens the port, which also tells exactly what was not read: of all that was written, the last so many bytes.
- A full buffer takes the first part of a frame. The rest is sent as soon as there is room, so that lines stay whole;
  frames in between are dropped, as a UART's overrun does.
- tcflush(3), which pyserial calls when it opens a port, discards without a trace, except that packet mode (TIOCPKT)
  tells us that it happened. So a port that was just opened is left alone until it has been flushed, has sent something,
  or SETTLE_S has passed, as a board would that boots when its port is opened. A flush later on makes doubtful what was
  under way.
- Raw mode is a property of the pty and outlives its readers; it is set again each time one leaves.
"""

import contextlib
import errno
import fcntl
import os
import select
import struct
import termios
import tty
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from firmware_sim.errors import Unavailable

T = TypeVar("T")

PTS = Path("/dev/pts")
SETTLE_S = 0.1
MAX_UNREAD_BYTES = 65_536  # more than any kernel keeps for one pty
READ_BYTES = 4096
TIOCPKT = 0x5420  # asm-generic/ioctls.h; the termios module lacks the flag below
TIOCPKT_FLUSHREAD = 0x01


@dataclass(slots=True)
class Fate(Generic[T]):
    """What became of frames after they were written."""

    lost: list[T] = field(default_factory=list)
    doubtful: list[T] = field(default_factory=list)


class Port(Generic[T]):
    """Our end of a pty. A frame is written with a token of the caller's, which `fate` hands back if it was not read."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self.name = ""  # of the other end, as /dev/pts/3; "" while unplugged
        self._master = -1
        self._open_since_s: float | None = None
        self._settled = False
        self._written = 0
        self._tail = b""
        self._ahead = b""  # read of the reader, and not returned yet
        self._flight: deque[tuple[int, T]] = deque()
        self._fate: Fate[T] = Fate()

    @property
    def plugged(self) -> bool:
        """Whether there is a pty."""
        return self._master >= 0

    @property
    def is_open(self) -> bool:
        """Whether a reader has the port open, as far as `watch` has seen."""
        return self._open_since_s is not None

    @property
    def is_settled(self) -> bool:
        """Whether what is written now reaches a reader."""
        return self.is_open and self._settled

    def fileno(self) -> int:
        """Return the file descriptor to poll."""
        return self._master

    def plug(self) -> None:
        """Make a pty and lead the link to it; raises Unavailable."""
        if self.plugged:
            return
        try:
            self._master, other = os.openpty()
        except OSError as error:
            raise Unavailable(f"No pseudo terminal can be had: {error.strerror}.") from error
        try:
            tty.setraw(other, termios.TCSANOW)
            self.name = os.ttyname(other)
            os.set_blocking(self._master, False)
            fcntl.ioctl(self._master, TIOCPKT, struct.pack("i", 1))
        finally:
            os.close(other)
        self._reset()
        try:
            _lead(self.link, self.name)
        except Unavailable:
            os.close(self._master)
            self._master = -1
            raise

    def unplug(self) -> None:
        """Close the pty and remove the link. Whoever has the port open sees it hang up."""
        if not self.plugged:
            return
        self._discard()
        with contextlib.suppress(OSError):
            if self.link.is_symlink() and str(self.link.readlink()) == self.name:
                self.link.unlink()
        os.close(self._master)
        self._master, self.name = -1, ""
        self._open_since_s = None

    def watch(self, now_s: float) -> bytes:
        """Notice openings, closings and flushes; return what the reader has sent. To be called often."""
        if not self.plugged:
            return b""
        if self._hung_up():
            if self.is_open:
                self._discard()
                self._open_since_s = None
            return b""
        if self._open_since_s is None:
            self._open_since_s, self._settled = now_s, False
        received, self._ahead = self._ahead + self._receive(), b""
        self._settled = self._settled or bool(received) or now_s - self._open_since_s >= SETTLE_S
        return received

    def write(self, data: bytes, token: T) -> bool:
        """Send a frame, whole or not at all; False if it is lost: not open, not settled, or no room."""
        if not self.plugged or not self._settled or self._hung_up():
            return False
        self._send_tail()
        if self._tail:
            return False
        sent = self._send(data)
        if not sent:
            return False
        self._tail = data[sent:]
        self._written += len(data)
        self._flight.append((self._written, token))
        while self._flight[0][0] <= self._written - MAX_UNREAD_BYTES:
            self._flight.popleft()
        return True

    def confirm(self) -> None:
        """Forget what has been read by now, if all has been read; to be called a few times a second."""
        self._send_tail()
        if self._flight and not self._tail and self.unread() == 0:
            self._ahead += self._receive()  # a flush leaves nothing unread, too: it is heard first
            self._flight.clear()

    def all_read(self) -> bool:
        """Tell whether nothing waits for a reader any more, also because there is none."""
        self.confirm()
        return not self._flight or not self.is_open

    def unread(self) -> int | None:
        """Return how many bytes wait for the reader (at most 4,095 are seen), None if that cannot be told."""
        if not self.plugged or not self.is_open or self._hung_up():
            return None
        try:
            other = os.open(self.name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError:
            return None  # held exclusively (TIOCEXCL)
        try:
            _move_up(other)
            (waiting,) = struct.unpack("i", fcntl.ioctl(other, termios.FIONREAD, b"\0\0\0\0"))
        finally:
            os.close(other)
        return int(waiting)

    def fate(self) -> Fate[T]:
        """Return the tokens whose fate was learnt since the last call."""
        fate, self._fate = self._fate, Fate()
        return fate

    def _reset(self) -> None:
        self._open_since_s, self._settled = None, False
        self._written, self._tail, self._ahead = 0, b"", b""
        self._flight.clear()

    def _hung_up(self) -> bool:
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        return any(flags & select.POLLHUP for _, flags in poll.poll(0))

    def _receive(self) -> bytes:
        """Read what there is. In packet mode each read is a status byte, followed by data if the status is 0."""
        received = bytearray()
        while True:
            try:
                packet = os.read(self._master, READ_BYTES)
            except OSError as error:
                if error.errno in {errno.EAGAIN, errno.EIO}:
                    return bytes(received)
                raise
            if not packet:
                return bytes(received)
            if packet[0] & TIOCPKT_FLUSHREAD:
                self._flushed()
            received += packet[1:] if packet[0] == 0 else b""

    def _flushed(self) -> None:
        if self._settled:
            self._fate.doubtful += [token for _, token in self._flight]
            self._flight.clear()
        self._settled = True

    def _send(self, data: bytes) -> int:
        try:
            return os.write(self._master, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno == errno.EIO:
                return 0
            raise

    def _send_tail(self) -> None:
        if self._tail and self.plugged:
            self._tail = self._tail[self._send(self._tail) :]

    def _discard(self) -> None:
        """Take out what was left unread, and learn from its length which frames were not read whole."""
        left = _drain(self.name) + len(self._tail)
        self._fate.lost += [token for end, token in self._flight if end > self._written - left]
        self._flight.clear()
        self._tail = b""


def _drain(name: str) -> int:
    """Read all that waits on a pty, set it raw again, and return how many bytes there were."""
    count = 0
    try:
        other = os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return 0
    try:
        tty.setraw(other, termios.TCSANOW)
        while _move_up(other):
            count += len(os.read(other, READ_BYTES))
    except OSError:
        pass  # EAGAIN: a reader that has opened the port this very moment took it; EIO: nothing can come any more
    finally:
        os.close(other)
    return count


def _move_up(other: int) -> bool:
    """Have the kernel hand what was written to the reader's end (a worker thread does); tell if anything waits.

    poll(2) waits for that worker (n_tty_poll, tty_buffer_flush_work); FIONREAD alone does not.
    """
    poll = select.poll()
    poll.register(other, select.POLLIN)
    return any(flags & select.POLLIN for _, flags in poll.poll(0))


def _lead(link: Path, name: str) -> None:
    """Make `link` a symbolic link to `name`, in one step; raises Unavailable rather than replace anything else."""
    if os.path.lexists(link) and not (link.is_symlink() and link.readlink().parent == PTS):
        raise Unavailable(f"{link} exists and leads to no pty.", hint="Name another path with --link.")
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    try:
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(name)
        fresh.replace(link)
    except OSError as error:
        raise Unavailable(f"{link} cannot be made: {error.strerror}.", hint="Name another path with --link.") from error
