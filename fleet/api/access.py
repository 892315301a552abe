"""Who calls: bearer tokens, their scopes, and the actor that events will name."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Header, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from fleet.api.problem import Forbidden
from fleet.core.actor import Actor, Scope
from fleet.core.event import Origin
from fleet.errors import Invalid, Unauthenticated
from fleet.services import Services
from fleet.store import token
from fleet.store.token import Token

bearer = HTTPBearer(auto_error=False, description="A token as `fleet token create` makes it: `flt_…`.")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request, by which token, through what."""

    token: Token
    actor: Actor

    def may(self, scope: Scope) -> bool:
        """Tell whether the token's scope includes another."""
        return self.token.scope.allows(scope)


def services_of(request: Request) -> Services:
    """Return what the composition root gave this app."""
    services: Services = request.app.state.services
    return services


async def known_parameters(request: Request) -> None:
    """Refuse a query parameter that the route does not have: a misspelt filter must not show everything."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute) or not request.query_params:
        return
    known = sorted(_query_names(route.dependant))
    for name in request.query_params:
        if name not in known:
            hint = f"This route knows: {', '.join(known)}." if known else "This route takes none."
            raise Invalid(f"{name[:64]!r} is no query parameter of this route", hint=hint)


def _query_names(dependant: Dependant) -> set[str]:
    names = {field.alias for field in dependant.query_params}
    return names.union(*(_query_names(inner) for inner in dependant.dependencies))


def requires(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    """Make the dependency of a route that needs a scope; it gives the caller."""

    async def caller(
        services: Annotated[Services, Depends(services_of)],
        shown: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
        origin: Annotated[
            Literal["console", "cli", "api"], Header(alias="X-Fieldline-Origin", description="Named in events.")
        ] = "api",
    ) -> Caller:
        if shown is None:
            hint = "Send `Authorization: Bearer flt_…`; the server's first token is in DATA/admin.token."
            raise Unauthenticated("this needs a token", hint=hint)
        secret = shown.credentials
        found = await services.db.read(lambda conn: token.find(conn, secret, now_us=services.now_us()))
        if found is None:
            raise Unauthenticated(
                "the token is not valid: unknown, expired or revoked", hint="Ask an admin for a new one."
            )
        if not found.scope.allows(scope):
            hint = "Use a token of that scope; `fleet token create` makes one."
            raise Forbidden(f"this needs the scope {scope}; the token {found.name!r} has {found.scope}", hint=hint)
        return Caller(found, Actor(f"user:{found.name}", Origin(origin)))

    return caller


Given = Annotated[Services, Depends(services_of)]
Reader = Annotated[Caller, Depends(requires(Scope.READ))]
Technician = Annotated[Caller, Depends(requires(Scope.TECHNICIAN))]
Admin = Annotated[Caller, Depends(requires(Scope.ADMIN))]
