"""What uvicorn does not do for a server of devices: who the peer is, how long it may take, how many there may be.

uvicorn does not hand the peer's certificate to the application and has no deadline for a request that is never
finished. This protocol puts the certificate (DER) into the ASGI scope under `PEER`, closes a connection that has not
completed a request in `REQUEST_S`, and keeps an idle one for less long where there are many: a TLS connection costs
about 300 KB here, so there must never be one a device, and whoever waits at the door (door.py) wants the place.
"""

import asyncio
from typing import Any

from starlette.types import Scope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

PEER = "fieldline.peer"

MANY = 64  # connections, of the `door.MAX_CONNECTIONS` that there may be
IDLE_OF_MANY_S = 1  # that an idle connection is kept then: long enough to say two things in a row
REQUEST_S = 30.0  # from a connection's or a request's first byte to the request's last


def peer_of(scope: Scope) -> bytes | None:
    """Return the certificate (DER) that the peer proved to hold, None if it showed none."""
    peer: bytes | None = scope.get(PEER)
    return peer


class PeerProtocol(HttpToolsProtocol):
    """One connection of the gateway; uvicorn makes it."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._peer: bytes | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Note the peer."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        self._peer = tls.getpeercert(binary_form=True) if tls is not None else None
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the deadline."""
        self._unexpect()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Hand the peer on with each request."""
        super().on_message_begin()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]  # ASGI allows keys of one's own
        scope[PEER] = self._peer
        self._expect()

    def on_message_complete(self) -> None:
        """Note that the request came whole."""
        self._unexpect()
        if len(self.connections) > MANY:
            self.timeout_keep_alive = IDLE_OF_MANY_S
        super().on_message_complete()

    def _expect(self) -> None:
        self._unexpect()
        self._deadline = self.loop.call_later(REQUEST_S, self.transport.close)

    def _unexpect(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
