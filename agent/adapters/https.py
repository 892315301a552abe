"""The gateway road: `POST /v1/sync` over HTTPS with mutual TLS. The one file that knows httpx.

Import it when the road is first taken: httpx costs 7 MB, and a device whose link works never needs it after its first
sync. A connection is kept between calls; `rest` closes it when the link has taken over, since the gateway holds only
so many.
"""

import ssl

import httpx

from agent.errors import Busy, Refused, Unavailable

CONNECT_S = 10.0
ANSWER_S = 30.0  # for the whole of a call; a server that cannot commit in this time is overloaded
MAX_ACK_BYTES = 4 * 1024 * 1024  # of an ack with a config document in it, escaped at its worst
MAX_RETRY_AFTER_S = 3600.0
CONTENT_TYPE = "application/vnd.fieldline.batch+gzip"

_BUSY = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
_REFUSED = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)


class Gateway:
    """The gateway of one fleet, as one device reaches it."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext) -> None:
        self._base = f"https://{f'[{host}]' if ':' in host else host}:{port}"
        self._tls = tls
        self._client: httpx.AsyncClient | None = None

    async def sync(self, payload: bytes) -> bytes:
        """Send one batch and return the bytes of its ack; raises Unavailable, Busy or Refused."""
        if self._client is None:
            self._client = httpx.AsyncClient(
                base_url=self._base,
                verify=self._tls,
                timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
                limits=httpx.Limits(max_connections=2),
            )
        try:
            request = self._client.stream("POST", "/v1/sync", content=payload, headers={"Content-Type": CONTENT_TYPE})
            async with request as response:
                body = await _read(response)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unavailable(
                f"The gateway {self._base} cannot be reached: {error or type(error).__name__}.", hint=_hint(error)
            ) from error
        if response.status_code != httpx.codes.OK:
            raise _error(self._base, response, body)
        return body

    async def rest(self) -> None:
        """Close the connection; the next call opens one."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


async def _read(response: httpx.Response) -> bytes:
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > MAX_ACK_BYTES:
            raise Unavailable(f"The gateway {response.url} answers with more than {MAX_ACK_BYTES} bytes.")
    return bytes(body)


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
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "The server did not prove to be this device's fleet: check its address and name, and the device's clock."
    return "Check the network; the agent keeps trying."
