"""Enrolment for real: EST over TLS, with clients that are not ours (openssl) and bodies that are not requests."""

import asyncio
import base64
import hashlib
import secrets
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from gate import Gate, basic, json_of, make_csr, running

from agent.wire.claim import Claim

openssl = shutil.which("openssl")


def _body(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return base64.b64encode(make_csr(key).public_bytes(Encoding.DER))


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


async def _problem(gate: Gate, claim: Claim | None, body: bytes | None = None) -> tuple[int, str]:
    answer = await gate.est("simpleenroll", _body(_key()) if body is None else body, claim)
    said = json_of(answer)
    assert answer.headers["content-type"] == "application/problem+json"
    assert said["detail"]
    assert said["hint"]
    return answer.status_code, said["type"].rpartition("/")[2]


@pytest.mark.skipif(openssl is None, reason="openssl, the independent client, is not installed")
def test_a_client_that_is_not_ours_enrols_with_openssl_alone(tmp_path: Path):
    def run(*arguments: str, text: bytes = b"") -> bytes:
        done = subprocess.run([str(openssl), *arguments], input=text, capture_output=True, check=True, cwd=tmp_path)
        return done.stdout

    async def story() -> None:
        async with running(tmp_path) as gate:
            claim = await gate.claim()
            run("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "key.pem")
            run("req", "-new", "-key", "key.pem", "-subj", "/CN=admin/O=Evil", "-outform", "DER", "-out", "csr.der")
            body = base64.encodebytes((tmp_path / "csr.der").read_bytes())
            async with gate.anonymous() as client:
                roots = await client.get("/.well-known/est/cacerts")
            answer = await gate.est("simpleenroll", body, claim)

            assert roots.headers["content-type"] == "application/pkcs7-mime"
            assert answer.headers["content-type"] == "application/pkcs7-mime; smime-type=certs-only"
            assert answer.headers["content-transfer-encoding"] == "base64"
            for name, response in (("ca", roots), ("device", answer)):
                der = run("base64", "-d", text=response.content)
                pem = run("pkcs7", "-inform", "DER", "-print_certs", text=der)
                (tmp_path / f"{name}.pem").write_bytes(pem)
            run("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", "ca.pem", "device.pem")
            told = run("x509", "-in", "device.pem", "-noout", "-text").decode()
            fingerprint = run("x509", "-in", "ca.pem", "-outform", "DER")

            assert "Subject: CN = freezer-" in told or "Subject: CN=freezer-" in told
            assert "Evil" not in told
            assert "TLS Web Client Authentication" in told
            assert "TLS Web Server Authentication" not in told
            assert "CA:FALSE" in told
            assert hashlib.sha256(fingerprint).digest() == claim.ca_fingerprint

    asyncio.run(story())


def test_a_claim_is_good_once_and_for_the_same_key_again_after_a_lost_answer(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as gate:
            claim, key = await gate.claim(device="freezer-one"), _key()
            first = await gate.est("simpleenroll", _body(key), claim)
            again = await gate.est("simpleenroll", _body(key), claim)
            other = await _problem(gate, claim)
            devices = await gate.get("/devices")
            enrolled = await gate.get("/events?kind=device.enrolled")

            assert (first.status_code, again.status_code) == (200, 200)
            assert other == (403, "claim-used")
            assert [device["id"] for device in devices["items"]] == ["freezer-one"]
            assert len(enrolled["items"]) == 1

    asyncio.run(story())


def test_of_many_that_show_one_claim_at_the_same_moment_one_gets_in(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as gate:
            claim = await gate.claim()
            answers = await asyncio.gather(*(gate.est("simpleenroll", _body(_key()), claim) for _ in range(8)))

            assert sorted(answer.status_code for answer in answers) == [200] + [403] * 7

    asyncio.run(story())


def test_each_claim_that_is_not_good_is_told_apart(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as gate:
            claim = await gate.claim()
            unknown = Claim(claim.host, claim.port, claim.ca_fingerprint, secrets.token_bytes(16))
            short = await gate.claim(expires_s=60)
            taken_one, taken_two = await gate.claim(device="freezer-x"), await gate.claim(device="freezer-x")
            await gate.est("simpleenroll", _body(_key()), taken_one)

            assert await _problem(gate, unknown) == (401, "claim-unknown")
            assert await _problem(gate, None) == (401, "claim-unknown")
            assert await _problem(gate, taken_two) == (403, "device-exists")
            assert (await gate.est("simpleenroll", _body(_key()), short)).status_code == 200

    asyncio.run(story())


def test_a_body_that_is_no_good_request_uses_up_no_claim(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as gate:
            claim = await gate.claim()
            good = base64.b64decode(_body(_key()))
            forged = good[:-4] + bytes(4)
            weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the case
            bodies = [
                b"",
                b"!!!",
                secrets.token_bytes(300),
                base64.b64encode(secrets.token_bytes(300)),
                base64.b64encode(good[:-10]),
                base64.b64encode(forged),
                _body(weak),
            ]

            for body in bodies:
                assert await _problem(gate, claim, body) == (400, "invalid")
            assert await _problem(gate, claim, bytes(20_000)) == (413, "too-large")
            assert (await gate.est("simpleenroll", _body(_key()), claim)).status_code == 200

    asyncio.run(story())


def test_a_device_renews_over_its_certificate_and_both_are_good(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as gate:
            device = await gate.enrol()
            async with device.https() as client:
                renewed = await client.post("/.well-known/est/simplereenroll", content=_body(_key()))
            nobody = await gate.est("simplereenroll", _body(_key()))
            shown = await gate.get(f"/devices/{device.id}")
            events = await gate.get(f"/events?device={device.id}&kind=device.renewed")

            assert renewed.status_code == 200
            assert (nobody.status_code, json_of(nobody)["type"]) == (401, "/problems/certificate-required")
            assert len(shown["certificates"]) == 2
            assert len(events["items"]) == 1
            assert (await device.sync(device.batch())).status_code == 200

    asyncio.run(story())


def test_a_revoked_device_renews_nothing_and_comes_back_with_a_new_claim_only(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as gate:
            device = await gate.enrol("freezer-x")
            async with gate.api() as api:
                early = await api.post("/claims", json={"product": "freezer", "device": "freezer-x"})
            await gate.post("/devices/freezer-x/revoke", reason="lost")
            async with device.https() as client:
                renewed = await client.post("/.well-known/est/simplereenroll", content=_body(_key()))
            back = await gate.enrol("freezer-x")

            assert early.status_code == 409
            assert (renewed.status_code, json_of(renewed)["type"]) == (403, "/problems/certificate-revoked")
            assert (await device.sync(device.batch())).status_code == 403
            assert (await back.sync(back.batch())).status_code == 200

    asyncio.run(story())


def test_who_has_no_good_claim_or_certificate_is_told_while_nobody_can_write(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as gate:
            claim, device = await gate.claim(), await gate.enrol("freezer-x")
            await gate.post("/devices/freezer-x/revoke", reason="lost")
            unknown = Claim(claim.host, claim.port, claim.ca_fingerprint, secrets.token_bytes(16))
            with closing(sqlite3.connect(gate.data / "fieldline.db", timeout=30, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")

                assert await _problem(gate, unknown) == (401, "claim-unknown")
                async with device.https() as client:
                    renewed = await client.post("/.well-known/est/simplereenroll", content=_body(_key()))
                assert (renewed.status_code, json_of(renewed)["type"]) == (403, "/problems/certificate-revoked")

    asyncio.run(story())


def test_a_claim_for_a_name_that_the_certificate_lacks_is_refused_at_once(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path, names=("fleet.example",)) as gate:
            claim = await gate.claim()
            local = await gate.claim(server="localhost:9000")
            async with gate.api() as api:
                other = await api.post("/claims", json={"product": "freezer", "server": "elsewhere.example"})

            assert (claim.host, claim.port) == ("fleet.example", gate.ports["gateway"])
            assert (local.host, local.port) == ("localhost", 9000)
            assert other.status_code == 422
            assert "--name elsewhere.example" in other.text

    asyncio.run(story())


def test_the_claim_itself_is_kept_nowhere(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as gate:
            claim = await gate.claim()
            _, secret = basic(claim)
        kept = b"".join(path.read_bytes() for path in gate.data.rglob("*") if path.is_file())

        assert claim.secret not in kept
        assert secret.encode() not in kept

    asyncio.run(story())
