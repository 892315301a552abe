"""Errors as devices and EST clients get them: problem+json (RFC 9457) with a hint, whatever went wrong.

`type` ends in a slug that a program can tell apart; it never changes. `detail` is the sentence for a person.
"""

import json
import random
from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fleet.errors import Busy, FleetError, Invalid, NotFound, Refused, Unauthenticated
from fleet.store.certificate import CertificateExpired, CertificateRevoked, CertificateUnknown
from fleet.store.claim import ClaimExpired, ClaimRevoked, ClaimUnknown, ClaimUsed, DeviceExists

TYPE_PREFIX = "/problems/"

# The first class that fits decides, so leaves stand before what they derive from.
_KINDS: tuple[tuple[type[FleetError], HTTPStatus, str], ...] = (
    (ClaimUnknown, HTTPStatus.UNAUTHORIZED, "claim-unknown"),
    (ClaimUsed, HTTPStatus.FORBIDDEN, "claim-used"),
    (ClaimRevoked, HTTPStatus.FORBIDDEN, "claim-revoked"),
    (ClaimExpired, HTTPStatus.FORBIDDEN, "claim-expired"),
    (DeviceExists, HTTPStatus.FORBIDDEN, "device-exists"),
    (CertificateUnknown, HTTPStatus.FORBIDDEN, "certificate-unknown"),
    (CertificateRevoked, HTTPStatus.FORBIDDEN, "certificate-revoked"),
    (CertificateExpired, HTTPStatus.FORBIDDEN, "certificate-expired"),
    (Unauthenticated, HTTPStatus.UNAUTHORIZED, "certificate-required"),
    (Busy, HTTPStatus.SERVICE_UNAVAILABLE, "busy"),
    (Invalid, HTTPStatus.BAD_REQUEST, "invalid"),
    (NotFound, HTTPStatus.FORBIDDEN, "device-unknown"),
    (Refused, HTTPStatus.FORBIDDEN, "refused"),
)


def problem(
    status: HTTPStatus, slug: str, detail: str, *, hint: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """Make a problem+json answer."""
    body = {"type": TYPE_PREFIX + slug, "title": status.phrase, "status": status.value, "detail": detail, "hint": hint}
    content = json.dumps({name: value for name, value in body.items() if value != ""}, ensure_ascii=False)
    return Response(content, status.value, headers, "application/problem+json")


async def answer_error(_request: Request, error: Exception) -> Response:
    """Answer a FleetError that a route raised."""
    if not isinstance(error, FleetError):
        raise error
    status, slug = HTTPStatus.INTERNAL_SERVER_ERROR, "internal"
    for kind, its_status, its_slug in _KINDS:
        if isinstance(error, kind):
            status, slug = its_status, its_slug
            break
    headers = {}
    if isinstance(error, ClaimUnknown):
        headers["WWW-Authenticate"] = 'Basic realm="claim"'
    if isinstance(error, Busy):
        headers["Retry-After"] = str(spread_s(error.retry_after_s))
    return problem(status, slug, error.message, hint=error.hint, headers=headers)


async def answer_http(_request: Request, error: Exception) -> Response:
    """Answer what Starlette itself refuses: no such path, no such method."""
    if not isinstance(error, HTTPException):
        raise error
    return problem(HTTPStatus(error.status_code), "http", str(error.detail), headers=error.headers)


async def answer_crash(_request: Request, _error: Exception) -> Response:
    """Answer what nobody foresaw; the server logs it."""
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "the server failed; its log says how")


def spread_s(seconds: int) -> int:
    """Return one to two times the seconds, by chance, so that devices told to wait do not come back together."""
    return seconds + round(random.uniform(0, max(seconds, 1)))  # noqa: S311 - jitter, not a secret
