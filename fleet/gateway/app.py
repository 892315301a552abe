"""The gateway as an ASGI application: enrolment, sync and, later, releases. Its errors are problem+json throughout."""

from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from fleet.errors import FleetError
from fleet.gateway.body import ClientDisconnect, TooLarge, answer_gone, answer_too_large
from fleet.gateway.ca import Authority
from fleet.gateway.enrol import Enrolment
from fleet.gateway.ingest import Ingest
from fleet.gateway.peer import CROWDED
from fleet.gateway.problem import answer_crash, answer_error, answer_http, spread_s
from fleet.gateway.sync import Sync
from fleet.problem import problem
from fleet.store.database import Database

CROWDED_RETRY_S = 3


def create_app(db: Database, authority: Authority, ingest: Ingest, *, grace_us: int = 0) -> ASGIApp:
    """Make the application that devices talk to over HTTPS; `grace_us` is for renewals after a certificate's end."""
    routes = Starlette(
        routes=[*Enrolment(db, authority, grace_us).routes(), *Sync(db, ingest).routes()],
        exception_handlers={
            FleetError: answer_error,
            TooLarge: answer_too_large,
            ClientDisconnect: answer_gone,
            HTTPException: answer_http,
            Exception: answer_crash,
        },
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get(CROWDED):
            headers = {"Retry-After": str(spread_s(CROWDED_RETRY_S)), "Connection": "close"}
            busy = problem(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "too many devices call at once", headers=headers)
            await busy(scope, receive, send)
            return
        await routes(scope, receive, send)

    return app
