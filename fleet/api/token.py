"""Tokens: access for people and programs."""

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field, StringConstraints

from agent.wire.units import US_PER_S
from fleet.api import page
from fleet.api.access import Admin, Given, Reader
from fleet.api.page import Cursor, Limit, Model, Page
from fleet.api.problem import responses
from fleet.api.times import iso, iso_or_none
from fleet.core.actor import Scope
from fleet.store import token
from fleet.store.token import Token

router = APIRouter(tags=["tokens"])

MAX_EXPIRES_S = 3660 * 86_400
NAME = r"^[A-Za-z0-9][A-Za-z0-9 ._@+-]*$"


class NewToken(Model):
    """A token to make."""

    name: Annotated[str, StringConstraints(max_length=64, pattern=NAME)] = Field(
        examples=["ana"], description="Who acts by it; events say `user:<name>`."
    )
    scope: Scope = Field(Scope.READ, description="Each includes the one before: read, technician, admin.")
    expires_s: int | None = Field(None, ge=1, le=MAX_EXPIRES_S, description="Seconds; for ever if not said.")


class TokenItem(Model):
    """One token, without its secret."""

    id: int
    name: str
    scope: Scope
    created: str
    created_us: int
    expires: str | None
    expires_us: int | None
    revoked: str | None
    revoked_us: int | None


class TokenMade(TokenItem):
    """A token that was just made."""

    token: str = Field(description="Shown once, kept nowhere.")


class Who(Model):
    """Who the token makes you."""

    name: str
    scope: Scope
    actor: str
    server_version: str
    server_us: int
    server_time: str


@router.get("/tokens", responses=responses(401, 403, 422))
async def list_tokens(services: Given, _caller: Admin, limit: Limit = 100, cursor: Cursor = None) -> Page[TokenItem]:
    """List tokens, the ended ones too; never their secrets."""
    after = page.decode_number(cursor) or 0
    found = await services.db.read(lambda conn: token.rows(conn, after=after, limit=limit))
    return page.page_of([_item(one) for one in found], limit, found[-1].id if found else None)


@router.post("/tokens", status_code=201, responses=responses(401, 403, 422))
async def make_token(services: Given, caller: Admin, new: NewToken) -> TokenMade:
    """Make a token; its secret is in this answer and nowhere else."""
    now_us = services.now_us()
    expires_us = None if new.expires_s is None else now_us + new.expires_s * US_PER_S
    secret, made = await services.db.write(
        lambda conn: token.create(conn, new.name, new.scope, now_us=now_us, by=caller.actor, expires_us=expires_us)
    )
    return TokenMade(**dict(_item(made)), token=secret)


@router.delete("/tokens/{token_id}", responses=responses(401, 403, 404, 422))
async def revoke_token(
    services: Given, caller: Admin, token_id: Annotated[int, Path(ge=1, le=2**63 - 1, examples=[3])]
) -> TokenItem:
    """End a token's validity, at once; a second time changes nothing."""
    now_us = services.now_us()
    return _item(await services.db.write(lambda conn: token.revoke(conn, token_id, now_us=now_us, by=caller.actor)))


@router.get("/whoami", responses=responses(401, 403, 422))
async def whoami(services: Given, caller: Reader) -> Who:
    """Say who the token makes you, and the server's version and time."""
    now_us = services.now_us()
    return Who(
        name=caller.token.name,
        scope=caller.token.scope,
        actor=caller.actor.id,
        server_version=services.version,
        server_us=now_us,
        server_time=iso(now_us),
    )


def _item(one: Token) -> TokenItem:
    return TokenItem(
        id=one.id,
        name=one.name,
        scope=one.scope,
        created=iso(one.created_us),
        created_us=one.created_us,
        expires=iso_or_none(one.expires_us),
        expires_us=one.expires_us,
        revoked=iso_or_none(one.revoked_us),
        revoked_us=one.revoked_us,
    )
