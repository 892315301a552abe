"""The checks of `fleet-agent doctor` on the way to the fleet: name, proxy, gateway, link.

Each goes one step further than the one before, so that the first that fails is the cause: the name, TCP, TLS with the
fleet's CA, the device's certificate. Nothing is changed there: the gateway is asked what any EST client may ask, and
then whether it would take a batch of this device, by announcing one that is too large. A device that the fleet knows is
told so (413); one that it does not know, or has revoked, is refused before that (401, 403).
"""

import base64
import email.utils
import http.client
import json
import os
import socket
import ssl
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from agent.adapters.tls import client_context
from agent.core.finding import Finding, Level, fail, ok, warn
from agent.core.local import proxy_refusal, without_password
from agent.errors import Misconfigured
from agent.settings import Identity
from agent.wire.limits import MAX_BATCH_BYTES

TIMEOUT_S = 10.0
ALERT_S = 0.5  # for the server to say after the handshake that it does not take the certificate (TLS 1.3)
MOST_APART_S = 60.0  # of the two clocks; the resolution of a Date header and a slow line are far below
QUESTION = "/.well-known/est/cacerts"
BATCHES = "/v1/sync"
PROXY_PORT = 80  # of a proxy's URL that names none
PROXIES = ("https_proxy", "all_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class Way:
    """One road's end: what it is called, where it is, and the proxy before it."""

    name: str
    host: str
    port: int
    proxy: str = ""

    def connection(self, context: ssl.SSLContext) -> http.client.HTTPSConnection:
        """Make a connection, which opens when something is asked."""
        if not self.proxy:
            return http.client.HTTPSConnection(self.host, self.port, timeout=TIMEOUT_S, context=context)
        parts = urlsplit(self.proxy)
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port or PROXY_PORT, timeout=TIMEOUT_S, context=context
        )
        user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        basic = {"Proxy-Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}
        connection.set_tunnel(self.host, self.port, headers=basic if parts.username else {})
        return connection


def check_network(
    identity: Identity, link_port: int, environ: Mapping[str, str] = os.environ, proxy: str = ""
) -> Iterator[Finding]:
    """Check the way to the fleet; `link_port` is 0 where no ack has told it yet, `proxy` the one of agent.toml."""
    if not proxy:
        is_found = yield from _check_name(identity.host)
        yield from _check_environment(environ)
        if not is_found:
            return
    elif (yield from _check_proxy(proxy)):
        return
    try:
        context = client_context(identity)
    except Misconfigured as error:
        yield fail("certificate", error.message, error.hint)
        return
    yield from _check_gateway(Way("gateway", identity.host, identity.gateway_port, proxy), context)
    if link_port and proxy:
        yield from _beside_proxy(_check_link(Way("link", identity.host, link_port), context))
    elif link_port:
        yield from _check_link(Way("link", identity.host, link_port), context)
    else:
        yield warn("link", "Its port is not known before the first ack.", "Start the agent; then check again.")


def _check_name(host: str) -> Generator[Finding, None, bool]:
    """Check the name; returns whether it has an address."""
    began = time.monotonic()
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError) as error:
        yield fail(
            "dns", f"{host} is not found: {error}.", "Check the network and the name server: `resolvectl status`."
        )
        return False
    took = time.monotonic() - began
    said = f"{host} is {', '.join(sorted(found))}"
    if took > 1:
        yield warn("dns", f"{said}; the answer took {took:.1f} s.", "A name server nearer by would help.")
    else:
        yield ok("dns", f"{said}.")
    return True


def _check_proxy(proxy: str) -> Generator[Finding, None, bool]:
    """Check the proxy of agent.toml; returns whether the checks end here."""
    parts = urlsplit(proxy)
    shown = without_password(proxy)
    try:
        socket.create_connection((parts.hostname or "", parts.port or PROXY_PORT), TIMEOUT_S).close()
    except (OSError, UnicodeError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else error
        yield fail("proxy", f"{shown} of agent.toml cannot be reached: {said}.", "Check its host and port.")
        return True
    if parts.scheme != "http":
        yield warn("proxy", f"{shown} is there; through TLS it is not looked further.", "See `fleet-agent status`.")
        return True
    yield ok("proxy", f"{shown} of agent.toml is there; the gateway is asked through it, the link takes none.")
    return False


def _beside_proxy(findings: Iterator[Finding]) -> Iterator[Finding]:
    """Where there is a proxy, a link that cannot be had is to be expected: the gateway is the road."""
    for it in findings:
        if it.level is Level.FAIL:
            yield warn(it.check, it.said, "The gateway does its work. For the link, have its port let out directly.")
        else:
            yield it


def _check_environment(environ: Mapping[str, str]) -> Iterator[Finding]:
    found = {name: environ.get(name) or environ.get(name.upper()) for name in PROXIES}
    said = found["https_proxy"] or found["all_proxy"]
    if said:
        shown = without_password(said)
        yield warn(
            "proxy",
            f"This shell's environment names the proxy {shown}; the gateway is reached through it, the link never is.",
            "The service has an environment of its own: if it is meant, set `proxy` in agent.toml.",
        )
    else:
        yield ok("proxy", "None is set.")


def _check_gateway(way: Way, context: ssl.SSLContext) -> Iterator[Finding]:
    connection = way.connection(context)
    began = time.monotonic()
    try:
        connection.request("GET", QUESTION)
        answer = connection.getresponse()
        body = answer.read(2000)
    except (OSError, http.client.HTTPException) as error:
        yield _unreachable(way, error)
        return
    finally:
        connection.close()
    took_ms = (time.monotonic() - began) * 1000
    if answer.status != http.client.OK:
        yield fail(
            way.name,
            f"{way.host}:{way.port} answers {answer.status}: {body[:200].decode(errors='replace')}",
            "Check that the port is a Fieldline gateway; if the device was revoked, it needs a new claim.",
        )
        return
    refused = _refusal(way, context)
    if refused:
        yield fail(
            way.name, refused, "Ask the fleet's operator; with a new claim: sudo fleet-agent enroll CLAIM --force"
        )
    else:
        yield ok(way.name, f"{way.host}:{way.port} answers in {took_ms:.0f} ms and takes this device.")
    yield from _check_time(answer.getheader("Date"))


def _refusal(way: Way, context: ssl.SSLContext) -> str:
    """Return why the gateway takes no batch of this device; "" if it does, or has nothing to say of it."""
    connection = way.connection(context)
    try:
        connection.putrequest("POST", BATCHES)
        connection.putheader("Content-Length", str(MAX_BATCH_BYTES + 1))  # announced, and never sent
        connection.endheaders()
        answer = connection.getresponse()
        said = answer.read(2000)
    except (OSError, http.client.HTTPException):
        return ""  # the question before was answered: this one is about the device alone
    finally:
        connection.close()
    if answer.status not in {http.client.UNAUTHORIZED, http.client.FORBIDDEN}:
        return ""
    try:
        detail = json.loads(said).get("detail", "")
    except (ValueError, AttributeError):
        detail = ""
    return f"The fleet does not take this device: {detail or f'it answers {answer.status}'}."


def _check_time(said: str | None) -> Iterator[Finding]:
    try:
        theirs = email.utils.parsedate_to_datetime(said or "").timestamp()
    except ValueError:
        return
    apart_s = time.time() - theirs
    side = "ahead of" if apart_s > 0 else "behind"
    if abs(apart_s) > MOST_APART_S:
        yield warn(
            "clock",
            f"This clock is {abs(apart_s):.0f} s {side} the fleet's.",
            "sudo timedatectl set-ntp true; readings are dated by this clock.",
        )


def _check_link(way: Way, context: ssl.SSLContext) -> Iterator[Finding]:
    began = time.monotonic()
    try:
        with (
            socket.create_connection((way.host, way.port), TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=way.host) as secure,
        ):
            took_ms = (time.monotonic() - began) * 1000
            secure.settimeout(ALERT_S)
            try:
                is_cut = secure.recv(1) == b""
            except TimeoutError:  # it waits for our first word: the certificate will do
                is_cut = False
    except OSError as error:
        yield _unreachable(way, error)
        return
    if is_cut:
        yield fail(way.name, f"{way.host}:{way.port} cuts the connection.", "Check that it is the fleet's link.")
    else:
        yield ok(way.name, f"{way.host}:{way.port} takes a TLS connection in {took_ms:.0f} ms.")


def _unreachable(way: Way, error: Exception) -> Finding:
    where = f"{way.host}:{way.port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return fail(
            way.name,
            f"{where} did not prove to be this device's fleet: {error.verify_message}.",
            "Check the clock first, then the server's name (`fleet serve --name`); a proxy that opens TLS will not do.",
        )
    if isinstance(error, ssl.SSLError):
        return fail(
            way.name,
            f"{where} does not take the connection: {error.reason or error}.",
            "If the certificate was refused, the device may be revoked: it needs a new claim.",
        )
    if isinstance(error, TimeoutError):
        return fail(
            way.name,
            f"{where} does not answer within {TIMEOUT_S:g} s.",
            f"Ask for TCP port {way.port} in the firewall.",
        )
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    if way.proxy and said.startswith("Tunnel connection failed"):
        refusal = said.partition(":")[2].strip()
        return fail(way.name, f"{where} cannot be reached.", proxy_refusal(refusal))
    return fail(way.name, f"{where} cannot be reached: {said}.", "Check that the server runs, and the firewall.")
