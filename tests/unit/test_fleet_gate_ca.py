"""The CA: what its certificates may be used for, and when the server's is made anew."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from fleet.errors import Invalid, Misconfigured
from fleet.gateway.ca import Authority, load_authority, read_csr

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
NAMES = ("fleet.example", "127.0.0.1", "::1")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return load_authority(tmp_path / "ca", NOW)


def _csr(key: object, *, asks: x509.ExtensionType | None = None) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root"), x509.NameAttribute(x509.NameOID.TITLE, "x")])
    )
    if asks is not None:
        builder = builder.add_extension(asks, critical=True)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(Encoding.DER)  # type: ignore[arg-type] # any key is the case


def _extensions(certificate: x509.Certificate) -> dict[str, bool]:
    return {extension.oid._name: extension.critical for extension in certificate.extensions}  # noqa: SLF001 - its name


def test_the_root_is_a_ca_of_ec_p256_that_signs_leaves_alone_for_twenty_years(authority: Authority):
    root = authority.certificate

    assert isinstance(root.public_key(), ec.EllipticCurvePublicKey)
    assert _extensions(root) == {"subjectKeyIdentifier": False, "basicConstraints": True, "keyUsage": True}
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(
        ca=True, path_length=0
    )
    assert root.not_valid_after_utc - NOW > timedelta(days=3650)


def test_its_key_is_for_its_owner_alone_and_it_is_the_same_after_a_restart(authority: Authority):
    again = load_authority(authority.folder, NOW + timedelta(days=400))

    assert {path.stat().st_mode & 0o777 for path in authority.folder.iterdir()} == {0o600}
    assert again.fingerprint == authority.fingerprint


def test_half_a_root_is_an_error_and_never_replaced(authority: Authority):
    (authority.folder / "ca.key").unlink()

    with pytest.raises(Misconfigured, match="cannot be read"):
        load_authority(authority.folder, NOW)


def test_a_root_with_the_key_of_another_is_an_error(authority: Authority, tmp_path: Path):
    other = load_authority(tmp_path / "other", NOW)
    (authority.folder / "ca.key").write_bytes((other.folder / "ca.key").read_bytes())

    with pytest.raises(Misconfigured, match="is not the key"):
        load_authority(authority.folder, NOW)


def test_a_devices_certificate_says_who_it_is_and_nothing_that_the_request_asked_for(authority: Authority):
    wish = x509.BasicConstraints(ca=True, path_length=None)
    csr = read_csr(_csr(ec.generate_private_key(ec.SECP256R1()), asks=wish))

    made = authority.issue_device(csr, "freezer-7k3m2q", NOW)

    made.verify_directly_issued_by(authority.certificate)
    assert made.subject.rfc4514_string() == "CN=freezer-7k3m2q"
    assert _extensions(made) == {
        "subjectKeyIdentifier": False,
        "basicConstraints": True,
        "keyUsage": True,
        "extendedKeyUsage": False,
        "authorityKeyIdentifier": False,
    }
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert list(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]
    assert made.not_valid_before_utc == NOW - timedelta(hours=1)
    assert made.not_valid_after_utc == NOW + timedelta(days=90)


def test_the_servers_certificate_carries_all_names_and_serves_only(authority: Authority):
    path, made = authority.server_certificate(NAMES, NOW)
    certificate = x509.load_pem_x509_certificate(path.read_bytes())

    assert made
    assert list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH
    ]
    san = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    assert isinstance(san, x509.SubjectAlternativeName)
    assert san.get_values_for_type(x509.DNSName) == ["fleet.example"]
    assert [str(address) for address in san.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]


@pytest.mark.parametrize(
    ("names", "later", "anew"),
    [
        (NAMES, timedelta(days=200), False),
        (NAMES[:1], timedelta(days=1), False),
        (NAMES, timedelta(days=270), True),
        (("new.example",), timedelta(days=1), True),
    ],
)
def test_it_is_made_anew_for_a_new_name_and_after_two_thirds_of_its_life(
    authority: Authority, names: tuple[str, ...], later: timedelta, *, anew: bool
):
    authority.server_certificate(NAMES, NOW)

    path, made = authority.server_certificate(names, NOW + later)

    assert made is anew
    assert b"fleet.example" in x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)


@pytest.mark.parametrize("name", ["ümläut..x", "\udcff"])
def test_a_name_that_no_certificate_can_carry_is_told(authority: Authority, name: str):
    with pytest.raises(Misconfigured, match="neither a host name nor an address"):
        authority.server_certificate((name, "localhost"), NOW)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=lambda key: type(key).__name__,
)
def test_good_keys_are_signed(authority: Authority, key: object):
    assert authority.issue_device(read_csr(_csr(key)), "d1", NOW)


@pytest.mark.parametrize(
    "der",
    [
        _csr(ec.generate_private_key(ec.SECP192R1())),
        _csr(ec.generate_private_key(ec.SECP521R1())),
        _csr(rsa.generate_private_key(65537, 1024)),  # noqa: S505 - that is the case
        _csr(dsa.generate_private_key(2048)),
        b"",
        b"\x30\x82\xff\xff",
    ],
    ids=["p192", "p521", "rsa1024", "dsa", "empty", "cut"],
)
def test_other_keys_and_other_bytes_are_refused(der: bytes):
    with pytest.raises(Invalid):
        read_csr(der)


def test_every_bit_of_a_request_is_covered_by_its_signature():
    der = bytearray(_csr(ec.generate_private_key(ec.SECP256R1())))
    at = der.index(b"root")
    der[at] ^= 1

    with pytest.raises(Invalid, match="not signed"):
        read_csr(bytes(der))
