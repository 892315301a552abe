"""Serial ports by pyserial: blocking IO in a thread of its own a port, bytes to the loop in bounded chunks.

The thread sleeps in poll(2) on the port and on a pipe that wakes it to write, to change speed or to stop; an idle port
costs nothing. Each chunk is dated on both clocks when read(2) has returned. A chunk is handed over with one
`call_soon_threadsafe` at most per turn of the loop; when the loop has `MAX_WAITING_BYTES` to take, the thread stops
reading, and the kernel's buffer and the line's flow control take over.

When bytes stream in by a hundred reads a second or more, the thread rests for `REST_S` after each: what comes meanwhile
is one chunk, dated at most that much too late, instead of a wake-up a line. Nor does it tell the loop, which comes for
what there is every `GATHER_S`. Where something was written lately an answer is awaited, and nothing rests.

A port that is gone shows as a hang-up or EIO, at once, also while nothing is sent. A driver that hangs shows by its
thread: it is woken after `PING_S` in which it did nothing, and where it does not answer for as long again the port
counts as lost; so does one that has not changed its speed within `REOPEN_TIMEOUT_S`. The thread itself cannot be ended
then, and its lock on the port stays with it until the driver lets go.

Framing and parity errors are asked of the driver when bytes come (at most each `COUNT_S`), so that an idle port stays
idle.
"""

import asyncio
import contextlib
import os
import select
import stat
import termios
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import serial

from agent.adapters.line_errors import read_line_errors
from agent.adapters.usb import DEV, SYSFS, resolve
from agent.errors import Unavailable
from agent.ports import Chunk, Clock, LineErrors, Link, PortSettings

READ_BYTES = 65_536
MAX_WAITING_BYTES = 262_144  # read and not yet taken by the loop
MAX_UNSENT_BYTES = 65_536
STREAM_READS = 10  # within STREAM_WINDOW_S they make a stream
STREAM_WINDOW_S = 0.1
STREAM_S = 1.0  # how long a stream is taken to last before it is looked at again
REST_S = 0.01
GATHER_S = 0.05
DIALOGUE_S = 1.0  # after a write, what comes may be an answer for this long
ENOUGH_BYTES = 1024  # a read that brought this many needs no rest to be worth its while
WAITED_S = 1.0  # how long bytes that were there at the opening are taken to have waited
OPEN_TIMEOUT_S = 10.0  # a driver that takes longer is not there
STOP_TIMEOUT_S = 5.0
REOPEN_TIMEOUT_S = 10.0
PING_S = 30.0
COUNT_S = 1.0
PTY_MAJORS = range(136, 144)  # Linux, Documentation/admin-guide/devices.txt: Unix98 PTY slaves

_PARITY = {
    "none": serial.PARITY_NONE,
    "even": serial.PARITY_EVEN,
    "odd": serial.PARITY_ODD,
    "mark": serial.PARITY_MARK,
    "space": serial.PARITY_SPACE,
}


class _Serial(serial.Serial):
    """A port that keeps what was waiting when it was opened: it was sent, so it counts."""

    def _reset_input_buffer(self) -> None:
        pass


class SerialPorts:
    """The serial ports of this machine, as `agent.ports.Ports`."""

    def __init__(self, clock: Clock, *, sysfs: Path = SYSFS, dev: Path = DEV) -> None:
        self._clock = clock
        self._sysfs = sysfs
        self._dev = dev

    def present(self, port: str) -> bool:
        """Tell whether the path, or the one that a USB address stands for, leads to a character device."""
        try:
            return stat.S_ISCHR(os.stat(resolve(port, self._sysfs, self._dev)).st_mode)  # noqa: PTH116 - no Path object twice a second
        except (OSError, Unavailable):
            return False

    @contextlib.asynccontextmanager
    async def open(self, settings: PortSettings) -> AsyncIterator[Link]:
        """Open a port, locked against others; raises Unavailable."""
        link = SerialLink(replace(settings, port=resolve(settings.port, self._sysfs, self._dev)), self._clock)
        try:
            await link.start()
            yield link
        finally:
            await link.stop()


class SerialLink:
    """One open port and its thread. `count` asks its driver for line errors; `ping_s` see above."""

    def __init__(
        self,
        settings: PortSettings,
        clock: Clock,
        *,
        count: Callable[[int], LineErrors | None] = read_line_errors,
        ping_s: float = PING_S,
    ) -> None:
        self.listening_s = 0.0
        self.line_errors = LineErrors()
        self._count = count
        self._ping_s = ping_s
        self._counted_s = float("-inf")
        self._counted_first: LineErrors | None = None
        self._turned_s = self._pinged_s = (
            clock.mono_s()
        )  # when the thread last did something, and was last woken for it
        self._settings = settings
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._news = asyncio.Event()
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._chunks: list[Chunk] = []
        self._waiting_bytes = 0
        self._told = False  # the loop has been told of chunks that it has not taken yet, or comes for them unasked
        self._gathers = False  # the loop does: within GATHER_S
        self._out: deque[bytes | Callable[[], None]] = deque()
        self._unsent_bytes = 0
        self._wrote_s = float("-inf")
        self._window_s = 0.0
        self._window_reads = 0
        self._stream_until_s = 0.0
        self._problem: Unavailable | None = None
        self._stopping = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._main, name=f"port {settings.port}")

    async def start(self) -> None:
        """Open the port; raises Unavailable."""
        self._thread.start()
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await asyncio.shield(self._opened)
        except TimeoutError:
            raise Unavailable(f"{self._settings.port} did not open within {OPEN_TIMEOUT_S:g} s.") from None

    async def stop(self) -> None:
        """Close the port and end its thread."""
        with self._lock:
            self._stopping = True
            self._room.notify()
        self._wake()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await asyncio.shield(self._ended)
        if self._ended.done():
            self._thread.join()
            os.close(self._wake_read)
            os.close(self._wake_write)

    async def read(self, timeout_s: float | None) -> Sequence[Chunk]:
        """Return what has come; empty after the timeout. Raises Unavailable when the port is gone."""
        if self._news.is_set():
            await asyncio.sleep(0)
        elif self._gathers:
            await asyncio.sleep(GATHER_S if timeout_s is None else min(GATHER_S, timeout_s))
        elif not await self._wait(timeout_s):
            return ()
        with self._lock:
            chunks, self._chunks = self._chunks, []
            self._waiting_bytes = 0
            self._told = self._gathers = bool(chunks) and self._clock.mono_s() < self._stream_until_s
            self._news.clear()
            self._room.notify()
            problem = self._problem
        if not chunks and problem is not None:
            self._news.set()
            raise problem
        if problem is not None:
            self._news.set()
        return chunks

    async def _wait(self, timeout_s: float | None) -> bool:
        """Wait for news; tells whether there are any. Raises Unavailable if the thread does not answer."""
        left_s = float("inf") if timeout_s is None else timeout_s
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, self._ping_s)):
                    await self._news.wait()
                    return True
            self._check_thread()
            left_s -= self._ping_s
            if left_s <= 0:
                return False

    def _check_thread(self) -> None:
        """Wake the thread if it has done nothing for long; raises Unavailable if it did not answer the last time."""
        now_s = self._clock.mono_s()
        if now_s - self._turned_s < self._ping_s:
            return
        if self._pinged_s <= self._turned_s:
            self._pinged_s = now_s
            self._wake()
        elif now_s - self._pinged_s >= self._ping_s:
            raise Unavailable(f"{self._settings.port}: its driver hangs.", hint="Unplug it, or restart the machine.")

    def write(self, data: bytes) -> None:
        """Queue bytes to be sent; raises Unavailable if the port takes none."""
        with self._lock:
            if self._unsent_bytes + len(data) > MAX_UNSENT_BYTES:
                raise Unavailable(f"{self._settings.port} takes no bytes; {self._unsent_bytes} wait to be sent.")
            self._unsent_bytes += len(data)
            self._out.append(data)
            self._wrote_s, self._stream_until_s = self._clock.mono_s(), 0.0
            self._told = self._gathers = False
            if self._chunks:
                self._news.set()
        self._wake()

    async def reopen(self, baudrate: int) -> None:
        """Set another speed once what was written has left; raises Unavailable."""
        done: asyncio.Future[None] = self._loop.create_future()

        def change() -> None:
            termios.tcdrain(self._port.fileno())
            self._port.baudrate = baudrate
            self._tell(_finish, done)

        with self._lock:
            self._out.append(change)
        self._wake()
        either = (done, self._ended)
        await asyncio.wait(either, timeout=REOPEN_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            gone = "was closed" if self._ended.done() else f"did not change its speed within {REOPEN_TIMEOUT_S:g} s"
            raise self._problem or Unavailable(f"{self._settings.port} {gone}.")

    # What follows runs in the port's thread.

    def _main(self) -> None:
        try:
            self._port = self._open()
        except Unavailable as error:
            self._tell(self._fail_to_open, error)
        else:
            self._tell(self._opened.set_result, None)
            try:
                self._exchange(self._port.fileno())
            except (OSError, termios.error, serial.SerialException, ValueError) as error:
                self._end(_translate(self._settings.port, error))
            finally:
                self._close()
        self._tell(self._ended.set_result, None)

    def _fail_to_open(self, error: Unavailable) -> None:
        if not self._opened.done():
            self._opened.set_exception(error)
            self._opened.exception()  # taken by start(), or by nobody if that has timed out

    def _open(self) -> serial.Serial:
        settings = self._settings
        try:
            # A pty has no frame on a line, and glibc takes it amiss (EINVAL) if parity is all that is asked of it.
            framed = settings if not _is_pty(os.stat(settings.port)) else PortSettings(settings.port)  # noqa: PTH116 - a str it is
            port = _Serial(
                settings.port,
                settings.baudrate,
                framed.bytesize,
                _PARITY[framed.parity],
                framed.stopbits,
                exclusive=True,
            )
        except (OSError, termios.error, ValueError) as error:
            raise _translate(settings.port, error) from error
        self.listening_s = self._clock.mono_s() - (WAITED_S if _kept(port) else 0.0)
        self._count_errors(port.fileno())
        return port

    def _close(self) -> None:
        with contextlib.suppress(OSError, termios.error):
            self._port.close()

    def _exchange(self, port: int) -> None:
        """Read and write until stopped; raises OSError when the port is gone."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        poll.register(port, select.POLLIN)
        unsent = b""
        while not self._stopping:
            for fd, flags in poll.poll():
                self._turned_s = self._clock.mono_s()
                if fd == self._wake_read:
                    self._drain_wakes()
                elif flags & select.POLLIN:
                    self._take(port)
                    while self._goes_on() and self._take(port, polled=False):
                        pass
                elif flags & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
                    raise OSError(HUNG_UP)
            unsent = self._send(port, unsent)
            poll.modify(port, select.POLLIN | select.POLLOUT if unsent else select.POLLIN)

    def _take(self, port: int, *, polled: bool = True) -> bool:
        """Read once and hand over; tells whether there was anything. Rests if that pays, waits for room if it must."""
        try:
            data = os.read(port, READ_BYTES)
        except BlockingIOError:
            return False
        if not data and polled:
            raise OSError(HUNG_UP)
        if not data:  # pyserial sets VMIN to 0 (termios(3)): nothing has come since
            return False
        chunk = Chunk(data, self._clock.now_us(), self._clock.mono_s())
        self._turned_s = chunk.mono_s
        if chunk.mono_s - self._counted_s > COUNT_S:
            self._counted_s = chunk.mono_s
            self._count_errors(port)
        streams = self._streams(chunk.mono_s)
        with self._lock:
            self._chunks.append(chunk)
            self._waiting_bytes += len(data)
            tell, self._told = not self._told, True
        if tell:
            self._tell(self._news.set)
        if streams and len(data) < ENOUGH_BYTES:
            time.sleep(REST_S)
        with self._lock:
            while self._waiting_bytes > MAX_WAITING_BYTES and not self._stopping:
                self._room.wait()
        return True

    def _count_errors(self, port: int) -> None:
        """Bring `line_errors` up to date; they count from the first look on."""
        found = self._count(port)
        first = self._counted_first
        if found is None:
            self._counted_s = float("inf")  # never again
        elif first is None:
            self._counted_first = found
        else:
            self.line_errors = LineErrors(
                found.framing - first.framing,
                found.parity - first.parity,
                found.overrun - first.overrun,
                found.breaks - first.breaks,
            )

    def _goes_on(self) -> bool:
        """Tell whether a stream is read on without a poll: nothing is to be sent, and nobody stops it."""
        return self._turned_s < self._stream_until_s and not (self._out or self._stopping)

    def _streams(self, now_s: float) -> bool:
        """Count a read; tell whether reads come in such numbers that resting pays."""
        if now_s - self._wrote_s < DIALOGUE_S:
            return False
        if now_s < self._stream_until_s:
            return True
        if now_s - self._window_s > STREAM_WINDOW_S:
            self._window_s, self._window_reads = now_s, 0
        self._window_reads += 1
        if self._window_reads < STREAM_READS:
            return False
        self._stream_until_s, self._window_s = now_s + STREAM_S, 0.0
        return True

    def _send(self, port: int, unsent: bytes) -> bytes:
        """Send what is queued as far as the port takes it; returns the rest."""
        while True:
            if not unsent:
                with self._lock:
                    if not self._out:
                        return b""
                    job = self._out.popleft()
                if callable(job):
                    job()
                    continue
                unsent = job
            self._wrote_s = self._clock.mono_s()
            try:
                sent = os.write(port, unsent)
            except BlockingIOError:
                return unsent
            with self._lock:
                self._unsent_bytes -= sent
            unsent = unsent[sent:]

    def _end(self, problem: Unavailable) -> None:
        with self._lock:
            self._problem = problem
        self._tell(self._news.set)

    def _drain_wakes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"w")

    def _tell(self, call: Callable[..., object], *arguments: object) -> None:
        # The loop may have been closed under a port whose driver hung; nobody is left to be told then.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)


def _finish(done: "asyncio.Future[None]") -> None:
    if not done.done():
        done.set_result(None)


def _kept(port: serial.Serial) -> bool:
    """Tell whether what came before the opening was kept: always on a pty; else if there is something."""
    try:
        return _is_pty(os.fstat(port.fileno())) or bool(port.in_waiting)
    except OSError:
        return False  # gone already; the first poll will say so


HUNG_UP = "the other end hung up, as when it is unplugged"


def _is_pty(found: os.stat_result) -> bool:
    return os.major(found.st_rdev) in PTY_MAJORS


_HINTS: dict[type[Exception], str] = {
    PermissionError: "Add the agent's user to the group of the device, mostly dialout.",
    BlockingIOError: "Another program holds it; stop that one.",
}


def _translate(port: str, error: Exception) -> Unavailable:
    """Say what happened to the port in a sentence."""
    number = cast("int | None", getattr(error, "errno", None))
    cause = OSError(number, os.strerror(number)) if number else error
    reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(error)
    return Unavailable(f"{port}: {reason}.", hint=_HINTS.get(type(cause), ""))
