"""Who is looking at a page: a token in a cookie that no script can read and no other site can make the browser send.

The cookie is HttpOnly and SameSite=Strict; a form that changes something is taken only from a page of our own
(`Sec-Fetch-Site`, or `Origin` where a browser does not send it), so another site cannot act in a person's name.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from http import HTTPStatus
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from fleet.console.template import render
from fleet.core.actor import Actor, Scope
from fleet.core.event import Origin
from fleet.errors import FleetError, Invalid, NotFound, Refused, Unauthenticated
from fleet.services import Services
from fleet.store import token as tokens

COOKIE = "fieldline_token"
COOKIE_S = 30 * 86_400  # seconds that a browser keeps a session
MAX_FORM_BYTES = 64 * 1024
MAX_FIELDS = 50

STATUS: Mapping[type[FleetError], HTTPStatus] = {
    NotFound: HTTPStatus.NOT_FOUND,
    Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    Refused: HTTPStatus.CONFLICT,
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
}


@dataclass(frozen=True, slots=True)
class User:
    """Whoever has signed in."""

    name: str
    scope: Scope

    @property
    def may_work(self) -> bool:
        """Tell whether they may change alarms and tickets."""
        return self.scope.allows(Scope.TECHNICIAN)

    @property
    def actor(self) -> Actor:
        """Return them as events name them."""
        return Actor(f"user:{self.name}", Origin.CONSOLE)


Handler = Callable[[Request], Awaitable[Response]]
Page = Callable[[Request, Services, User], Awaitable[Response]]


async def user_of(request: Request, services: Services) -> User | None:
    """Return who has signed in; None if nobody has, or their token is not valid any more."""
    secret = request.cookies.get(COOKIE)
    return await user_with(secret, services) if secret else None


async def user_with(secret: str, services: Services) -> User | None:
    """Return whom a token belongs to; None if it is not valid."""
    found = await services.db.read(lambda conn: tokens.find(conn, secret, now_us=services.now_us()))
    return User(found.name, found.scope) if found else None


def page(services: Services, show: Page) -> Handler:
    """Make a handler of a page: it asks for a sign-in, and shows an error of ours as a page."""

    @wraps(show)
    async def handler(request: Request) -> Response:
        user = await user_of(request, services)
        if user is None:
            return _ask_to_sign_in(request)
        try:
            if request.method == "POST":
                refuse_foreign(request)
                if not user.may_work:
                    raise Refused("your token may only look", hint="Sign in with a token of the scope technician.")
            return await show(request, services, user)
        except FleetError as error:
            status = STATUS.get(type(error), HTTPStatus.BAD_REQUEST)
            return render("error.html", status, user=user, error=error)

    return handler


def _ask_to_sign_in(request: Request) -> Response:
    """Send a person to the sign-in and then back; a script is told, for it cannot follow to another page."""
    if request.method == "GET":
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    else:
        here = urlsplit(request.headers.get("referer", "")).path or "/"
    address = f"/login?next={quote(here)}"
    if "hx-request" in request.headers:
        return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": address})
    if request.url.path.startswith("/console/"):
        return Response(status_code=HTTPStatus.UNAUTHORIZED)
    return RedirectResponse(address, HTTPStatus.SEE_OTHER)


def refuse_foreign(request: Request) -> None:
    """Raise Refused if a form was not sent by a page of ours."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    foreign = site not in {"same-origin", "none"} if site else origin and urlsplit(origin).netloc != request.url.netloc
    if foreign:
        raise Refused("this form was sent from another site", hint="Open the page here and try again.")


async def form(request: Request) -> Mapping[str, str]:
    """Read a form; raises Invalid if it is too large."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise Invalid(f"the form has more than {MAX_FORM_BYTES} bytes", hint="Shorten the text.")
    try:
        return {key: words.strip() for key, words in parse_qsl(body.decode(), max_num_fields=MAX_FIELDS)}
    except ValueError as error:
        raise Invalid("the form could not be read") from error


def sign_in(secret: str, services: Services, onward: str) -> Response:
    """Give the browser its cookie and send it on to a page of ours."""
    inside = onward.startswith("/") and not onward.startswith(("//", "/\\"))
    response = RedirectResponse(onward if inside else "/", HTTPStatus.SEE_OTHER)
    response.set_cookie(
        COOKIE, secret, max_age=COOKIE_S, httponly=True, samesite="strict", secure=services.secure_cookie, path="/"
    )
    return response


def sign_out() -> Response:
    """Take the cookie back."""
    response = RedirectResponse("/login", HTTPStatus.SEE_OTHER)
    response.delete_cookie(COOKIE, path="/")
    return response
