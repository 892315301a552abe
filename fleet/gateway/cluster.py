"""What the nodes of one fleet share in secret: all of it comes from one file, the cluster key.

    broker       the password with which nodes come into each other's broker
    callout      the key that signs what a device may do on the link, so that it stays one over restarts
    authority    seals the root's private key in the database (AES-256-GCM, bound to the root's certificate)

Each is derived with HKDF (RFC 5869, SHA-256), so none tells of another. The file is 32 random bytes or more in base64
(`openssl rand -base64 32`), the same on each node and nowhere else: neither the database nor its backups hold it.
"""

import base64
import binascii
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fleet.errors import Misconfigured

LEAST_BYTES = 32
NONCE_BYTES = 12
MAKE = "Make one with `openssl rand -base64 32`, and give every node the same."


@dataclass(frozen=True, slots=True, repr=False)
class ClusterKey:
    """The secret of a fleet of several nodes."""

    secret: bytes

    @property
    def password(self) -> str:
        """With which nodes come into each other's broker."""
        return base64.urlsafe_b64encode(self._derive(b"broker")).decode()

    @property
    def callout_seed(self) -> bytes:
        """Private key (Ed25519, 32 bytes) of the callout's answers."""
        return self._derive(b"callout")

    def seal(self, plain: bytes, about: bytes) -> bytes:
        """Encrypt what the database keeps; `about` has to be the same to open it."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(self._derive(b"authority")).encrypt(nonce, plain, about)

    def open(self, sealed: bytes, about: bytes) -> bytes:
        """Decrypt what `seal` made; raises Misconfigured where this is not the key that sealed it."""
        try:
            return AESGCM(self._derive(b"authority")).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], about)
        except InvalidTag as error:
            raise Misconfigured(
                "the cluster key is not the one with which this database's root was sealed",
                hint="Give every node the file that the first one had; without it restore ca.key from a backup.",
            ) from error

    def _derive(self, purpose: bytes) -> bytes:
        return HKDF(SHA256(), 32, salt=None, info=b"fieldline cluster " + purpose).derive(self.secret)


def read_key(path: Path) -> ClusterKey:
    """Read the key's file; raises Misconfigured."""
    try:
        secret = base64.b64decode(path.read_text().strip(), validate=True)
    except (OSError, UnicodeDecodeError, binascii.Error) as error:
        raise Misconfigured(f"the cluster key {path} cannot be read: {error}", hint=MAKE) from error
    if len(secret) < LEAST_BYTES:
        raise Misconfigured(f"the cluster key {path} has {len(secret)} bytes, less than {LEAST_BYTES}", hint=MAKE)
    return ClusterKey(secret)
