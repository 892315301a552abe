"""Joining a fleet with a claim, and staying in it: enrolment and renewal over EST.

Enrolment stores the new key aside and keeps everything else in memory until the fleet's certificate has come and was
checked; then the files are written one by one, `identity.toml` last. Its presence is what "enrolled" means, so a power
cut at any point leaves a device that is enrolled or one that is not, and nothing between. The key aside is what makes
trying again safe: if the answer got lost, the claim counts as used, but a fleet answers the same key again.

Renewal asks with the present certificate for the next one, for the same key. The new certificate is stored beside the
old, tried on a connection, and only then renamed over it; `identity.toml`, which repeats its dates, follows. Cut
in between, the device has a valid certificate and merely renews once more.
"""

import base64
import hmac
import os
from dataclasses import dataclass, replace
from pathlib import Path

from agent.adapters import keys, token
from agent.adapters.est import Est
from agent.adapters.files import make_state_dir, remove_file, replace_file
from agent.adapters.standing import load_local
from agent.adapters.tls import shown_by
from agent.core.token import FILE, Token, openssl_config, read_place
from agent.errors import Misconfigured, Refused, Unavailable
from agent.settings import DEFAULT_STATE, SEALED, Identity, StateDir, load_identity, make_identity
from agent.wire.claim import Claim
from agent.wire.topics import DEVICE_ID

KEY_MODE = 0o600
TRIES = 3  # of sending the same request, where the connection broke before the answer came
REQUEST_NAME = "fieldline-device"  # the fleet names the device; what the request says does not matter


def enrol(claim: Claim, state: StateDir, now_us: int, *, force: bool = False, key: str = FILE) -> Identity:
    """Enrol this device; returns its identity. Raises Misconfigured, Refused or Unavailable.

    Until the fleet's certificate has come nothing is changed. Where it cannot be written then (a full disk), the device
    is not enrolled until the same command is run again, for which the claim is still good.
    `key` says where the private key is: agent.core.token; raises ValueError if it says nothing that can be understood.
    With `force` an enrolled device joins anew: the old identity and the old fleet's config are given up. The config is
    kept where it comes back under its id to the same fleet, after a revocation or too long a time in a cupboard.
    """
    if state.identity.exists() and not force:
        raise Misconfigured(
            f"{_already(state)}.",
            hint="To enroll it anew, add --force: its old identity is then given up. Nothing was changed.",
        )
    _refuse_sealed(state)
    place = read_place(key)
    make_state_dir(state.root)
    est = Est(claim.host, claim.port, now_us, proxy=load_local(state.local)[0].proxy)
    ca_pem = _fetch_ca(est, claim)
    aside = _Aside(state.root / "key.aside.pem", state.root / "key.aside.cnf")
    try:
        aside.drop_used(state)
        aside.fill(None if place is None else token.prepare(place, state.root))
        request = _make_request(aside.key, None if place is None else aside.config, REQUEST_NAME)
        issued = _checked(keys.check_issued(keys.read_certificates(_ask(est, ca_pem, claim, request)), request, ca_pem))
    except (Refused, Misconfigured):
        aside.remove()
        raise
    identity = replace(
        make_identity(state, issued.device_id, claim.host, claim.port),
        cert_issued_us=issued.issued_us,
        cert_expires_us=issued.expires_us,
        key=key,
    )
    is_back = _is_same(state, identity.device_id, ca_pem)
    remove_file(state.identity)
    if not is_back:
        remove_file(state.config)
    replace_file(state.key, aside.key.read_bytes(), mode=KEY_MODE)
    if place is None:
        remove_file(state.key_config)
    else:
        replace_file(state.key_config, aside.config.read_bytes())
    replace_file(state.chain, ca_pem)
    replace_file(state.cert, issued.pem)
    replace_file(state.identity, identity.to_toml().encode())
    aside.remove()
    return identity


def renew(state: StateDir, now_us: int) -> Identity:
    """Renew the certificate over mTLS; returns the identity with its new dates. Raises AgentError, the old one kept."""
    identity = load_identity(state)
    ca_pem = state.chain.read_bytes()
    proxy = load_local(state.local)[0].proxy
    est = Est(identity.host, identity.gateway_port, now_us, identity.cert_issued_us, proxy=proxy)
    request = _make_request(state.key, identity.key_config, identity.device_id)
    body = est.reenroll(ca_pem, shown_by(identity), request)
    issued = _checked(keys.check_issued(keys.read_certificates(body), request, ca_pem))
    if issued.device_id != identity.device_id:
        raise Refused(f"The new certificate is for {issued.device_id}, not for {identity.device_id}.")
    beside = state.cert.with_name("cert.next.pem")
    try:
        replace_file(beside, issued.pem)
        est.test_connect(ca_pem, replace(shown_by(identity), cert=beside))
        replace_file(state.cert, issued.pem)
    finally:
        remove_file(beside)
    renewed = replace(identity, cert_issued_us=issued.issued_us, cert_expires_us=issued.expires_us)
    replace_file(state.identity, renewed.to_toml().encode())
    return renewed


def _fetch_ca(est: Est, claim: Claim) -> bytes:
    body, date = est.cacerts()
    found = [
        it for it in keys.read_certificates(body) if hmac.compare_digest(keys.fingerprint(it), claim.ca_fingerprint)
    ]
    if not found:
        raise Refused(
            f"{claim.host}:{claim.port} is not the fleet that this claim is for: its CA has another fingerprint.",
            hint="Check the server's address and ask its operator for a new claim; if both are right, somebody sits "
            "between this device and the fleet. Nothing was sent but the question.",
        )
    est.check_clock(date)
    return keys.to_pem(found[0])


@dataclass(frozen=True, slots=True)
class _Aside:
    """The key of an enrolment that has not come to its end."""

    key: Path
    config: Path  # OpenSSL's way to it; not there for a key in a file

    def drop_used(self, state: StateDir) -> None:
        """Remove the key of an enrolment that did come to its end, and was cut before it could do so itself."""
        are_there = state.identity.exists() and self.key.exists() and state.cert.exists()
        if are_there and keys.is_pair(state.cert.read_bytes(), self.key.read_bytes()):
            self.remove()

    def fill(self, place: Token | None) -> None:
        """Make a key, unless there is one from a try before, of the same place."""
        wanted = b"" if place is None else openssl_config(place).encode()
        if self.key.exists() and (self.config.read_bytes() if self.config.exists() else b"") == wanted:
            return
        self.remove()
        if place is None:
            replace_file(self.key, keys.make_key(), mode=KEY_MODE)
        else:
            replace_file(self.config, wanted)
            replace_file(self.key, token.make_key(place, self.config), mode=KEY_MODE)

    def remove(self) -> None:
        remove_file(self.key)
        remove_file(self.config)


def _make_request(key: Path, config: Path | None, name: str) -> bytes:
    return keys.make_request(key.read_bytes(), name) if config is None else token.make_request(key, config, name)


def _ask(est: Est, ca_pem: bytes, claim: Claim, request: bytes) -> bytes:
    secret = base64.urlsafe_b64encode(claim.secret).rstrip(b"=").decode()
    for _ in range(TRIES - 1):
        try:
            return est.enroll(ca_pem, secret, request)
        except Unavailable:
            continue
    return est.enroll(ca_pem, secret, request)


def _checked(issued: keys.Issued) -> keys.Issued:
    if not DEVICE_ID.fullmatch(issued.device_id):
        raise Refused(f"The fleet named this device {issued.device_id!r}, which is not a device id.")
    return issued


def _refuse_sealed(state: StateDir) -> None:
    """Raise Misconfigured where the service would be handed the key of the enrolment before, and not the new one."""
    is_the_services = state.root == DEFAULT_STATE and os.path.exists(SEALED)  # noqa: PTH110 - Path.exists raises where it may not look
    if is_the_services or state.key.parent != state.root:
        raise Misconfigured(
            f"{SEALED} holds the key of an enrolment before this one, and the service would be given that.",
            hint=f"Remove it, then run the same command again: sudo rm {SEALED}. Nothing was changed.",
        )


def _is_same(state: StateDir, device_id: str, ca_pem: bytes) -> bool:
    try:
        return load_identity(state).device_id == device_id and state.chain.read_bytes() == ca_pem
    except (Misconfigured, OSError):
        return False


def _already(state: StateDir) -> str:
    try:
        identity = load_identity(state)
    except Misconfigured:
        return f"The state directory {state.root} is enrolled already, although its files are damaged"
    server = f"{identity.host}:{identity.gateway_port}"
    return f"The state directory {state.root} is enrolled already, as {identity.device_id} of {server}"
