"""The fleet's own certificate authority: one root, the server's certificate, and a certificate a device.

The root is made once and signs directly: there is one issuer to trust, and its fingerprint fits a claim. Its key lies
in DATA/ca (0600); where several nodes share it, sealed in the database (docs/decisions/0212). What a certificate may be
used for is fixed here and nowhere else:

    root     CN "Fieldline fleet <8 hex>"   CA, path length 0   keyCertSign, cRLSign      20 years
    server   CN of the first name           serverAuth, SANs    digitalSignature          397 days, renewed at 2/3
    device   CN = device id                 clientAuth          digitalSignature          90 days, renewed at 2/3

Subject and extensions that a CSR asks for are ignored: a device proves that it has the key, the fleet says who it is.
`not_before` lies an hour back, for clocks that are behind; of a clock that says 1970 tells agent/adapters/tls.py.
Profile: RFC 5280 section 4.2, with subject and authority key identifiers throughout.
"""

import hashlib
import ipaddress
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleet.errors import Invalid, Misconfigured

ROOT_LIFE = timedelta(days=20 * 365)
SERVER_LIFE = timedelta(days=397)
DEVICE_LIFE = timedelta(days=90)
BACKDATED = timedelta(hours=1)
RSA_BITS = (2048, 3072, 4096)
MAX_COMMON_NAME_CHARS = 64  # RFC 5280, ub-common-name

CA_FILE = "ca.pem"
CA_KEY_FILE = "ca.key"
SERVER_FILE = "server.pem"  # key and certificate in one file, so that they change together


@dataclass(frozen=True, slots=True)
class Authority:
    """The root and its key, loaded."""

    folder: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def ca_path(self) -> Path:
        """File of the root certificate, PEM: what a server checks devices against."""
        return self.folder / CA_FILE

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the root certificate, DER; it stands in each claim."""
        return self.certificate.fingerprint(hashes.SHA256())

    @property
    def pem(self) -> str:
        """The root certificate, PEM."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def key_der(self) -> bytes:
        """The root's private key, PKCS#8 DER: for sealing, and nothing else."""
        return self.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

    def publish(self) -> None:
        """Write the root certificate, and not its key, to the folder."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_private(self.ca_path, self.pem.encode())

    def issue_device(self, csr: x509.CertificateSigningRequest, device_id: str, now: datetime) -> x509.Certificate:
        """Issue a device's certificate for the key of a CSR that `read_csr` has passed."""
        builder = _builder(device_id, csr.public_key(), self.certificate.subject, now, DEVICE_LIFE)
        return self._sign_leaf(builder, ExtendedKeyUsageOID.CLIENT_AUTH)

    def server_certificate(self, names: Sequence[str], now: datetime) -> tuple[Path, bool]:
        """Return the file with the server's key and certificate, and whether it was made anew just now.

        It is made anew where a name is lacking or two thirds of its life are over. Names that a certificate has
        already are kept, so that a claim which carries an older name stays good.
        """
        path = self.folder / SERVER_FILE
        wanted = tuple(dict.fromkeys(names))
        current = self._current_server(path)
        if current is not None:
            has = _san_names(current)
            if set(wanted) <= set(has) and now < _renewal_time(current):
                return path, False
            wanted = tuple(dict.fromkeys((*wanted, *has)))
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in wanted])
        key = ec.generate_private_key(ec.SECP256R1())
        subject = wanted[0][:MAX_COMMON_NAME_CHARS]
        builder = _builder(subject, key.public_key(), self.certificate.subject, now, SERVER_LIFE)
        builder = builder.add_extension(alternatives, critical=False)
        certificate = self._sign_leaf(builder, ExtendedKeyUsageOID.SERVER_AUTH)
        _write_private(path, _key_pem(key) + certificate.public_bytes(Encoding.PEM))
        return path, True

    def _current_server(self, path: Path) -> x509.Certificate | None:
        try:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
            certificate.verify_directly_issued_by(self.certificate)
        except (OSError, ValueError, TypeError, InvalidSignature):
            return None
        return certificate

    def _sign_leaf(self, builder: x509.CertificateBuilder, use: x509.ObjectIdentifier) -> x509.Certificate:
        issuer_id = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id), critical=False)
            .sign(self.key, hashes.SHA256())
        )


def load_authority(folder: Path, now: datetime) -> Authority:
    """Load the root from `folder`, or make it there the first time; raises Misconfigured if half of it is missing."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    certificate_path, key_path = folder / CA_FILE, folder / CA_KEY_FILE
    if not certificate_path.exists() and not key_path.exists():
        made = make_authority(folder, now)
        _write_private(key_path, _key_pem(made.key))
        made.publish()
    try:
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        key = load_pem_private_key(key_path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise Misconfigured(
            f"the fleet's CA in {folder} cannot be read: {error}",
            hint=f"Restore {CA_FILE} and {CA_KEY_FILE} from a backup: every device trusts this one root.",
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or spki(key.public_key()) != spki(certificate.public_key()):
        raise Misconfigured(
            f"{CA_KEY_FILE} in {folder} is not the key of {CA_FILE}", hint="Restore both from the same backup."
        )
    return Authority(folder, certificate, key)


def unseal(folder: Path, certificate_pem: str, key_der: bytes) -> Authority:
    """Make the root of what the database keeps."""
    key = load_der_private_key(key_der, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Misconfigured(
            "the root's key in the database is of no kind that the fleet makes",
            hint="Restore the database from a backup; its devices trust no other root.",
        )
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    return Authority(folder, certificate, key)


def read_csr(der: bytes) -> x509.CertificateSigningRequest:
    """Parse a PKCS#10 request and check its signature and its key; raises Invalid."""
    try:
        csr = x509.load_der_x509_csr(der)
        key = csr.public_key()
        signed = csr.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise Invalid(
            "the certificate request is not a PKCS#10 that can be read", hint="Send it as base64 of its DER (RFC 7030)."
        ) from error
    if not signed:
        raise Invalid("the certificate request is not signed by the key that it names", hint="Make a new request.")
    if isinstance(key, ec.EllipticCurvePublicKey):
        good = isinstance(key.curve, (ec.SECP256R1, ec.SECP384R1))
    elif isinstance(key, rsa.RSAPublicKey):
        good = key.key_size in RSA_BITS
    else:
        good = isinstance(key, ed25519.Ed25519PublicKey)
    if not good:
        raise Invalid(
            "the certificate request's key is of a kind or size that the fleet does not sign",
            hint="Use EC P-256 (or P-384, Ed25519, RSA with 2048, 3072 or 4096 bits).",
        )
    return csr


def fingerprint(der: bytes) -> str:
    """Name of a certificate in the database: SHA-256 of its DER, hex."""
    return hashlib.sha256(der).hexdigest()


def spki(key: CertificatePublicKeyTypes) -> bytes:
    """Return a public key as SubjectPublicKeyInfo, DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def to_us(moment: datetime) -> int:
    """Return an aware datetime of whole seconds as UTC microseconds."""
    return int(moment.timestamp()) * 1_000_000


def make_authority(folder: Path, now: datetime) -> Authority:
    """Make a new root; nothing is written."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = f"Fieldline fleet {secrets.token_hex(4)}"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        _builder(name, key.public_key(), subject, now, ROOT_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(folder, certificate, key)


def _builder(
    common_name: str, key: CertificatePublicKeyTypes, issuer: x509.Name, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    start = now.astimezone(UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - BACKDATED)
        .not_valid_after(start + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _renewal_time(certificate: x509.Certificate) -> datetime:
    """Two thirds of a certificate's life."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return start + (end - start) * 2 / 3


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name.encode("idna").decode() if not name.isascii() else name)
    except ValueError as error:
        raise Misconfigured(
            f"{name!r} is neither a host name nor an address", hint="Give --name as devices will call the server."
        ) from error


def _san_names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = tuple(str(address) for address in san.get_values_for_type(x509.IPAddress))
    return (*san.get_values_for_type(x509.DNSName), *addresses)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write_private(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 so that a crash leaves the old one or the new one."""
    unfinished = path.with_suffix(".part")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    unfinished.replace(path)
