"""The checks of `fleet-agent doctor` on the way to the fleet: name, proxy, gateway, link.

Each goes one step further than the one before, so that the first that fails is the cause: the name, TCP, TLS with the
fleet's CA, the device's certificate. Nothing is changed there: the gateway is asked what any EST client may ask, and
then whether it would take a batch of this device, by announcing one that is too large. A device that the fleet knows is
told so (413); one that it does not know, or has revoked, is refused before that (401, 403).
"""

import email.utils
import http.client
import json
import os
import socket
import ssl
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass

from agent.adapters.tls import client_context
from agent.core.finding import Finding, fail, ok, warn
from agent.errors import Misconfigured
from agent.settings import Identity
from agent.wire.limits import MAX_BATCH_BYTES

TIMEOUT_S = 10.0
ALERT_S = 0.5  # for the server to say after the handshake that it does not take the certificate (TLS 1.3)
MOST_APART_S = 60.0  # of the two clocks; the resolution of a Date header and a slow line are far below
QUESTION = "/.well-known/est/cacerts"
BATCHES = "/v1/sync"
PROXIES = ("https_proxy", "all_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class Way:
    """One road's end: what it is called, and where it is."""

    name: str
    host: str
    port: int


def check_network(identity: Identity, link_port: int, environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Check the way to the fleet; `link_port` is 0 where no ack has told it yet."""
    is_found = yield from _check_name(identity.host)
    yield from _check_proxy(environ)
    if not is_found:
        return
    try:
        context = client_context(identity)
    except Misconfigured as error:
        yield fail("certificate", error.message, error.hint)
        return
    yield from _check_gateway(Way("gateway", identity.host, identity.gateway_port), context)
    if link_port:
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


def _check_proxy(environ: Mapping[str, str]) -> Iterator[Finding]:
    found = {name: environ.get(name) or environ.get(name.upper()) for name in PROXIES}
    said = found["https_proxy"] or found["all_proxy"]
    if said:
        shown = said.rpartition("@")[2]  # without a password
        yield warn(
            "proxy",
            f"This shell's environment names the proxy {shown}; the gateway is reached through it, the link never is.",
            "The service has an environment of its own: set it with `systemctl edit fleet-agent`, if it is meant.",
        )
    else:
        yield ok("proxy", "None is set.")


def _check_gateway(way: Way, context: ssl.SSLContext) -> Iterator[Finding]:
    connection = http.client.HTTPSConnection(way.host, way.port, timeout=TIMEOUT_S, context=context)
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
    connection = http.client.HTTPSConnection(way.host, way.port, timeout=TIMEOUT_S, context=context)
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
    return fail(way.name, f"{where} cannot be reached: {said}.", "Check that the server runs, and the firewall.")
