"""Certificates that the CA has issued, and the question that every road asks: may the one that shows it come in.

A certificate is good until its end, while its row says so and its device is not revoked. TLS at the gateway proves the
key and leaves the end to this module, since renewal alone is let in after it, for a grace. That it is not good yet is
not asked: the fleet has issued it. Revocation is a column, not a list to be fetched: it holds from the next request on,
on every node.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from fleet.core.actor import of_device
from fleet.core.event import Event
from fleet.errors import Refused
from fleet.store import device, event
from fleet.store.claim import Claim
from fleet.store.schema import certificate as table
from fleet.store.schema import device as device_table

DAY_US = 86_400 * 1_000_000

_CHECK = (
    select(table, device_table.c.revoked_us.label("device_revoked_us"), device_table.c.product_id)
    .join(device_table, device_table.c.id == table.c.device_id)
    .where(table.c.fingerprint.in_(bindparam("shown", expanding=True)))
)

_NEW = insert(table)
_REVOKE = (
    update(table)
    .where(table.c.device_id == bindparam("device"), table.c.revoked_us.is_(None))
    .values(revoked_us=bindparam("now_us"))
)


class CertificateUnknown(Refused):
    """The fleet has not issued this certificate, or no longer knows it."""


class CertificateExpired(Refused):
    """The certificate's end is past, and for renewal the grace after it."""


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


def check(conn: Connection, fingerprint: str, *, now_us: int, grace_us: int = 0) -> Certificate:
    """Return the certificate of a device that may come in; only renewal has a grace after the certificate's end.

    Raises CertificateUnknown, CertificateRevoked, CertificateExpired.
    """
    return _judge(conn.execute(_CHECK, {"shown": [fingerprint]}).one_or_none(), now_us, grace_us)


def check_all(conn: Connection, fingerprints: Sequence[str], *, now_us: int) -> list[Certificate | Refused]:
    """Return for each what `check` returns or raises, in one query for all."""
    rows = {row.fingerprint: row for row in conn.execute(_CHECK, {"shown": list(set(fingerprints))})}
    found: list[Certificate | Refused] = []
    for fingerprint in fingerprints:
        try:
            found.append(_judge(rows.get(fingerprint), now_us))
        except Refused as error:
            found.append(error)
    return found


def _judge(row: Row[Any] | None, now_us: int, grace_us: int = 0) -> Certificate:
    if row is None:
        raise CertificateUnknown(
            "this fleet does not know the certificate",
            hint="The fleet may have been restored from a backup: enrol the device with a new claim.",
        )
    if row.revoked_us is not None or row.device_revoked_us is not None:
        raise CertificateRevoked(f"{row.device_id} was revoked", hint=_claim_hint(row))
    if now_us >= row.not_after_us + grace_us:
        days = (now_us - row.not_after_us) // DAY_US
        since = f"{days} days ago" if days > 1 else "not long ago"
        raise CertificateExpired(
            f"the certificate of {row.device_id} ended {since}",
            hint=f"It is too late to renew it. {_claim_hint(row)}"
            if grace_us
            else "The device may be able to renew it.",
        )
    return _certificate(row)


def device_of(conn: Connection, fingerprint: str, *, now_us: int, grace_us: int = 0) -> str:
    """Return the device that may come in with this certificate; raises as `check` does."""
    return check(conn, fingerprint, now_us=now_us, grace_us=grace_us).device_id


def _claim_hint(row: Row[Any]) -> str:
    made = f"fleet claim create --product {row.product_id} --device {row.device_id}"
    return f"To let it in again: {made}; then, on the device: fleet-agent enroll CLAIM --force"


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
        conn.execute(_REVOKE, {"device": known, "now_us": now_us})
        device.enrol(conn, known, claim.product, serial=claim.serial, site=claim.site, now_us=now_us)
        _append(conn, "device.enrolled", issued, now_us, f"{known}, a {claim.product}, was enrolled.")
    _insert(conn, issued)


def renew(conn: Connection, before: str, issued: Certificate, *, now_us: int, grace_us: int = 0) -> None:
    """Add a certificate for the device that showed `before`, which stays good until its end.

    Appends `device.renewed`, or `device.renewed_late` where that end was past. Raises as `check` does.
    """
    known = check(conn, before, now_us=now_us, grace_us=grace_us)
    _insert(conn, issued)
    if now_us < known.not_after_us:
        _append(conn, "device.renewed", issued, now_us, f"{issued.device_id} renewed its certificate.")
        return
    days = (now_us - known.not_after_us) // DAY_US
    text = f"{issued.device_id} renewed its certificate {days} days after its end."
    _append(conn, "device.renewed_late", issued, now_us, text)


def _insert(conn: Connection, issued: Certificate) -> None:
    conn.execute(
        _NEW,
        {
            "fingerprint": issued.fingerprint,
            "device_id": issued.device_id,
            "serial_number": issued.serial_number,
            "not_before_us": issued.not_before_us,
            "not_after_us": issued.not_after_us,
        },
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
