"""The gateway's door: which connections may begin a TLS handshake, and when.

A handshake costs this process 2 ms. When a whole fleet comes back, many devices find the link slow to come up and call
the gateway beside it; the handshakes of all of them would take the time in which the link is served, and so bring even
more. So nobody is let in while too many are open, nor beyond a few handshakes while the loop is behind. Who comes then
waits in the system's queue, which costs nothing, and beyond that queue TCP asks again by itself. Whoever has given up
meanwhile is let go without a handshake. A loop that keeps up lets everybody in at once.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

MAX_CONNECTIONS = 256  # open or in their handshake
MAX_WHILE_BEHIND = 32  # handshakes under way, while the loop is behind
MAX_WAITING = 128  # connections in the system's queue: what a device has patience for, some seconds
BEHIND_S = 0.2  # that a timer is late
FADING = 0.8  # of how late it was, each `LOOK_S`: a loop that was behind counts as that for a second
LOOK_S = 0.1
HANDSHAKE_S = 30.0
SHUTDOWN_S = 1.0  # for the peer's word that it heard of the end: one whose connection idles does not look
ACCEPTED_AT_ONCE = 64
REST_S = 1.0  # where the process has no descriptors left
SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
ESTABLISHED = 1  # tcpi_state of TCP_INFO (linux/tcp.h)


class Door:
    """Accepts connections on a port that listens: `make` makes their protocols, `count` tells how many are open."""

    def __init__(
        self,
        listening: socket.socket,
        context: ssl.SSLContext,
        make: Callable[[], asyncio.Protocol],
        count: Callable[[], int],
    ) -> None:
        self._listening = listening
        self._context = context
        self._make = make
        self._count = count
        self._loop = asyncio.get_running_loop()
        self._entering: set[asyncio.Task[None]] = set()
        self._is_open = False
        self._rests_until_s = 0.0
        self._late_s = 0.0
        listening.listen(MAX_WAITING)
        self._due_s = self._loop.time()
        self._timer = self._loop.call_soon(self._look)

    def close(self) -> None:
        """Let nobody in any more; handshakes under way end."""
        self._timer.cancel()
        self._shut()
        for task in self._entering:
            task.cancel()

    def _look(self) -> None:
        """Note how late the loop is, and open again where it can."""
        now_s = self._loop.time()
        self._late_s = max(now_s - self._due_s, self._late_s * FADING)
        self._due_s = now_s + LOOK_S
        self._timer = self._loop.call_later(LOOK_S, self._look)
        if not self._is_open and now_s >= self._rests_until_s and not self._is_full():
            self._is_open = True
            self._loop.add_reader(self._listening, self._accept)

    def _shut(self) -> None:
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._listening)

    def _is_full(self) -> bool:
        entering = len(self._entering)
        is_behind = max(self._late_s, self._loop.time() - self._due_s) > BEHIND_S
        return self._count() + entering >= MAX_CONNECTIONS or (is_behind and entering >= MAX_WHILE_BEHIND)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            if self._is_full():
                self._shut()
                return
            try:
                plain, _ = self._listening.accept()
            except OSError as error:
                if error.errno in SCARCE:
                    self._rests_until_s = self._loop.time() + REST_S
                    self._shut()
                return
            if plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != ESTABLISHED:
                plain.close()
                continue
            plain.setblocking(False)  # noqa: FBT003 - the socket's own signature
            task = self._loop.create_task(self._enter(plain), name="handshake")
            self._entering.add(task)
            task.add_done_callback(self._entering.discard)

    async def _enter(self, plain: socket.socket) -> None:
        with suppress(OSError):  # of the peer's making: no TLS, a certificate of another fleet, silence
            await self._loop.connect_accepted_socket(
                self._make,
                plain,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
