"""What nats-server asks before it lets a device in, and the answer: its auth callout, in values.

A connection with a client certificate that TLS has verified arrives as a JWT on `$SYS.REQ.USER.AUTH`; the answer is a
JWT that holds either an error or a user JWT with everything that this one connection may do. Both are signed with an
account key that lives as long as one start of the broker, or is that of all nodes of a cluster. Format: NATS ADR-26,
JWT library v2, nkeys (base32 of prefix, Ed25519 public key, CRC-16/XMODEM).

A device may publish its four leaves below `fleet.<device>.up` and hear `fleet.<device>.down`: MQTT's `down/#` is the
subjects `down` and `down.>`. Everything else is refused by the broker itself, so nothing of it reaches the fleet.
"""

import base64
import binascii
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.wire.topics import Up, down_all, subject, up

SUBJECT = "$SYS.REQ.USER.AUTH"
MAX_SUBSCRIPTIONS = 16  # of one device's connection: an agent has one
MAX_REQUEST_BYTES = 256 * 1024

_ACCOUNT_PREFIX = b"\x00"  # base32 of it starts with "A"
_HEADER = base64.urlsafe_b64encode(b'{"typ":"JWT","alg":"ed25519-nkey"}').rstrip(b"=") + b"."


class CalloutError(ValueError):
    """The request is not one that a device's connection makes; the message says why."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A connection that asks to come in."""

    server_id: str
    user_key: str  # made by the broker for this connection
    host: str  # the peer's address, for the log
    client_id: str  # of MQTT
    certificate: bytes  # DER, verified by TLS against the fleet's root


class Issuer:
    """The account key that signs answers, and its name in the broker's configuration."""

    def __init__(self, seed: bytes | None = None) -> None:
        self._key = Ed25519PrivateKey.generate() if seed is None else Ed25519PrivateKey.from_private_bytes(seed)
        raw = _ACCOUNT_PREFIX + self._key.public_key().public_bytes_raw()
        self.name = base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).decode()

    def grant(self, asking: Asking, device_id: str, account: str, *, now_s: int, until_s: int) -> bytes:
        """Let the connection in as the device, until its certificate ends."""
        user = {
            "iss": self.name,
            "iat": now_s,
            "exp": until_s,
            "sub": asking.user_key,
            "aud": account,
            "name": device_id,
            "nats": {
                "type": "user",
                "version": 2,
                "pub": {"allow": [subject(up(device_id, leaf)) for leaf in Up]},
                "sub": {"allow": [_parent(device_id), subject(down_all(device_id))]},
                "subs": MAX_SUBSCRIPTIONS,
                "data": -1,
                "payload": -1,
                "allowed_connection_types": ["MQTT"],
            },
        }
        return self._answer(asking, {"jwt": self._sign(user).decode()}, now_s)

    def refuse(self, asking: Asking, reason: str, *, now_s: int) -> bytes:
        """Send the connection away; the reason goes to the broker's log."""
        return self._answer(asking, {"error": reason}, now_s)

    def _answer(self, asking: Asking, outcome: Mapping[str, str], now_s: int) -> bytes:
        claims = {
            "iss": self.name,
            "iat": now_s,
            "sub": asking.user_key,
            "aud": asking.server_id,
            "nats": {"type": "authorization_response", "version": 2, **outcome},
        }
        return self._sign(claims)

    def _sign(self, claims: Mapping[str, object]) -> bytes:
        text = _HEADER + _base64url(msgspec.json.encode(claims))
        return text + b"." + _base64url(self._key.sign(text))


class _Named(msgspec.Struct):
    id: str


class _Client(msgspec.Struct):
    host: str = ""
    mqtt_id: str = ""


class _Tls(msgspec.Struct):
    verified_chains: list[list[str]] | None = None


class _Request(msgspec.Struct):
    server_id: _Named
    user_nkey: str
    client_info: _Client
    client_tls: _Tls | None = None


class _Claims(msgspec.Struct):
    nats: _Request


_decoder = msgspec.json.Decoder(_Claims)


def read_request(data: bytes) -> Asking:
    """Read an authorization request; raises CalloutError if no verified certificate came with it.

    Its signature is not checked: it comes over the fleet's own connection, on a subject that only the server may use.
    """
    try:
        asked = _decoder.decode(_from_base64url(data[:MAX_REQUEST_BYTES].split(b".")[1])).nats
        chains = (asked.client_tls and asked.client_tls.verified_chains) or [[""]]
        return Asking(
            server_id=asked.server_id.id,
            user_key=asked.user_nkey,
            host=asked.client_info.host,
            client_id=asked.client_info.mqtt_id,
            certificate=ssl.PEM_cert_to_DER_cert(chains[0][0]) if chains[0][0] else b"",
        )
    except (ValueError, IndexError) as error:
        raise CalloutError(f"an authorization request that cannot be read: {error!r}") from error


def _parent(device_id: str) -> str:
    """Return `fleet.<device>.down`, which MQTT's `down/#` includes."""
    return subject(down_all(device_id)).removesuffix(".>")


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _from_base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64decode(data + b"=" * (-len(data) % 4))
