"""Enrolment over Secure Transport: EST, RFC 7030 (with RFC 8951's base64), so that any EST client can enrol.

    GET  /.well-known/est/cacerts          nothing shown       the root, PKCS#7 certs-only
    POST /.well-known/est/simpleenroll     Basic claim:secret  PKCS#10 in, the device's certificate out
    POST /.well-known/est/simplereenroll   certificate (mTLS)  the same, for a device that is in, or was a while ago

Bodies are base64. A claim is used and the certificate recorded in one transaction, so a crash in between costs
nothing; a lost answer is asked for again with the same key. Whoever comes with no good claim or certificate is told
so by a reader: strangers cost the writer nothing.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.wire.claim import SECRET_BYTES
from fleet.clock import now_us
from fleet.errors import Invalid, Unauthenticated
from fleet.gateway import ca
from fleet.gateway.body import read_body
from fleet.gateway.peer import peer_of
from fleet.store import certificate, claim
from fleet.store.database import Database

PATH = "/.well-known/est"
USER = "claim"
MAX_CSR_BYTES = 16 * 1024  # of the body: a request for an RSA-4096 key with extensions has under 4 KiB


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The EST routes."""

    db: Database
    authority: ca.Authority
    grace_us: int = 0  # after a certificate's end, in which it may still be renewed

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(f"{PATH}/cacerts", self.cacerts, methods=["GET"]),
            Route(f"{PATH}/simpleenroll", self.simpleenroll, methods=["POST"]),
            Route(f"{PATH}/simplereenroll", self.simplereenroll, methods=["POST"]),
        ]

    async def cacerts(self, _request: Request) -> Response:
        """Hand out the root (RFC 7030 section 4.1); a client checks it against its claim's fingerprint."""
        return _pkcs7(self.authority.certificate, "application/pkcs7-mime")

    async def simpleenroll(self, request: Request) -> Response:
        """Take a claim and a CSR, give a certificate (RFC 7030 section 4.2.1)."""
        secret = _secret(request.headers.get("authorization", ""))
        csr = ca.read_csr(_from_base64(await read_body(request, MAX_CSR_BYTES)))
        key_hash = hashlib.sha256(ca.spki(csr.public_key())).hexdigest()
        await self.db.read(lambda conn: claim.check(conn, secret, key_hash=key_hash, now_us=now_us()))

        def work(conn: Connection) -> x509.Certificate:
            now = now_us()
            used = claim.use(conn, secret, key_hash=key_hash, now_us=now)
            made = self.authority.issue_device(csr, used.claim.device_id, datetime.now(UTC))
            certificate.enrol(conn, used.claim, _row(made, used.claim.device_id), now_us=now, again=used.again)
            return made

        return _pkcs7(await self.db.write(work), "application/pkcs7-mime; smime-type=certs-only")

    async def simplereenroll(self, request: Request) -> Response:
        """Give a device that is in a new certificate, for the same key or a new one (RFC 7030 section 4.2.2).

        The one route where a certificate whose end is past is taken: for `grace_us`, and with the fleet told.
        """
        shown = fingerprint_shown(request)
        csr = ca.read_csr(_from_base64(await read_body(request, MAX_CSR_BYTES)))
        await self.db.read(lambda conn: certificate.check(conn, shown, now_us=now_us(), grace_us=self.grace_us))

        def work(conn: Connection) -> x509.Certificate:
            now = now_us()
            device_id = certificate.device_of(conn, shown, now_us=now, grace_us=self.grace_us)
            made = self.authority.issue_device(csr, device_id, datetime.now(UTC))
            certificate.renew(conn, shown, _row(made, device_id), now_us=now, grace_us=self.grace_us)
            return made

        return _pkcs7(await self.db.write(work), "application/pkcs7-mime; smime-type=certs-only")


def fingerprint_shown(request: Request) -> str:
    """Return the fingerprint of the certificate that the peer proved to hold; raises Unauthenticated."""
    der = peer_of(request.scope)
    if der is None:
        raise Unauthenticated(
            "this needs the device's certificate, and none was shown",
            hint="Enrol the device first: fleet-agent enroll CLAIM",
        )
    return ca.fingerprint(der)


def _secret(header: str) -> bytes:
    """Read the claim's secret from `Authorization: Basic base64(claim:<base64url>)` (RFC 7617)."""
    scheme, _, encoded = header.partition(" ")
    try:
        user, _, text = base64.b64decode(encoded, validate=True).decode("ascii").partition(":")
        secret = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        user, secret = "", b""
    if scheme.lower() != "basic" or user != USER or len(secret) != SECRET_BYTES:
        raise claim.ClaimUnknown(
            "enrolment needs a claim, and none was shown",
            hint=f"Use HTTP Basic with the user {USER!r} and the last part of the claim as password.",
        )
    return secret


def _from_base64(body: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid("the body is not base64", hint="Send the DER of the PKCS#10 as base64 (RFC 7030).") from error


def _pkcs7(made: x509.Certificate, media_type: str) -> Response:
    der = pkcs7.serialize_certificates([made], Encoding.DER)
    headers = {"Content-Transfer-Encoding": "base64", "Cache-Control": "no-store"}
    return Response(base64.encodebytes(der), headers=headers, media_type=media_type)


def _row(made: x509.Certificate, device_id: str) -> certificate.Certificate:
    return certificate.Certificate(
        fingerprint=ca.fingerprint(made.public_bytes(Encoding.DER)),
        device_id=device_id,
        serial_number=f"{made.serial_number:x}",
        not_before_us=ca.to_us(made.not_valid_before_utc),
        not_after_us=ca.to_us(made.not_valid_after_utc),
    )
