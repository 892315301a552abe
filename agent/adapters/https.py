"""The gateway road: `POST /v1/sync` over HTTPS with mutual TLS. The one file that knows httpx.

Import it when the road is first taken: a device whose link works never needs it after its first sync. A connection is
kept between calls; `rest` closes it when the link has taken over, since the gateway holds only so many.

The blocking client in threads, one a lane, and not the asynchronous one: that one loads anyio, 5 MB on a device whose
budget is 45. A call that is given up has its socket shut, which ends its thread at once; only one that is still
connecting stays for up to CONNECT_S.
"""

import asyncio
import contextlib
import socket
import ssl
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx

from agent.adapters.http_client import open_client, read_bounded
from agent.core.local import proxy_refusal
from agent.errors import Busy, Refused, Unavailable

CALLS_AT_ONCE = 2  # one a lane
CONNECT_S = 10.0
ANSWER_S = 30.0  # for the whole of a call; a server that cannot commit in this time is overloaded
MAX_ACK_BYTES = 4 * 1024 * 1024  # of an ack with a config document in it, escaped at its worst
MAX_RETRY_AFTER_S = 3600.0
CONTENT_TYPE = "application/vnd.fieldline.batch+gzip"

_BUSY = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
_REFUSED = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)


class Gateway:
    """The gateway of one fleet, as one device reaches it."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext, proxy: str = "") -> None:
        self._base = f"https://{f'[{host}]' if ':' in host else host}:{port}"
        self._tls = tls
        self._proxy = proxy
        self._client: httpx.Client | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._calls: set[Future[bytes]] = set()  # that wait for a thread or have one, be they wanted any more or not
        self._resting = False

    async def sync(self, payload: bytes) -> bytes:
        """Send one batch and return the bytes of its ack; raises Unavailable, Busy or Refused."""
        self._resting = False
        if self._client is None or self._threads is None:
            timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S)
            self._client = open_client(self._base, self._tls, self._proxy, timeout, CALLS_AT_ONCE)
            self._threads = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="gateway")
        loop = asyncio.get_running_loop()
        call = self._threads.submit(self._post, self._client, payload)
        self._calls.add(call)
        call.add_done_callback(partial(_tell, loop, self._ended))
        try:
            return await asyncio.wrap_future(call)
        except asyncio.CancelledError:
            self._cut()
            raise

    async def rest(self) -> None:
        """Close the connection once no call is under way; the next call opens one."""
        self._resting = True
        self._close()

    def _close(self) -> None:
        if self._client is not None and self._threads is not None and self._resting and not self._calls:
            self._client.close()
            self._threads.shutdown(wait=False)
            self._client = self._threads = None

    def _ended(self, call: "Future[bytes]") -> None:
        self._calls.discard(call)
        self._close()

    def _post(self, client: httpx.Client, payload: bytes) -> bytes:
        headers = {"Content-Type": CONTENT_TYPE}
        extensions = {"trace": _told_of_sockets(self._sockets.add)}
        try:
            with client.stream("POST", "/v1/sync", content=payload, headers=headers, extensions=extensions) as response:
                body = read_bounded(response.iter_bytes(), MAX_ACK_BYTES)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(
                f"The gateway {self._base} cannot be reached: {error or type(error).__name__}.", hint=_hint(error)
            ) from error
        if body is None:
            raise Unavailable(f"The gateway {response.url} answers with more than {MAX_ACK_BYTES} bytes.")
        if response.status_code != httpx.codes.OK:
            raise _error(self._base, response, body)
        return body

    def _cut(self) -> None:
        """Shut the sockets, so that threads that wait for an answer nobody wants any more come to their end."""
        for it in list(self._sockets):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(it, socket.SHUT_RDWR)  # not the TLS socket's own, which is no thread's business


def _tell(loop: asyncio.AbstractEventLoop, ended: Callable[["Future[bytes]"], None], call: "Future[bytes]") -> None:
    with contextlib.suppress(RuntimeError):  # the agent has stopped, and its loop is closed
        loop.call_soon_threadsafe(ended, call)


def _told_of_sockets(tell: Callable[[socket.socket], None]) -> Callable[[str, Mapping[str, Any]], None]:
    """Make a trace function of httpcore that tells of each socket once TLS is up."""

    def trace(event: str, about: Mapping[str, Any]) -> None:
        if event == "connection.start_tls.complete":
            tell(about["return_value"].get_extra_info("socket"))

    return trace


def _error(base: str, response: httpx.Response, body: bytes) -> Exception:
    said = f"The gateway {base} answers {response.status_code}: {body[:200].decode(errors='replace') or 'no message'}"
    if response.status_code in _REFUSED:
        return Refused(said, hint="The certificate may be revoked: enroll the device with a new claim.")
    if response.status_code in _BUSY:
        wait = response.headers.get("Retry-After", "")
        if wait.isdecimal():
            return Busy(said, wait_s=min(float(wait), MAX_RETRY_AFTER_S))
    return Unavailable(said)


def _hint(error: Exception) -> str:
    if isinstance(error, httpx.ProxyError):
        return proxy_refusal(str(error))
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "The server did not prove to be this device's fleet: check its address and name, and the device's clock."
    return "Check the network; the agent keeps trying."
