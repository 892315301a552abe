"""A device whose certificate has ended, against a real server: renewal is its one way in, and only for the grace."""

import asyncio
import base64
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiomqtt
import gate
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from gate import Device, Gate, json_of

from fleet.gateway import ca

REENROLL = "/.well-known/est/simplereenroll"


def aged(gated: Gate, device: Device, days: float) -> Device:
    """Return the same device with a certificate that the fleet issued long ago, and that ended `days` ago."""
    authority = ca.load_authority(gated.ca.parent, datetime.now(UTC))
    issued = datetime.now(UTC) - ca.DEVICE_LIFE - timedelta(days=days)
    old = authority.issue_device(gate.make_csr(device.key), device.id, issued)
    fingerprint = ca.fingerprint(old.public_bytes(Encoding.DER))
    times = (ca.to_us(old.not_valid_before_utc), ca.to_us(old.not_valid_after_utc))
    with sqlite3.connect(gated.data / "fieldline.db", timeout=30) as db:
        db.execute(
            "INSERT INTO certificate (fingerprint, device_id, serial_number, not_before_us, not_after_us) "
            "VALUES (?, ?, ?, ?, ?)",
            (fingerprint, device.id, f"{old.serial_number:x}", *times),
        )
    db.close()
    return Device(gated, device.key, old)


async def renew(device: Device) -> tuple[int, dict[str, object], x509.Certificate | None]:
    async with device.https() as client:
        answer = await client.post(
            REENROLL, content=base64.b64encode(gate.make_csr(device.key).public_bytes(Encoding.DER))
        )
    if answer.status_code != 200:
        return answer.status_code, json_of(answer), None
    (certificate,) = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.text))
    return 200, {}, certificate


def test_an_ended_certificate_renews_within_the_grace_and_the_fleet_is_told(tmp_path: Path):
    async def story() -> None:
        async with gate.running(tmp_path) as gated:
            late = aged(gated, await gated.enrol(), days=100)
            refused = await late.sync(late.batch())
            with pytest.raises(aiomqtt.MqttError):
                async with late.linked():
                    pass
            status, _, certificate = await renew(late)
            events = await gated.get(f"/events?device={late.id}&kind=device.renewed_late")

            assert (refused.status_code, json_of(refused)["type"]) == (403, "/problems/certificate-expired")
            assert status == 200
            assert certificate is not None
            assert [one["kind"] for one in events["items"]] == ["device.renewed_late"]
            back = Device(gated, late.key, certificate)
            assert (await back.sync(back.batch())).status_code == 200

    asyncio.run(story())


def test_beyond_the_grace_or_revoked_it_needs_a_claim_and_is_told_the_command(tmp_path: Path):
    async def story() -> None:
        async with gate.running(tmp_path, renewal_grace_days=30) as gated:
            within = await gated.enrol("freezer-a")
            status, problem, _ = await renew(aged(gated, within, days=31))
            revoked = aged(gated, await gated.enrol("freezer-b"), days=3)
            await gated.post("/devices/freezer-b/revoke", reason="lost")
            revoked_status, revoked_problem, _ = await renew(revoked)

            assert (status, problem["type"]) == (403, "/problems/certificate-expired")
            assert "fleet claim create --product freezer --device freezer-a" in str(problem["hint"])
            assert (revoked_status, revoked_problem["type"]) == (403, "/problems/certificate-revoked")
            assert "fleet-agent enroll CLAIM --force" in str(revoked_problem["hint"])

    asyncio.run(story())


def test_an_ended_certificate_without_its_key_or_of_another_root_gets_nowhere(tmp_path: Path):
    async def story() -> None:
        async with gate.running(tmp_path) as gated:
            device = await gated.enrol()
            other = ca.load_authority(tmp_path / "other", datetime.now(UTC))
            forged = other.issue_device(gate.make_csr(device.key), device.id, datetime.now(UTC) - timedelta(days=100))
            with pytest.raises(httpx.TransportError):
                await renew(Device(gated, device.key, forged))

    asyncio.run(story())
