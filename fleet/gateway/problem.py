"""Errors as devices and EST clients get them, in the form of `fleet.problem`."""

import random
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fleet.errors import Busy, FleetError, Invalid, NotFound, Refused, Unauthenticated
from fleet.problem import CRASHED, INTERNAL, Kinds, kind_of, problem
from fleet.store.certificate import CertificateExpired, CertificateRevoked, CertificateUnknown
from fleet.store.claim import ClaimExpired, ClaimRevoked, ClaimUnknown, ClaimUsed, DeviceExists

_KINDS: Kinds = (
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


async def answer_error(_request: Request, error: Exception) -> Response:
    """Answer a FleetError that a route raised."""
    if not isinstance(error, FleetError):
        raise error
    headers = {}
    if isinstance(error, ClaimUnknown):
        headers["WWW-Authenticate"] = 'Basic realm="claim"'
    if isinstance(error, Busy):
        headers["Retry-After"] = str(spread_s(error.retry_after_s))
    return problem(*kind_of(error, _KINDS), error.message, hint=error.hint, headers=headers)


async def answer_http(_request: Request, error: Exception) -> Response:
    """Answer what Starlette itself refuses: no such path, no such method."""
    if not isinstance(error, HTTPException):
        raise error
    return problem(HTTPStatus(error.status_code), "http", str(error.detail), headers=error.headers)


async def answer_crash(_request: Request, _error: Exception) -> Response:
    """Answer what nobody foresaw; the server logs it."""
    return problem(*INTERNAL, CRASHED)


def spread_s(seconds: int) -> int:
    """Return one to two times the seconds, by chance, so that devices told to wait do not come back together."""
    return seconds + round(random.uniform(0, max(seconds, 1)))  # noqa: S311 - jitter, not a secret
