"""Key, request and certificate of the device: EC P-256, PKCS#10 (RFC 2986), PKCS#7 certs-only (RFC 5652).

Loads cryptography (8 MB of RSS), so it is imported only to enrol and, in a short process of its own, to renew.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from agent.errors import Misconfigured, Refused

CURVE = ec.SECP256R1()
MAX_CERTIFICATES = 16  # in one PKCS#7 answer


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that the fleet issued to this device's key."""

    device_id: str
    pem: bytes
    issued_us: int  # start of its validity
    expires_us: int


def make_key() -> bytes:
    """Make a private key; returns PEM (PKCS#8), which goes to a 0600 file and nowhere else."""
    return ec.generate_private_key(CURVE).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def make_request(key_pem: bytes, name: str) -> bytes:
    """Make a certificate request for the key, signed by it; returns base64 DER as EST wants it (RFC 7030, 4.2.1)."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(_key(key_pem), hashes.SHA256())
    return base64.encodebytes(request.public_bytes(serialization.Encoding.DER))


def read_certificates(body: bytes) -> list[x509.Certificate]:
    """Read an EST answer, base64 of a PKCS#7 that holds only certificates; raises Refused if it is none."""
    try:
        der = base64.b64decode(b"".join(body.split()), validate=True)
        certificates = pkcs7.load_der_pkcs7_certificates(der)
    except (binascii.Error, ValueError) as error:
        raise Refused("The server's answer is not a list of certificates (PKCS#7).", hint=_NOT_A_FLEET) from error
    if not 0 < len(certificates) <= MAX_CERTIFICATES:
        raise Refused(f"The server's answer holds {len(certificates)} certificates.", hint=_NOT_A_FLEET)
    return certificates


def fingerprint(certificate: x509.Certificate) -> bytes:
    """Return the SHA-256 of the certificate's DER, as a claim states it."""
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).digest()


def to_pem(certificate: x509.Certificate) -> bytes:
    """Return the certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def check_issued(certificates: list[x509.Certificate], request: bytes, ca_pem: bytes) -> Issued:
    """Find the certificate of the key that the request was for and check that the CA signed it; raises Refused."""
    ours = _spki(x509.load_der_x509_csr(base64.decodebytes(request)).public_key())
    leaf = next((it for it in certificates if _spki(it.public_key()) == ours), None)
    if leaf is None:
        raise Refused("The fleet's answer holds no certificate for this device's key.", hint=_NOT_A_FLEET)
    try:
        leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(ca_pem))
    except (ValueError, TypeError, InvalidSignature) as error:
        raise Refused("The certificate that came was not issued by the fleet's CA.", hint=_NOT_A_FLEET) from error
    names = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1:
        raise Refused("The certificate that came does not name the device.", hint=_NOT_A_FLEET)
    return Issued(
        device_id=str(names[0].value),
        pem=to_pem(leaf),
        issued_us=_us(leaf.not_valid_before_utc),
        expires_us=_us(leaf.not_valid_after_utc),
    )


def is_pair(cert_pem: bytes, key_pem: bytes) -> bool:
    """Tell whether a certificate is for a key in a file; False as well where either cannot be read."""
    try:
        return _spki(x509.load_pem_x509_certificate(cert_pem).public_key()) == _spki(_key(key_pem).public_key())
    except (ValueError, Misconfigured):
        return False


_NOT_A_FLEET = "Check that the claim's server is a Fieldline gateway, then ask for a new claim."


def _key(key_pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise Misconfigured("The private key cannot be read.", hint="Enroll anew with --force.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Misconfigured("The private key is not an EC key.", hint="Enroll anew with --force.")
    return key


def _spki(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _us(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000
