"""Giving out claims: what the API asks when a person prepares a machine."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from agent.wire.claim import Claim
from fleet.clock import now_us
from fleet.core.actor import Actor
from fleet.errors import Invalid
from fleet.gateway.ca import Authority
from fleet.services import ClaimRequest, IssuedClaim
from fleet.store import claim
from fleet.store.database import Database


@dataclass(frozen=True, slots=True)
class ClaimIssuer:
    """Implements `fleet.services.IssueClaims`."""

    db: Database
    authority: Authority
    names: tuple[str, ...]  # that the server's certificate carries; the first is the default
    port: int  # of the gateway

    async def __call__(self, requests: Sequence[ClaimRequest], by: Actor) -> Sequence[IssuedClaim]:
        """Issue claims in one transaction; raises Invalid and Refused, and then there is none."""
        servers = [self._server(request.server) for request in requests]

        def work(conn: Connection) -> list[IssuedClaim]:
            return [self._issue(conn, *server, request, by) for server, request in zip(servers, requests, strict=True)]

        return await self.db.write(work)

    def _issue(self, conn: Connection, host: str, port: int, request: ClaimRequest, by: Actor) -> IssuedClaim:
        secret, made = claim.create(
            conn,
            request.product,
            device_id=request.device,
            serial=request.serial,
            site=request.site,
            customer_id=request.customer,
            expires_s=request.expires_s,
            now_us=now_us(),
            by=by,
        )
        return IssuedClaim(
            claim=str(Claim(host, port, self.authority.fingerprint, secret)),
            device=made.device_id,
            product=made.product,
            serial=made.serial,
            site=made.site,
            expires_us=made.expires_us,
        )

    def _server(self, asked: str | None) -> tuple[str, int]:
        """Return host and port that the device shall call; raises Invalid where TLS would not pass."""
        if not asked:
            return self.names[0], self.port
        host, port = asked, ""
        if asked.startswith("["):
            host, _, port = asked[1:].partition("]")
            port = port.removeprefix(":")
        elif asked.count(":") == 1:
            host, _, port = asked.partition(":")
        if (port and not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65536)) or not host:  # noqa: PLR2004 - a TCP port
            raise Invalid(f"the server {asked!r} is not host or host:port")
        if host not in self.names:
            raise Invalid(
                f"the server's certificate does not carry the name {host!r}, so the device would refuse it",
                hint=f"Start the server with --name {host}, or use one of: {', '.join(self.names)}",
            )
        return host, int(port) if port else self.port
