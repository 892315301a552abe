"""Errors as the API gives them: problem+json (RFC 9457), with a hint that says what to do next.

`type` ends in a slug that a program can tell apart and that never changes; `detail` is the sentence for a person.
"""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fleet.errors import Busy, FleetError, Invalid, NotFound, Refused, Unauthenticated

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "/problems/"


class Forbidden(Refused):
    """The token's scope does not reach so far (HTTP 403)."""


class Problem(BaseModel):
    """What went wrong, to what, and what to do next (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "/problems/not-found",
                "title": "Not Found",
                "status": 404,
                "detail": "there is no device 'freezer-7k3m2'",
                "hint": "`fleet device list` shows all devices.",
                "instance": "/api/v1/devices/freezer-7k3m2",
            }
        }
    )

    type: str
    title: str
    status: int
    detail: str
    hint: str = ""
    instance: str = ""


# The first class that fits decides, so leaves stand before what they derive from.
_KINDS: tuple[tuple[type[FleetError], HTTPStatus, str], ...] = (
    (Unauthenticated, HTTPStatus.UNAUTHORIZED, "token-required"),
    (Forbidden, HTTPStatus.FORBIDDEN, "scope"),
    (Refused, HTTPStatus.CONFLICT, "refused"),
    (NotFound, HTTPStatus.NOT_FOUND, "not-found"),
    (Invalid, HTTPStatus.UNPROCESSABLE_ENTITY, "invalid"),
    (Busy, HTTPStatus.SERVICE_UNAVAILABLE, "busy"),
)

_MEANINGS = {
    400: "The request is not one of HTTP's.",
    401: "No valid token was shown.",
    403: "The token's scope does not reach so far.",
    404: "There is no such thing.",
    409: "The state of the thing forbids it; the hint says what it allows.",
    413: "The body is too large.",
    422: "The request says something that cannot be followed; the detail names the place.",
    503: "Too much at once; try again after Retry-After seconds.",
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI of the errors that a route may give, beside those that all may."""
    schema = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _MEANINGS[status], "content": schema} for status in statuses}


def problem(  # noqa: PLR0913 - the members of RFC 9457
    request: Request,
    status: HTTPStatus,
    slug: str,
    detail: str,
    *,
    hint: str = "",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Make a problem+json answer."""
    said = Problem(
        type=TYPE_PREFIX + slug,
        title=status.phrase,
        status=status.value,
        detail=detail,
        hint=hint,
        instance=request.url.path,
    )
    body = {name: value for name, value in said.model_dump().items() if value != ""}
    return Response(json.dumps(body, ensure_ascii=False), status.value, headers, MEDIA_TYPE)


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer a FleetError that a route raised."""
    if not isinstance(error, FleetError):
        raise error
    status, slug = HTTPStatus.INTERNAL_SERVER_ERROR, "internal"
    for kind, its_status, its_slug in _KINDS:
        if isinstance(error, kind):
            status, slug = its_status, its_slug
            break
    headers = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="fieldline"'
    if isinstance(error, Busy):
        headers["Retry-After"] = str(error.retry_after_s)
    return problem(request, status, slug, error.message, hint=error.hint, headers=headers)


async def answer_validation(request: Request, error: Exception) -> Response:
    """Answer a request that does not have the form that the OpenAPI says; names each place."""
    if not isinstance(error, RequestValidationError):
        raise error
    said = "; ".join(_sentence(one) for one in error.errors()[:5])
    hint = "The form of each request is in /api/v1/openapi.json."
    return problem(request, HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", said, hint=hint)


async def answer_http(request: Request, error: Exception) -> Response:
    """Answer what Starlette itself refuses: no such path, no such method, a body that is none."""
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    hint = "The routes are in /api/v1/openapi.json." if status in (404, 405) else ""
    return problem(request, status, "http", str(error.detail), hint=hint, headers=error.headers)


async def answer_crash(request: Request, _error: Exception) -> Response:
    """Answer what nobody foresaw; the server logs it."""
    return problem(request, HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "the server failed; its log says how")


def _sentence(one: Mapping[str, Any]) -> str:
    place: Sequence[object] = one["loc"]
    where = ".".join(str(part) for part in place[1:]) or str(place[0])
    return f"{where}: {one['msg']}"
