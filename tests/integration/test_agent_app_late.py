"""The whole agent after a year in a cupboard, against a whole fleet."""

import re
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agents import call, running, until
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import Encoding
from fleet_process import enrolled, serving

from fleet.gateway import ca


def age(data: Path, state: Path, device: str, days: float) -> None:
    """Give the device in `state` a certificate that the fleet issued long ago, and that ended `days` ago."""
    authority = ca.load_authority(data / "ca", datetime.now(UTC))
    key = serialization.load_pem_private_key((state / "key.pem").read_bytes(), None)
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())  # type: ignore[arg-type] # EC
    old = authority.issue_device(request, device, datetime.now(UTC) - ca.DEVICE_LIFE - timedelta(days=days))
    (state / "cert.pem").write_bytes(old.public_bytes(Encoding.PEM))
    issued_us, ends_us = ca.to_us(old.not_valid_before_utc), ca.to_us(old.not_valid_after_utc)
    identity = (state / "identity.toml").read_text()
    identity = re.sub(r"issued_us = \d+", f"issued_us = {issued_us}", identity)
    (state / "identity.toml").write_text(re.sub(r"expires_us = \d+", f"expires_us = {ends_us}", identity))
    columns = "fingerprint, device_id, serial_number, not_before_us, not_after_us"
    row = (ca.fingerprint(old.public_bytes(Encoding.DER)), device, f"{old.serial_number:x}", issued_us, ends_us)
    db = sqlite3.connect(data / "fieldline.db", timeout=30)
    with db:
        db.execute("UPDATE certificate SET not_after_us = ? WHERE device_id = ?", (ends_us, device))
        db.execute(f"INSERT INTO certificate ({columns}) VALUES (?, ?, ?, ?, ?)", row)  # noqa: S608 - names of ours
    db.close()


def test_a_device_that_comes_back_late_renews_by_itself_and_syncs(tmp_path: Path):
    with serving(tmp_path / "data") as server:
        device = enrolled(server, tmp_path / "state")
        age(tmp_path / "data", tmp_path / "state", device, days=100)

        with running(tmp_path / "state") as agent:
            until(lambda: agent.status()["certificate"]["days_left"] == 89, "the certificate is new")
            until(lambda: agent.status()["sync"]["last_ack_us"], "it syncs")

        kinds = [one["kind"] for one in server.get(f"/events?device={device}&kind=device.renewed_late")["items"]]
        assert kinds == ["device.renewed_late"]


def test_beyond_the_grace_the_status_says_the_command_and_a_claim_brings_it_back_under_its_id(tmp_path: Path):
    state = tmp_path / "state"
    with serving(tmp_path / "data", "--renewal-grace-days", "30") as server:
        device = enrolled(server, state)
        age(tmp_path / "data", state, device, days=31)
        with running(state) as agent:
            error = until(
                lambda: "needs a new claim" in (it := agent.status()["sync"]["error"]) and it, "it says what it needs"
            )
        claim, named = server.claim(device=device)

        assert f"fleet claim create --product freezer --device {device}" in error
        assert "fleet-agent enroll CLAIM --force" in error
        assert named == device
        assert call("enroll", claim, "--force", "--state", str(state)).returncode == 0
        with running(state) as agent:
            until(lambda: agent.status()["sync"]["last_ack_us"], "it syncs again")
