"""A key in a TPM 2 or a PKCS#11 token, through OpenSSL's PKCS#11 provider.

Python's ssl takes keys from files only. The provider reads a file that holds a handle (`PKCS#11 PROVIDER URI`) as the
key that it names, so the file stays and the key is elsewhere. Two things are left to do, and done here: to have OpenSSL
load the provider, in this process and in `openssl`; and to make a key and a request, which cryptography cannot, since
it brings an OpenSSL of its own.

    key.cnf          what OpenSSL loads, and where the PIN is; made at enrolment, beside key.pem
    tpm2/            of tpm2-pkcs11: what the TPM keeps outside of itself, wrapped by a key that never leaves it; `pin`

Debian: openssl pkcs11-provider (Debian 12: from bookworm-backports); for a TPM libtpm2-pkcs11-1 and opensc beside.
"""

import _ssl
import base64
import ctypes
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from agent.adapters.files import give_to_owner_of, replace_file, sync_dir
from agent.core.token import Token
from agent.errors import Misconfigured

PROVIDER = b"pkcs11"
TIMEOUT_S = 60.0  # of one program; a TPM takes seconds to make a key
TPM2_STORE = "tpm2"  # below the state directory
PIN_FILE = "pin"
PIN_BYTES = 12  # of chance, as hex; the provider cuts a PIN after 31 characters
PACKAGES = "sudo apt install openssl pkcs11-provider (in Debian 12 from bookworm-backports)"
TPM2_PACKAGES = f"{PACKAGES} libtpm2-pkcs11-1 opensc"
_HANDLE = re.compile(rb"-----BEGIN PKCS#11 PROVIDER URI-----.*?-----END PKCS#11 PROVIDER URI-----\n", re.DOTALL)


def prepare(token: Token, root: Path) -> Token:
    """Make a TPM ready to hold keys of the directory `root`; raises Misconfigured. Another token is ready or not."""
    if not token.is_tpm2:
        return token
    store = (root / TPM2_STORE).resolve()
    if not store.is_dir():
        _make_store(token, store)
    return replace(token, pin_file=str(store / PIN_FILE))


def make_key(token: Token, config: Path) -> bytes:
    """Find the token's key, or make one, EC P-256, that cannot leave it; returns its handle. Raises Misconfigured."""
    found = _HANDLE.findall(_openssl(config, "storeutl", "-keys", token.uri))
    if len(found) > 1:
        raise Misconfigured(f"{len(found)} keys are {token.uri}.", hint="Name one of them: add ;id=%01.")
    if found:
        return bytes(found[0])
    uri = f"{token.uri};id=%{secrets.token_bytes(8).hex('%')}" if ";id=" not in token.uri else token.uri
    curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    return _openssl(config, "genpkey", "-propquery", "provider=pkcs11", *curve, "-pkeyopt", f"pkcs11_uri:{uri}")


def make_request(key: Path, config: Path, name: str) -> bytes:
    """Make a certificate request, signed in the token; returns base64 DER (RFC 7030, 4.2.1). Raises Misconfigured."""
    der = _openssl(config, "req", "-new", "-sha256", "-key", str(key), "-subj", f"/CN={name}", "-outform", "DER")
    return base64.encodebytes(der)


def check_key(key: Path, config: Path) -> None:
    """Look, in a process of its own, whether the token gives the key; raises Misconfigured."""
    _openssl(config, "pkey", "-in", str(key), "-noout")


def load_provider(key: Path, config: Path) -> None:
    """Have the OpenSSL of this Python's ssl load the provider, once a process; raises Misconfigured.

    Only once the token gives the key: many drivers look for tokens when they are loaded, and never again.
    """
    try:
        # The libcrypto that ssl itself uses: another copy would know the provider, and ssl would not.
        crypto = ctypes.CDLL(_ssl.__file__)
        load, is_there = crypto.OSSL_LIB_CTX_load_config, crypto.OSSL_PROVIDER_available
    except (AttributeError, OSError) as error:
        raise Misconfigured(
            "This Python has an OpenSSL of its own built in, which takes no keys of a token.",
            hint="Install the agent with the system's Python: docs/operate/hardware-key.md.",
        ) from error
    load.argtypes = is_there.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
    if is_there(None, PROVIDER):
        return
    os.environ.update(_environment(config))
    if not config.exists():
        raise Misconfigured(
            f"{config} is missing, without which the key is not found.", hint="Enroll anew with --force."
        )
    check_key(key, config)
    if load(None, os.fsencode(config)) != 1 or not is_there(None, PROVIDER):
        raise Misconfigured("OpenSSL's provider pkcs11 is not installed or not usable.", hint=f"{PACKAGES}.")


def _make_store(token: Token, store: Path) -> None:
    """Make a token in the TPM, whole or not at all, with a PIN that nobody has to know."""
    beside = store.with_name(store.name + ".new")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(mode=0o700)
        pin = secrets.token_hex(PIN_BYTES)
        replace_file(beside / PIN_FILE, f"{pin}\n".encode(), mode=0o600)
        environ = {
            "TPM2_PKCS11_STORE": str(beside),
            "FIELDLINE_PIN": pin,
            "FIELDLINE_SO_PIN": secrets.token_hex(PIN_BYTES),
        }
        tool = ("pkcs11-tool", "--module", token.module, "--so-pin", "env:FIELDLINE_SO_PIN")
        label = token.uri.partition("token=")[2].partition(";")[0]
        _run([*tool, "--init-token", "--slot-index", "0", "--label", label], environ, TPM2_PACKAGES)
        init_pin = ("--init-pin", "--login", "--pin", "env:FIELDLINE_PIN", "--token-label", label)
        _run([*tool, *init_pin], environ, TPM2_PACKAGES)
        for path in (beside, *beside.iterdir()):
            give_to_owner_of(store.parent, path)
            path.chmod(0o700 if path == beside else 0o600)
        beside.replace(store)
        sync_dir(store.parent)
    except OSError as error:
        raise Misconfigured(f"{store} cannot be made: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _openssl(config: Path, *args: str) -> bytes:
    return _run(["openssl", *args], {"OPENSSL_CONF": str(config), **_environment(config)}, PACKAGES)


def _environment(config: Path) -> dict[str, str]:
    """Return what the drivers are told through the environment, for they take it from nowhere else."""
    store = config.parent.resolve() / TPM2_STORE
    return {"TPM2_PKCS11_STORE": str(store)} if store.is_dir() else {}


def _run(command: Sequence[str], environ: Mapping[str, str], packages: str) -> bytes:
    try:
        done = subprocess.run(  # noqa: S603 - programs of the system, and values that were checked
            command, capture_output=True, env={**os.environ, **environ}, timeout=TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise Misconfigured(f"The program {command[0]} is not installed.", hint=f"{packages}.") from None
    except subprocess.TimeoutExpired:
        raise Misconfigured(f"The token did not answer {command[0]} within {TIMEOUT_S:g} s.", hint=_LOOK) from None
    if done.returncode != 0:
        said = list(filter(str.strip, done.stderr.decode(errors="replace").splitlines()))
        raise Misconfigured(
            f"{' '.join(command[:2])} failed: {said[0].strip() if said else 'it does not say why'}.", hint=_LOOK
        )
    return done.stdout


_LOOK = (
    "Check that the token is there, that its PIN is right, that this user may use it, and that OpenSSL's provider is "
    f"installed: {PACKAGES}. More: docs/operate/hardware-key.md."
)
