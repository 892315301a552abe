"""Errors as the API gives them, in the form of `fleet.problem`, and how its OpenAPI tells of them."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fleet.errors import Busy, FleetError, Invalid, NotFound, Refused, Unauthenticated
from fleet.problem import CRASHED, INTERNAL, MEDIA_TYPE, Kinds, kind_of, problem


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


_KINDS: Kinds = (
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


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer a FleetError that a route raised."""
    if not isinstance(error, FleetError):
        raise error
    status, slug = kind_of(error, _KINDS)
    headers = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="fieldline"'
    if isinstance(error, Busy):
        headers["Retry-After"] = str(error.retry_after_s)
    return problem(status, slug, error.message, hint=error.hint, instance=request.url.path, headers=headers)


async def answer_validation(request: Request, error: Exception) -> Response:
    """Answer a request that does not have the form that the OpenAPI says; names each place."""
    if not isinstance(error, RequestValidationError):
        raise error
    said = "; ".join(_sentence(one) for one in error.errors()[:5])
    hint = "The form of each request is in /api/v1/openapi.json."
    path = request.url.path
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", said, hint=hint, instance=path)


async def answer_http(request: Request, error: Exception) -> Response:
    """Answer what Starlette itself refuses: no such path, no such method, a body that is none."""
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    hint = "The routes are in /api/v1/openapi.json." if status in (404, 405) else ""
    path = request.url.path
    return problem(status, "http", str(error.detail), hint=hint, instance=path, headers=error.headers)


async def answer_crash(request: Request, _error: Exception) -> Response:
    """Answer what nobody foresaw; the server logs it."""
    return problem(*INTERNAL, CRASHED, instance=request.url.path)


def _sentence(one: Mapping[str, Any]) -> str:
    place: Sequence[object] = one["loc"]
    where = ".".join(str(part) for part in place[1:]) or str(place[0])
    return f"{where}: {one['msg']}"
