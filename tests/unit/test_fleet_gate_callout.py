"""Answers to the broker's auth callout: what a device may do, signed so that it can be checked by hand."""

import base64
import binascii
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from fleet.gateway.callout import Asking, CalloutError, Issuer, read_request

ASKING = Asking("server", "UKEY", "10.0.0.7", "d1", b"der")


def _parts(token: bytes, issuer: Issuer) -> dict:
    """Check a JWT as NATS does, and return its claims."""
    head, body, signature = token.split(b".")
    raw = base64.b32decode(issuer.name)
    assert raw[:1] == b"\x00"
    assert binascii.crc_hqx(raw[:-2], 0).to_bytes(2, "little") == raw[-2:]
    Ed25519PublicKey.from_public_bytes(raw[1:-2]).verify(_bytes(signature), head + b"." + body)
    assert json.loads(_bytes(head)) == {"typ": "JWT", "alg": "ed25519-nkey"}
    return json.loads(_bytes(body))


def _bytes(text: bytes) -> bytes:
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def test_a_grant_opens_the_devices_own_topics_until_its_certificate_ends():
    issuer = Issuer()

    answer = _parts(issuer.grant(ASKING, "d1", "FLEET", now_s=100, until_s=900), issuer)
    user = _parts(answer["nats"]["jwt"].encode(), issuer)

    assert (answer["iss"], answer["sub"], answer["aud"]) == (issuer.name, "UKEY", "server")
    assert (user["sub"], user["aud"], user["name"], user["exp"]) == ("UKEY", "FLEET", "d1", 900)
    assert user["nats"]["pub"] == {"allow": [f"fleet.d1.up.{leaf}" for leaf in ("batch", "birth", "will", "live")]}
    assert user["nats"]["sub"] == {"allow": ["fleet.d1.down", "fleet.d1.down.>"]}
    assert user["nats"]["allowed_connection_types"] == ["MQTT"]


def test_a_refusal_carries_its_reason_and_no_rights():
    issuer = Issuer()

    answer = _parts(issuer.refuse(ASKING, "d1 was revoked", now_s=100), issuer)

    assert answer["nats"] == {"type": "authorization_response", "version": 2, "error": "d1 was revoked"}


def test_each_start_of_the_broker_has_a_key_of_its_own():
    assert Issuer().name != Issuer().name


def test_a_connection_without_a_certificate_is_read_as_one_that_has_none():
    claims = {"nats": {"server_id": {"id": "s"}, "user_nkey": "U", "client_info": {"host": "h"}}}
    data = b"h." + base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=") + b".s"

    assert read_request(data) == Asking("s", "U", "h", "", b"")


@given(
    st.one_of(
        st.binary(),
        st.recursive(
            st.none() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["nats", "client_info", "x"]), inner),
        ).map(lambda value: b"h." + base64.urlsafe_b64encode(json.dumps(value).encode()) + b".s"),
    )
)
def test_no_request_makes_it_raise_anything_else(data: bytes):
    with pytest.raises(CalloutError):
        read_request(data)
