"""Certificates that the CA has issued, and the question that every road asks: may the one that shows it come in.

A certificate is good while its row says so and its device is not revoked. Validity in time is what TLS checks; here
it is only told. Revocation is a column, not a list to be fetched: it holds from the next request on, on every node.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from fleet.core.actor import of_device
from fleet.core.event import Event
from fleet.errors import Refused
from fleet.store import device, event
from fleet.store.claim import Claim
from fleet.store.schema import certificate as table
from fleet.store.schema import device as device_table


class CertificateUnknown(Refused):
    """The fleet has not issued this certificate, or no longer knows it."""


class CertificateRevoked(Refused):
    """The certificate, or its device, was revoked."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate of one device."""

    fingerprint: str  # SHA-256 of the DER, hex
    device_id: str
    serial_number: str  # hex
    not_before_us: int
    not_after_us: int
    revoked_us: int | None = None


def check(conn: Connection, fingerprint: str) -> Certificate:
    """Return the certificate of a device that may come in; raises CertificateUnknown, CertificateRevoked."""
    row = conn.execute(
        select(table, device_table.c.revoked_us.label("device_revoked_us"))
        .join(device_table, device_table.c.id == table.c.device_id)
        .where(table.c.fingerprint == fingerprint)
    ).one_or_none()
    if row is None:
        raise CertificateUnknown(
            "this fleet does not know the certificate",
            hint="The fleet may have been restored from a backup: enrol the device with a new claim.",
        )
    if row.revoked_us is not None or row.device_revoked_us is not None:
        raise CertificateRevoked(
            f"{row.device_id} was revoked", hint="If it is to come back, create a claim and enrol it again."
        )
    return _certificate(row)


def device_of(conn: Connection, fingerprint: str) -> str:
    """Return the device that may come in with this certificate; raises as `check` does."""
    return check(conn, fingerprint).device_id


def rows(conn: Connection, device_id: str) -> Sequence[Certificate]:
    """Return a device's certificates, the newest first."""
    query = select(table).where(table.c.device_id == device_id).order_by(table.c.not_before_us.desc())
    return [_certificate(row) for row in conn.execute(query)]


def enrol(conn: Connection, claim: Claim, issued: Certificate, *, now_us: int, again: bool) -> None:
    """Make the device that a used claim names, with its first certificate. Appends `device.enrolled`.

    A device that had been revoked comes back under its id; its old certificates stay revoked. `again`: a lost answer
    was asked for, so the device is there already and only the certificate is new.
    """
    if not again:
        known = claim.device_id
        conn.execute(
            update(table).where(table.c.device_id == known, table.c.revoked_us.is_(None)).values(revoked_us=now_us)
        )
        device.enrol(conn, known, claim.product, serial=claim.serial, site=claim.site, now_us=now_us)
        _append(conn, "device.enrolled", issued, now_us, f"{known}, a {claim.product}, was enrolled.")
    _insert(conn, issued)


def renew(conn: Connection, before: str, issued: Certificate, *, now_us: int) -> None:
    """Add a certificate for the device that showed `before`, which stays good until its end. Appends `device.renewed`.

    Raises CertificateUnknown, CertificateRevoked.
    """
    device_of(conn, before)
    _insert(conn, issued)
    _append(conn, "device.renewed", issued, now_us, f"{issued.device_id} renewed its certificate.")


def _insert(conn: Connection, issued: Certificate) -> None:
    conn.execute(
        insert(table).values(
            fingerprint=issued.fingerprint,
            device_id=issued.device_id,
            serial_number=issued.serial_number,
            not_before_us=issued.not_before_us,
            not_after_us=issued.not_after_us,
        )
    )


def _append(conn: Connection, kind: str, issued: Certificate, now_us: int, text: str) -> None:
    by = of_device(issued.device_id)
    data = {"certificate": issued.fingerprint, "not_after_us": issued.not_after_us}
    about = ("device", issued.device_id, by.id, by.origin, text, issued.device_id, data)
    event.append(conn, Event(now_us, now_us, kind, *about))


def _certificate(row: Row[Any]) -> Certificate:
    return Certificate(
        row.fingerprint, row.device_id, row.serial_number, row.not_before_us, row.not_after_us, row.revoked_us
    )
