"""The claim string: what a QR code holds."""

import pytest

from agent.wire.claim import Claim, ClaimError, parse_claim

CLAIM = Claim("fleet.example", 8443, bytes(range(32)), bytes(range(16)))


@pytest.mark.parametrize("host", ["fleet.example", "127.0.0.1", "::1"])
def test_a_claim_survives_being_printed(host: str):
    claim = Claim(host, 8443, bytes(range(32)), bytes(range(16)))

    assert parse_claim(f" {claim}\n") == claim


def test_a_claim_needs_no_quotes_in_a_shell():
    assert not set(str(CLAIM)) & set(" \"'$&|;<>()*?#!~`\\")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("http://fleet.example", "starts with"),
        ("", "starts with"),
        (str(CLAIM)[:-1], "secret is not 16 bytes"),
        (str(CLAIM).rsplit("/", 1)[0], "lost in copying"),
        (str(CLAIM).replace(":8443", ""), "not host:port"),
        (str(CLAIM).replace("8443", "99999"), "not host:port"),
        (str(CLAIM)[:-3] + "ä=!", "secret is not"),
    ],
)
def test_a_broken_claim_says_what_is_wrong(text: str, problem: str):
    with pytest.raises(ClaimError, match=problem):
        parse_claim(text)
