"""The console's addresses, as values for the composition root to mount beside the API."""

from collections.abc import Sequence
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from fleet.console import device, devices, session, stream, tickets
from fleet.console.session import Page, User, page
from fleet.console.template import STATIC, render
from fleet.errors import FleetError, NotFound
from fleet.services import Services


def routes(services: Services) -> Sequence[BaseRoute]:
    """Return the routes of all pages."""

    def route(path: str, show: Page, *, method: str = "GET") -> Route:
        return Route(path, page(services, show), methods=[method])

    async def home(request: Request) -> Response:
        del request
        return RedirectResponse("/devices", HTTPStatus.SEE_OTHER)

    return [
        Route("/", home),
        *_sign_in(services),
        route("/devices", devices.show),
        route("/devices/{device}", device.show),
        route("/alarms/{alarm:int}/ack", device.ack, method="POST"),
        route("/tickets", tickets.show_all),
        route("/tickets/{ticket:int}", tickets.show),
        route("/tickets/{ticket:int}/move", tickets.move, method="POST"),
        route("/tickets/{ticket:int}/assign", tickets.assign, method="POST"),
        route("/tickets/{ticket:int}/notes", tickets.add_note, method="POST"),
        route("/console/devices/{device}/points", device.points),
        route("/console/stream", stream.show),
        Mount("/console/static", StaticFiles(directory=STATIC)),
        *(route(path, _nothing) for path in ("/{page}", "/devices/{rest:path}", "/tickets/{rest:path}")),
    ]


async def _nothing(request: Request, services: Services, user: User) -> Response:
    del services, user
    raise NotFound(f"there is no page {request.url.path}", hint="Look at the address, or begin here:")


def _sign_in(services: Services) -> Sequence[BaseRoute]:
    async def ask(request: Request) -> Response:
        return render("login.html", next=request.query_params.get("next", "/"), problem="")

    async def take(request: Request) -> Response:
        onward = "/"
        try:
            session.refuse_foreign(request)
            fields = await session.form(request)
            onward, secret = fields.get("next", "/"), fields.get("token", "")
            if await session.user_with(secret, services):
                return session.sign_in(secret, services, onward)
            problem = "This token is not valid: it may be mistyped, expired or revoked."
        except FleetError as error:
            problem = f"{error.message}. {error.hint}"
        return render("login.html", HTTPStatus.UNAUTHORIZED, next=onward, problem=problem)

    async def leave(request: Request) -> Response:
        session.refuse_foreign(request)
        return session.sign_out()

    return [Route("/login", ask), Route("/login", take, methods=["POST"]), Route("/logout", leave, methods=["POST"])]
