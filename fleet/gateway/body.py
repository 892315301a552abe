"""Reading a request's body within a limit: nothing larger is ever held; Content-Length is believed only if large."""

from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from fleet.problem import problem


class TooLarge(Exception):
    """The body is larger than the route takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is larger than {limit} bytes")
        self.limit = limit


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body of at most `limit` bytes; raises TooLarge before reading if the length says so, else while."""
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told[:20]) > limit:
        raise TooLarge(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge(limit)
    return bytes(body)


async def answer_too_large(_request: Request, error: Exception) -> Response:
    """Answer 413."""
    if not isinstance(error, TooLarge):
        raise error
    return problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", str(error), hint="Send less at once; nothing was stored."
    )


async def answer_gone(_request: Request, _error: Exception) -> Response:
    """Answer a peer that hung up in mid-body: nobody reads it, but nothing was wrong here."""
    return Response(status_code=HTTPStatus.BAD_REQUEST)


__all__ = ["ClientDisconnect", "TooLarge", "answer_gone", "answer_too_large", "read_body"]
