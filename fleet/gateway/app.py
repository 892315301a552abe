"""The gateway as an ASGI application: enrolment and sync. Its errors are problem+json throughout."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from fleet.errors import FleetError
from fleet.gateway.body import ClientDisconnect, TooLarge, answer_gone, answer_too_large
from fleet.gateway.ca import Authority
from fleet.gateway.enrol import Enrolment
from fleet.gateway.ingest import Ingest
from fleet.gateway.problem import answer_crash, answer_error, answer_http
from fleet.gateway.sync import Sync
from fleet.store.database import Database


def create_app(db: Database, authority: Authority, ingest: Ingest, *, grace_us: int = 0) -> ASGIApp:
    """Make the application that devices talk to over HTTPS; `grace_us` is for renewals after a certificate's end."""
    return Starlette(
        routes=[*Enrolment(db, authority, grace_us).routes(), *Sync(db, ingest).routes()],
        exception_handlers={
            FleetError: answer_error,
            TooLarge: answer_too_large,
            ClientDisconnect: answer_gone,
            HTTPException: answer_http,
            Exception: answer_crash,
        },
    )
