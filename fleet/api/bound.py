"""A bound on what is taken in: no request's body is larger than `MAX_BODY_BYTES`."""

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 1024 * 1024  # a config document of the greatest length, escaped, and some room


class BoundBody:
    """Middleware that refuses a larger body (413), whether it says its length or not, before it is held in memory."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count what comes in."""
        said = dict(scope.get("headers", ())).get(b"content-length", b"")
        taken_bytes = int(said) if said.isdigit() and int(said) > MAX_BODY_BYTES else 0

        async def counted() -> Message:
            nonlocal taken_bytes
            message = await receive()
            taken_bytes += len(message.get("body", b""))
            if taken_bytes > MAX_BODY_BYTES:
                raise HTTPException(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has more than {MAX_BODY_BYTES} bytes"
                )
            return message

        await self._app(scope, counted, send)
