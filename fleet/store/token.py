"""Tokens: bearer credentials of people and programs. Only the SHA-256 of a token is kept.

A token is `flt_` and 32 random bytes in base64url, so looking it up by its hash is the whole check: whoever can
make a hash meet one in the table has the token, and the comparison tells nothing by its time.
"""

import base64
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from fleet.core.actor import Actor, Scope
from fleet.core.event import Event
from fleet.errors import NotFound
from fleet.store import event
from fleet.store.schema import token

PREFIX = "flt_"
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Token:
    """One token, without its secret."""

    id: int
    name: str  # who acts: events carry `user:<name>`
    scope: Scope
    created_us: int
    expires_us: int | None
    revoked_us: int | None


def create(  # noqa: PLR0913 - one keyword a fact
    conn: Connection, name: str, scope: Scope, *, now_us: int, by: Actor, expires_us: int | None = None
) -> tuple[str, Token]:
    """Make a token; returns its secret, which is shown once, and what is kept of it. Appends `token.created`."""
    secret = PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(SECRET_BYTES)).rstrip(b"=").decode()
    values = {"name": name, "scope": scope.value, "created_us": now_us, "expires_us": expires_us}
    row = conn.execute(insert(token).values(hash=_hash(secret), **values).returning(token)).one()
    made = _token(row)
    event.append(conn, _event("token.created", made, now_us, by, f"Token {name} was created with scope {scope}."))
    return secret, made


def find(conn: Connection, secret: str, *, now_us: int) -> Token | None:
    """Return the valid token that has this secret; None if there is none, or it has expired or was revoked."""
    row = conn.execute(select(token).where(token.c.hash == _hash(secret))).one_or_none()
    if row is None or row.revoked_us is not None or (row.expires_us is not None and row.expires_us <= now_us):
        return None
    return _token(row)


def rows(conn: Connection, *, after: int = 0, limit: int = 100) -> Sequence[Token]:
    """Return tokens in order of id, the revoked ones too."""
    found = conn.execute(select(token).where(token.c.id > after).order_by(token.c.id).limit(limit))
    return [_token(row) for row in found]


def revoke(conn: Connection, token_id: int, *, now_us: int, by: Actor) -> Token:
    """End a token's validity from now on; revoking twice changes nothing. Raises NotFound."""
    row = conn.execute(select(token).where(token.c.id == token_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no token {token_id}", hint="List them with `fleet token list`.")
    if row.revoked_us is not None:
        return _token(row)
    row = conn.execute(update(token).where(token.c.id == token_id).values(revoked_us=now_us).returning(token)).one()
    ended = _token(row)
    event.append(conn, _event("token.revoked", ended, now_us, by, f"Token {ended.name} was revoked."))
    return ended


def _event(kind: str, about: Token, now_us: int, by: Actor, text: str) -> Event:
    data = {"name": about.name, "scope": about.scope.value}
    return Event(now_us, now_us, kind, "token", str(about.id), by.id, by.origin, text, data=data)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _token(row: Row[Any]) -> Token:
    return Token(row.id, row.name, Scope(row.scope), row.created_us, row.expires_us, row.revoked_us)
