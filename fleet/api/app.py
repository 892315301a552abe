"""The API as one ASGI app: routers, one module a noun, and what holds for all of them."""

from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from fleet.api import (
    across,
    alarm,
    claim,
    config,
    customer,
    device,
    doctor,
    event,
    export,
    find,
    meter,
    node,
    prom,
    quarantine,
    reading,
    restore,
    retention,
    share,
    stream,
    tally,
    ticket,
    token,
)
from fleet.api.access import known_parameters
from fleet.api.bound import BoundBody
from fleet.api.problem import Problem, answer_crash, answer_error, answer_http, answer_validation
from fleet.api.slots import Slots
from fleet.errors import Busy, FleetError
from fleet.services import Services

BASE = "/api/v1"
NOUNS = (
    device,
    customer,
    reading,
    meter,
    share,
    across,
    tally,
    export,
    restore,
    alarm,
    ticket,
    config,
    claim,
    event,
    stream,
    find,
    quarantine,
    retention,
    token,
    doctor,
    node,
)

ABOUT = """\
Everything that the fleet knows and does; the console and the CLI use nothing else.

**Times** are given twice: `seen_us` in microseconds since 1970 (UTC), `seen` in ISO-8601. They are taken as ISO-8601
with a zone, as microseconds, as `now`, or as a distance back such as `-15m`.
**Lists** are pages: `{"items": […], "next": cursor}`; ask again with `cursor` until `next` is null.
**Errors** are problem+json (RFC 9457) with a `hint` that says what to do next.
**Tokens** are bearer tokens of the scopes read, technician, admin, each of which includes the one before.
"""


class Health(BaseModel):
    """The server answers, and so does its database; `link`: its devices are served over MQTT too."""

    status: str
    version: str
    link: bool


def create_app(services: Services) -> FastAPI:
    """Make the app of a set of services; nothing runs before it is served."""
    app = FastAPI(
        title="Fieldline",
        version="1",
        description=ABOUT,
        openapi_url=f"{BASE}/openapi.json",
        docs_url=None,
        redoc_url=None,
        exception_handlers={
            FleetError: answer_error,
            RequestValidationError: answer_validation,
            HTTPException: answer_http,
            Exception: answer_crash,
        },
    )
    app.state.services = services
    app.state.slots = Slots(prom.AT_ONCE, prom.MAX_WAITING)
    api = APIRouter(prefix=BASE, dependencies=[Depends(known_parameters)])
    for noun in NOUNS:
        api.include_router(noun.router)
    app.include_router(api)
    app.include_router(prom.router)
    app.add_api_route("/healthz", _health(services), response_model=Health, tags=["health"])
    app.add_middleware(BoundBody)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign] # FastAPI's way to extend its document
    return app


def _health(services: Services) -> Any:  # noqa: ANN401 - a route's function
    async def healthz() -> Health:
        """Say that the server answers, and its database too; needs no token. One that is stopping is not well."""
        if services.standing.is_stopping:
            raise Busy("the server is stopping", retry_after_s=5)
        await services.db.read(lambda conn: conn.exec_driver_sql("SELECT 1").scalar_one())
        return Health(status="ok", version=services.version, link=services.link.is_up)

    return healthz


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, with the shape of errors in it."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title,
            version=app.version,
            openapi_version="3.1.0",
            description=app.description,
            routes=app.routes,
        )
        made["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        app.openapi_schema = made
    return app.openapi_schema
