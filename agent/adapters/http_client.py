"""How the device opens HTTPS connections to its gateway: verified by its own context, through a proxy where one is set.

A proxy is asked to CONNECT (RFC 9110, 9.3.6), with user and password where its URL has them, and sees nothing but
TLS. The one of agent.toml is used for everything that goes to the gateway: enrolment, sync, renewal, the doctor's
questions. Where none is set, HTTPS_PROXY and NO_PROXY of the environment say.
"""

import ssl
from collections.abc import Iterable

import httpx

from agent.core.local import without_password
from agent.errors import Unavailable


def open_client(
    base: str, tls: ssl.SSLContext, proxy: str, timeout: httpx.Timeout, connections: int = 1
) -> httpx.Client:
    """Make a client of the server `base`; `proxy` is a URL, "" for none. Raises Unavailable if it will not do."""
    try:
        return httpx.Client(
            base_url=base,
            verify=tls,
            proxy=proxy or None,
            timeout=timeout,
            limits=httpx.Limits(max_connections=connections),
        )
    except (ImportError, ValueError) as error:  # a SOCKS proxy, or no URL at all, which the environment may name
        named = without_password(proxy) if proxy else "that HTTPS_PROXY or ALL_PROXY names"
        raise Unavailable(
            f"The proxy {named} cannot be used: {error}", hint="It has to be http://HOST:PORT, or https://."
        ) from error


def read_bounded(parts: Iterable[bytes], most_bytes: int) -> bytes | None:
    """Return a body as it comes, of which no more is read than it may have; None where it has more."""
    body = bytearray()
    for part in parts:
        body += part
        if len(body) > most_bytes:
            return None
    return bytes(body)
