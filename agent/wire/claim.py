"""The claim: the one string that a new device needs, short enough for a QR code.

    fl1/<host>:<port>/<fingerprint>/<secret>

`fingerprint` is the SHA-256 of the fleet CA's certificate (DER) and `secret` 16 random bytes, both base64url without
padding. The parts of fixed length come last, so a claim that was cut short while copying is told apart from a wrong
one. No character of it means anything to a shell.
"""

import base64
import binascii
from dataclasses import dataclass

PREFIX = "fl1"
SECRET_BYTES = 16
FINGERPRINT_BYTES = 32


class ClaimError(ValueError):
    """The string is not a claim; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A parsed claim: where the fleet is, how to know it, and the right to join it once."""

    host: str
    port: int
    ca_fingerprint: bytes
    secret: bytes

    def __str__(self) -> str:
        """Return the claim as one string, as printed in a QR code."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{PREFIX}/{host}:{self.port}/{_encode(self.ca_fingerprint)}/{_encode(self.secret)}"


def parse_claim(text: str) -> Claim:
    """Parse a claim string; raises ClaimError."""
    parts = text.strip().split("/")
    if parts[0] != PREFIX:
        msg = f"a claim starts with '{PREFIX}/'; this starts with {parts[0][:12]!r}"
        raise ClaimError(msg)
    if len(parts) != 4:  # noqa: PLR2004 - prefix, server, fingerprint, secret
        msg = f"a claim has four parts separated by '/'; this has {len(parts)}, so part of it was lost in copying"
        raise ClaimError(msg)
    host, _, port = parts[1].rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:  # noqa: PLR2004 - a TCP port
        msg = f"the claim's server {parts[1]!r} is not host:port"
        raise ClaimError(msg)
    return Claim(
        host=host.removeprefix("[").removesuffix("]"),
        port=int(port),
        ca_fingerprint=_decode(parts[2], FINGERPRINT_BYTES, "CA fingerprint"),
        secret=_decode(parts[3], SECRET_BYTES, "secret"),
    )


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str, size: int, what: str) -> bytes:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != size:
        msg = f"the claim's {what} is not {size} bytes of base64url, so part of it was lost in copying"
        raise ClaimError(msg)
    return data
