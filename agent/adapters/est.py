"""The device's side of EST (RFC 7030) over httpx: cacerts, simpleenroll, simplereenroll.

What can go wrong is told apart by what a person has to do about it:

    the server cannot be reached             Unavailable     look at the network, then try again
    the server's CA is not the claim's       Refused         the claim is of another fleet, or somebody sits between
    the claim is used, expired or unknown    Refused         ask for a new claim
    the clocks are far apart                 Misconfigured   set the clock; the claim is still good

The first call cannot verify the server, since the CA is what it asks for; the claim's fingerprint does that right
after, and everything else is verified against exactly that CA.
"""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx

from agent.adapters.http_client import open_client, read_bounded
from agent.adapters.tls import FleetContext, Shown, fleet_context
from agent.core.local import proxy_refusal
from agent.errors import Misconfigured, Refused, Unavailable

WELL_KNOWN = "/.well-known/est"
CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 256 * 1024
MAX_CLOCK_APART_S = 300.0  # beyond it certificates made now may look expired or not yet valid
_CERT_TIME = frozenset({9, 10})  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
_CERT_NAME = frozenset({62, 64})  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


class Est:
    """One server's EST service."""

    def __init__(self, host: str, port: int, now_us: int, floor_us: int = 0, *, proxy: str = "") -> None:
        """Know the clock's time, and the least that it can be: when the device's own certificate was issued."""
        self._proxy = proxy
        self._server = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._host = host
        self._now_us = now_us
        self._floor_us = floor_us
        self._now = datetime.fromtimestamp(now_us / 1e6, UTC)

    def cacerts(self) -> tuple[bytes, str]:
        """Fetch the CA's certificates, unverified; returns the body and the Date header ("" if none)."""
        unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        unverified.check_hostname = False
        unverified.verify_mode = ssl.CERT_NONE  # the caller compares the CA's fingerprint with the claim's
        with self._client(unverified) as client:
            return self._call(client, "GET", "cacerts")

    def check_clock(self, date: str) -> None:
        """Raise Misconfigured if the server's Date and the local clock are far apart."""
        try:
            theirs = parsedate_to_datetime(date).astimezone(UTC)
        except (ValueError, OverflowError):  # an hour of another day, and the year 10000
            return
        if abs(theirs - self._now) > timedelta(seconds=MAX_CLOCK_APART_S):
            raise _clock_off(self._now, theirs)

    def enroll(self, ca_pem: bytes, secret: str, request: bytes) -> bytes:
        """Ask for the first certificate with a claim's secret; returns the body (base64 PKCS#7)."""
        with self._client(_trusting(ca_pem)) as client:
            return self._call(client, "POST", "simpleenroll", request, auth=("claim", secret))[0]

    def reenroll(self, ca_pem: bytes, shown: Shown, request: bytes) -> bytes:
        """Ask for the next certificate, proving who we are by the present one."""
        context = self._with_certificate(ca_pem, shown)
        for is_last in (False, True):
            try:
                with self._client(context) as client:
                    return self._call(client, "POST", "simplereenroll", request)[0]
            except Misconfigured:
                if is_last or not context.doubts_clock:  # the fleet's certificate has shown that the clock is behind
                    raise
        raise AssertionError

    def test_connect(self, ca_pem: bytes, shown: Shown) -> None:
        """Make one request with a certificate, to see that the server takes it; raises Unavailable or Refused."""
        with self._client(self._with_certificate(ca_pem, shown)) as client:
            self._call(client, "GET", "cacerts")

    def _with_certificate(self, ca_pem: bytes, shown: Shown) -> FleetContext:
        context = fleet_context(self._floor_us, lambda: self._now_us, lambda: False)
        context.load_verify_locations(cadata=ca_pem.decode("ascii"))
        context.show(shown)
        return context

    @contextmanager
    def _client(self, context: ssl.SSLContext) -> Iterator[httpx.Client]:
        timeout = httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        try:
            with open_client(f"https://{self._server}", context, self._proxy, timeout) as client:
                yield client
        except httpx.TransportError as error:
            raise self._translated(error) from error
        except (httpx.InvalidURL, UnicodeError) as error:
            raise Misconfigured(
                f"{self._server} is not an address.", hint="Ask for a new claim and copy all of it."
            ) from error
        except httpx.HTTPError as error:
            raise Unavailable(f"{self._server} gave no usable answer: {error}.", hint=_RETRY) from error

    def _translated(self, error: httpx.TransportError) -> Refused | Misconfigured | Unavailable:
        tls = _tls_error(error)
        if isinstance(tls, ssl.SSLCertVerificationError):
            if tls.verify_code in _CERT_TIME:
                return Misconfigured(
                    f"By this device's clock, {_shown(self._now)}, the certificate of {self._server} is not valid "
                    f"({tls.verify_message}).",
                    hint="If the clock is wrong, set it and run the same command again; else renew the server's.",
                )
            if tls.verify_code in _CERT_NAME:
                return Refused(
                    f"{self._server} shows a certificate of the right fleet, but for another name than {self._host}.",
                    hint=f"Start the server with `fleet serve --name {self._host}` so that its certificate has it.",
                )
            return Refused(
                f"{self._server} is not the fleet of this claim: its certificate is not from the fleet's CA.",
                hint="Check the server's address and ask for a new claim; if both are right, somebody sits between.",
            )
        if tls is not None:
            return Unavailable(
                f"No TLS connection to {self._server}: {tls.reason or tls}.",
                hint="Check that the port is the fleet's gateway (8443 by default) and nothing in between cuts TLS.",
            )
        if isinstance(error, httpx.ProxyError):
            return Unavailable(f"{self._server} cannot be reached.", hint=proxy_refusal(str(error)))
        what = "did not answer in time" if isinstance(error, httpx.TimeoutException) else _reason(error)
        return Unavailable(f"{self._server} cannot be reached: {what}.", hint=_UNREACHABLE)

    def _call(
        self, client: httpx.Client, method: str, call: str, request: bytes = b"", auth: tuple[str, str] | None = None
    ) -> tuple[bytes, str]:
        """Make one call; returns the body, of which no more is read than an answer may have, and the Date header."""
        headers = _CSR_HEADERS if request else _HEADERS
        with client.stream(
            method, f"{WELL_KNOWN}/{call}", content=request or None, headers=headers, auth=auth
        ) as answer:
            body = read_bounded(answer.iter_raw(), MAX_ANSWER_BYTES)
        if body is None:
            text = f"{self._server} answered {call} with more than {MAX_ANSWER_BYTES} bytes."
            raise Refused(text, hint=_NOT_A_FLEET)
        if answer.status_code == httpx.codes.OK:
            return body, answer.headers.get("date", "")
        detail, hint = _problem(body)
        if answer.status_code == httpx.codes.ACCEPTED or answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            said = detail or f"it answered {answer.status_code}"
            raise Unavailable(f"{self._server} cannot do it now: {said}.", hint=hint or _RETRY)
        if not detail:
            raise Refused(f"{self._server} answered {call} with {answer.status_code}.", hint=_NOT_A_FLEET)
        raise Refused(f"The fleet refused: {detail}.", hint=hint or _NEW_CLAIM)


_HEADERS = {"Accept-Encoding": "identity"}  # what is read is then what was sent, and no more
_CSR_HEADERS = {**_HEADERS, "Content-Type": "application/pkcs10", "Content-Transfer-Encoding": "base64"}
_RETRY = "Run the same command again in a while; the claim is still good."
_UNREACHABLE = (
    "Check the network, the address and that no firewall blocks the port, then run the same command again; "
    "the claim is still good."
)
_NEW_CLAIM = "Ask for a new claim: `fleet claim create`."
_NOT_A_FLEET = "Check that the claim's server is a Fieldline gateway."


def _trusting(ca_pem: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies, checks the name, and trusts nobody yet
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=ca_pem.decode("ascii"))
    return context


def _problem(body: bytes) -> tuple[str, str]:
    """Read problem+json (RFC 9457) into a sentence without its full stop, and a hint."""
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(problem, dict):
        return "", ""
    detail = problem.get("detail") or problem.get("title") or ""
    return str(detail)[:500].strip().rstrip("."), str(problem.get("hint") or "")[:500]


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    seen = 0
    while error is not None and seen < 10:  # noqa: PLR2004 - httpx wraps httpcore wraps ssl; a bound, not a count
        if isinstance(error, ssl.SSLError):
            return error
        error, seen = error.__cause__ or error.__context__, seen + 1
    return None


def _reason(error: BaseException) -> str:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error).rstrip(".") or type(error).__name__


def _clock_off(ours: datetime, theirs: datetime) -> Misconfigured:
    return Misconfigured(
        f"This device's clock says {_shown(ours)}, the fleet's {_shown(theirs)}: {_apart(abs(theirs - ours))} apart, "
        "too far for certificates to work.",
        hint=f"Set it with `sudo timedatectl set-ntp true` or `sudo date -u -s '{theirs:%Y-%m-%d %H:%M:%S}'`, and run "
        "the same command again; the claim is still good.",
    )


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _apart(span: timedelta) -> str:
    if span.days >= 2 * 365:
        return f"{span.days // 365} years"
    if span.days >= 2:  # noqa: PLR2004 - from here on days say more than hours
        return f"{span.days} days"
    minutes = int(span.total_seconds()) // 60
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"  # noqa: PLR2004 - an hour
