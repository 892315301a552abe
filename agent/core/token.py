"""Where the device's private key is: in a file, or where it cannot be copied from: a TPM 2 or a PKCS#11 token.

What a person says, and what identity.toml repeats:

    file                                                 key.pem holds the key; the default
    tpm2                                                 in the machine's TPM 2, made and looked after by the agent
    pkcs11:token=…;object=…?module-path=…&pin-source=…   in a token, as RFC 7512 names it

For the latter two key.pem holds a handle instead of a key, in a form that OpenSSL's PKCS#11 provider reads, so that
whatever reads a key from a file, Python's ssl among them, uses the token without knowing.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote

FILE = "file"
TPM2 = "tpm2"
TPM2_MODULE = "libtpm2_pkcs11.so.1"  # as the loader finds it
TPM2_URI = "pkcs11:token=fieldline;object=fieldline"
SCHEME = "pkcs11:"
MAX_URI = 1024  # characters
FINDS = ("object", "id")  # one of which has to say which of the token's keys is meant
NO_SHUTDOWN = "no-deinit"  # drivers that bring an OpenSSL of their own crash where they are shut down after it
_PLAIN = re.compile(r"[A-Za-z0-9_./:;=%,@ +-]+")  # what OpenSSL's configuration takes as it is


@dataclass(frozen=True, slots=True)
class Token:
    """A key in a token."""

    uri: str  # which token and which key, without the query
    module: str  # path of the driver; "" for those that the machine has registered (p11-kit)
    pin_file: str  # absolute path of a file that holds the PIN; "" where none is needed
    is_tpm2: bool = False


def read_place(text: str) -> Token | None:
    """Read what a person says of where the key is, None for a file; raises ValueError with a sentence."""
    if text == FILE:
        return None
    if text == TPM2:
        return Token(TPM2_URI, TPM2_MODULE, "", is_tpm2=True)
    if not text.startswith(SCHEME) or len(text) > MAX_URI:
        raise ValueError(f"{text[:60]!r} says not where a key is: it is file, tpm2 or a URI that starts with pkcs11:")
    return _read_uri(text)


def openssl_config(token: Token) -> str:
    """Return the configuration that lets OpenSSL 3 use a token, for its default context."""
    lines = [
        "# OpenSSL's way to the device's key. Written by `fleet-agent enroll`.",
        "openssl_conf = fieldline",
        "[fieldline]",
        "providers = fieldline_providers",
        "[fieldline_providers]",
        "default = fieldline_default",
        "pkcs11 = fieldline_pkcs11",
        "[fieldline_default]",
        "activate = 1",
        "[fieldline_pkcs11]",
        "activate = 1",
        "pkcs11-module-encode-provider-uri-to-pem = true",
    ]
    if token.module:
        lines.append(f"pkcs11-module-path = {token.module}")
    if token.pin_file:
        lines.append(f"pkcs11-module-token-pin = file:{token.pin_file}")
    if not token.is_tpm2:
        lines.append(f"pkcs11-module-quirks = {NO_SHUTDOWN}")
    return "\n".join(lines) + "\n"


def place_in_words(place: str) -> str:
    """Return where the key is, for people."""
    if place == TPM2:
        return "in this machine's TPM 2"
    return "in a file" if place == FILE else f"in the token {place.partition('?')[0]}"


def _read_uri(text: str) -> Token:
    path, _, query = text.partition("?")
    if not _PLAIN.fullmatch(path):
        raise ValueError(f"{path!r} holds characters that have to be percent-encoded")
    said = _attributes(path.removeprefix(SCHEME), ";")
    if not any(name in said for name in FINDS):
        raise ValueError("the URI does not say which key: add object=NAME, as in pkcs11:token=device;object=fieldline")
    asked = _attributes(query, "&")
    if "pin-value" in asked:
        raise ValueError("a PIN does not belong into a command: put it into a file and name that, pin-source=file:/…")
    unknown = sorted(asked.keys() - {"module-path", "pin-source"})
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not understood; known are module-path and pin-source")
    module = _file(asked, "module-path")
    return Token(path, module, _file(asked, "pin-source"))


def _attributes(text: str, separator: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, text.split(separator)):
        name, is_pair, value = part.partition("=")
        if not is_pair or not value or name in found:
            raise ValueError(f"{part!r} is not a single name=value")
        found[name] = value
    return found


def _file(asked: dict[str, str], name: str) -> str:
    path = unquote(asked.get(name, "")).removeprefix("file://").removeprefix("file:")
    if name in asked and not (path.startswith("/") and _PLAIN.fullmatch(path)):
        raise ValueError(f"{name} is not a plain absolute path: {path!r}")
    return path
