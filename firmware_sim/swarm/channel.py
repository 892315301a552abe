"""One TLS connection on the loop: mutual TLS from a device's own key and certificate, bytes in both directions.

Reading key and certificate takes OpenSSL longer than the handshake, and a context that has them 17 KB, so each device
keeps its own from its first connection on. Sessions are not resumed: agents do not either.
"""

import errno
import socket
import ssl
import struct
from collections.abc import Callable
from pathlib import Path

from firmware_sim.swarm.loop import READ, WRITE, Loop

READ_BYTES = 65_536
CONNECT_S = 30.0  # from the first packet to the end of the handshake


class Trust:
    """What a device believes, and how it proves itself."""

    def __init__(self, ca: Path, host: str) -> None:
        self._ca, self._host = ca, host
        self._contexts: dict[Path | None, ssl.SSLContext] = {}

    def wrap(self, plain: socket.socket, identity: Path | None) -> ssl.SSLSocket:
        """Return the TLS end of a socket that is connected; `identity` is a PEM file with key and certificate."""
        context = self._contexts.get(identity)
        if context is None:
            context = self._contexts[identity] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(self._ca)
            if identity is not None:
                context.load_cert_chain(identity)
        return context.wrap_socket(plain, server_hostname=self._host, do_handshake_on_connect=False)


class Channel:
    """A connection. It calls `on_open` once, `on_bytes` with what came, and `on_lost` with the reason at its end.

    None of them is called from within `open`, nor after `close`.
    """

    __slots__ = ("_deadline", "_identity", "_loop", "_out", "_plain", "_reading", "_tls", "_trust", "_up", "on_bytes",
                 "on_lost", "on_open")  # fmt: skip

    def __init__(
        self,
        loop: Loop,
        on_open: Callable[[], None],
        on_bytes: Callable[[bytes], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self.on_open, self.on_bytes, self.on_lost = on_open, on_bytes, on_lost
        self._plain: socket.socket | None = None  # while TCP connects
        self._tls: ssl.SSLSocket | None = None
        self._trust: Trust | None = None
        self._identity: Path | None = None
        self._out = bytearray()
        self._up = False
        self._reading = True
        self._deadline = 0.0

    @property
    def waiting_bytes(self) -> int:
        """Bytes that the peer has not taken yet."""
        return len(self._out)

    def open(self, address: tuple[str, int], trust: Trust, identity: Path | None, within_s: float = CONNECT_S) -> None:
        """Begin to connect to an address of numbers (no name is looked up); the handshake is to end in `within_s`."""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        plain = socket.socket(family, socket.SOCK_STREAM)
        plain.setblocking(False)  # noqa: FBT003 - the socket's own signature
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = plain.connect_ex(address)
        if code not in (0, errno.EINPROGRESS):
            plain.close()
            self._loop.at(self._loop.now, lambda: self.on_lost(f"connect: {errno.errorcode.get(code, code)}"))
            return
        self._plain, self._trust, self._identity = plain, trust, identity
        self._deadline = self._loop.now + within_s
        self._loop.add(plain.fileno(), WRITE, self._on_connected)

    def send(self, data: bytes) -> None:
        """Send, now or as the peer takes it."""
        if self._out or not self._up or self._tls is None:
            self._out += data
            return
        try:
            sent = self._tls.send(data)
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            sent = 0
        except OSError as error:
            self._lose_soon(_why(error))
            return
        if sent < len(data):
            self._out += data[sent:]
            self._rearm()

    def read(self, *, wanted: bool) -> None:
        """Take what comes, or leave it in the kernel, as a peer does that is too slow."""
        self._reading = wanted
        if self._up:
            self._rearm()

    def expire(self, now: float) -> None:
        """Give up a connection that does not come up; call it now and then."""
        if (self._plain or self._tls) is not None and not self._up and now > self._deadline:
            self._lose("connect: no answer in time")

    def close(self, *, abruptly: bool = False) -> None:
        """End it without a word; `abruptly` with a reset, so that the peer knows at once."""
        sock = self._tls or self._plain
        self._tls = self._plain = None
        self._up = False
        self._out.clear()
        if sock is None:
            return
        self._loop.remove(sock.fileno())
        if abruptly:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    def _on_connected(self, _events: int) -> None:
        plain, trust = self._plain, self._trust
        if plain is None or trust is None:
            return
        code = plain.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._lose(f"connect: {errno.errorcode.get(code, code)}")
            return
        fd = plain.fileno()
        self._loop.remove(fd)
        try:
            self._tls = trust.wrap(plain, self._identity)
        except OSError as error:
            self._plain = None
            plain.close()
            self.on_lost(_why(error))
            return
        self._plain = None
        self._loop.add(fd, READ | WRITE, self._on_handshake)
        self._on_handshake(0)

    def _on_handshake(self, _events: int) -> None:
        tls = self._tls
        if tls is None:
            return
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._loop.change(tls.fileno(), READ)
            return
        except ssl.SSLWantWriteError:
            self._loop.change(tls.fileno(), WRITE)
            return
        except OSError as error:
            self._lose(_why(error))
            return
        self._up = True
        self._loop.remove(tls.fileno())
        self._loop.add(tls.fileno(), READ, self._on_ready)
        self.on_open()
        if self._tls is not None and (self._out or not self._reading):
            self._flush()

    def _on_ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if not events & ~WRITE or not self._reading:
            return
        while (tls := self._tls) is not None:
            try:
                data = tls.recv(READ_BYTES)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError as error:
                self._lose(_why(error))
                return
            if not data:
                self._lose("closed by the server")
                return
            self.on_bytes(data)
            if self._tls is tls and not tls.pending():
                return  # epoll tells of what is still in the kernel

    def _flush(self) -> None:
        try:
            while self._out and self._tls is not None:
                sent = self._tls.send(self._out)
                del self._out[:sent]
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        except OSError as error:
            self._lose(_why(error))
            return
        self._rearm()

    def _rearm(self) -> None:
        if self._tls is not None:
            self._loop.change(self._tls.fileno(), (READ if self._reading else 0) | (WRITE if self._out else 0))

    def _lose_soon(self, why: str) -> None:
        """Tell of the end from the loop, not from within a call of the owner's."""
        self.close()
        self._loop.at(self._loop.now, lambda: self.on_lost(why))

    def _lose(self, why: str) -> None:
        self.close()
        self.on_lost(why)


def _why(error: OSError) -> str:
    """Name an error briefly, the same for the same cause: reports count by it."""
    if isinstance(error, ssl.SSLEOFError):
        return "closed by the server"
    if isinstance(error, ssl.SSLError):
        return f"tls: {(error.reason or str(error)).lower().replace('_', ' ')}"
    return errno.errorcode.get(error.errno or 0, type(error).__name__)
