"""Ports taken before anything starts, so that a clash is one clear sentence, and servers on them that stop in order.

A server that was killed leaves its ports a moment later: taking one is tried for `WAIT_S`.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import Config

from fleet.errors import Misconfigured
from fleet.gateway.door import Door
from fleet.gateway.peer import PeerProtocol

WAIT_S = 3.0
BACKLOG = 1024  # connections that wait to be accepted
KEEP_ALIVE_S = 5  # an idle connection of the gateway costs 300 KB
NO_CHECK_TIME = ssl.VerifyFlags(0x200000)  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python does not name
GRACE_S = 2  # that requests in hand have when the server stops


class Server(uvicorn.Server):
    """One uvicorn among several: signals are the composition root's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


class DeviceServer(Server):
    """The gateway's: its connections come in by a door."""

    def __init__(self, config: Config, context: ssl.SSLContext) -> None:
        super().__init__(config)
        self._context = context
        self._doors: list[Door] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open a door at each port."""
        await super().startup(sockets=[])
        self._doors = [Door(one, self._context, self._make, self._count) for one in sockets or ()]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let nobody in any more, and end as uvicorn does."""
        for door in self._doors:
            door.close()
        await super().shutdown(sockets=sockets)

    def _make(self) -> PeerProtocol:
        return PeerProtocol(self.config, self.server_state, self.lifespan.state)

    def _count(self) -> int:
        return len(self.server_state.connections)


def any_host() -> str:
    """Return the address that stands for all: IPv6 with IPv4 where the system has both."""
    return "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 - devices call from everywhere


async def take_port(host: str, port: int, what: str) -> socket.socket:
    """Bind a port (0: any free one); raises Misconfigured that names it and the flag that changes it."""
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while True:
        try:
            return _bind(host, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(0.1)
                continue
            raise _clash(host, port, what, error) from error


def free_port(taken: socket.socket) -> int:
    """Let a port go for another program, and return it."""
    port: int = taken.getsockname()[1]
    taken.close()
    return port


def device_context(certificate: Path, ca: Path) -> ssl.SSLContext:
    """Return the gateway's TLS: a client certificate may be shown and is then checked; routes demand it.

    TLS proves that the peer has the key of a certificate of this fleet's root, and leaves out when that ended: a device
    that was in a cupboard too long may still renew. Every route asks the database, which knows the end.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate)
    context.load_verify_locations(ca)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= NO_CHECK_TIME
    return context


def api_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the API's TLS; raises Misconfigured where certificate and key do not fit."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(
            f"{certificate} and {key} cannot be used for HTTPS: {error}", hint="Give PEM files that belong together."
        ) from error
    return context


def device_server(app: ASGIApp, context: ssl.SSLContext) -> Server:
    """Return the gateway's server."""
    return DeviceServer(_config(app, context, http=PeerProtocol, keep_alive_s=KEEP_ALIVE_S), context)


def people_server(app: ASGIApp, context: ssl.SSLContext | None) -> Server:
    """Return the server of API and console."""
    return Server(_config(app, context, http="httptools", keep_alive_s=75))


def _config(
    app: ASGIApp, context: ssl.SSLContext | None, *, http: type[PeerProtocol] | Literal["httptools"], keep_alive_s: int
) -> Config:
    return Config(
        app,
        http=http,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=keep_alive_s,
        timeout_graceful_shutdown=GRACE_S,
        ssl_context_factory=None if context is None else lambda _config, _default: context,
    )


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    dual = host == "::"
    taken = socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=dual)
    taken.setblocking(False)  # noqa: FBT003 - the socket's own signature
    return taken


def _clash(host: str, port: int, what: str, error: OSError) -> Misconfigured:
    flag = f"--{what}-port"
    if error.errno == errno.EADDRINUSE:
        return Misconfigured(
            f"the port {port} of the {what} is in use",
            hint=f"Stop the program that has it (`ss -ltnp 'sport = :{port}'` names it), or choose another: {flag}",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return Misconfigured(
            f"this user may not listen on the port {port} of the {what}", hint=f"Choose one above 1023: {flag}"
        )
    return Misconfigured(
        f"the {what} cannot listen on {host} port {port}: {error.strerror}", hint=f"Change --api-host or {flag}."
    )
