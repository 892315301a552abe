"""Where the agent keeps its state, and who it is.

The state directory holds all that the agent may write:

    identity.toml   who this device is and where its fleet is; written last at enrolment, so its presence means enrolled
    key.pem         private key, EC P-256, made here, 0600; never leaves the device. Or a handle of one in a token, with
    key.cnf         OpenSSL's way to it, and `tpm2/`, what a TPM keeps outside of itself
    cert.pem        the device's certificate                chain.pem   the fleet's CA: what the fleet is known by
    key.aside.pem   key of an enrolment that is not through, so that its claim can be tried again; with key.aside.cnf
    cert.next.pem   the certificate that is being renewed, while it is tried
    buffer.db       the outbox and small persisted values (the running config's bookkeeping among them)
    config.json     the config document that is good, the one on trial, and what became of the fleet's last one
    agent.toml      what the person at the machine has set; wins over the fleet's config; the one file not written here
    agent.sock      answers `fleet-agent status` while the agent runs
    lock            held by the one running agent
    *.damaged       buffer.db or config.json that could not be read; one of a name is kept
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from agent.core.token import FILE, read_place
from agent.errors import Misconfigured
from agent.wire.document import DocumentError, Table, parse_document
from agent.wire.limits import MAX_PORT, MAX_TIME_US
from agent.wire.topics import DEVICE_ID

DEFAULT_STATE = Path("/var/lib/fieldline")
CREDENTIAL = "fieldline.key"  # the key's name where systemd unseals it for the service (systemd.exec(5), credentials)
SEALED = Path("/etc/credstore.encrypted") / CREDENTIAL


@dataclass(frozen=True, slots=True)
class StateDir:
    """The state directory and the paths in it; nothing is touched before something is read or written."""

    root: Path

    @property
    def identity(self) -> Path:
        """Return the path of identity.toml, whose presence means that the device is enrolled."""
        return self.root / "identity.toml"

    @property
    def key(self) -> Path:
        """Return the path of the private key: the one that systemd has handed this process, if it has, else key.pem."""
        handed = Path(os.environ.get("CREDENTIALS_DIRECTORY", os.devnull)) / CREDENTIAL
        return handed if os.path.exists(handed) else self.root / "key.pem"  # noqa: PTH110 - Path.exists raises below a file

    @property
    def key_config(self) -> Path:
        """Return the path of OpenSSL's configuration, which leads to a key in a token."""
        return self.root / "key.cnf"

    @property
    def cert(self) -> Path:
        """Return the path of the device's certificate."""
        return self.root / "cert.pem"

    @property
    def chain(self) -> Path:
        """Return the path of the fleet CA's certificate."""
        return self.root / "chain.pem"

    @property
    def buffer(self) -> Path:
        """Return the path of the outbox."""
        return self.root / "buffer.db"

    @property
    def config(self) -> Path:
        """Return the path of the running config document and its standing."""
        return self.root / "config.json"

    @property
    def local(self) -> Path:
        """Return the path of what is set on the device itself."""
        return self.root / "agent.toml"

    @property
    def lock(self) -> Path:
        """Return the path of the file that the running agent holds locked."""
        return self.root / "lock"

    @property
    def socket(self) -> Path:
        """Return the path of the Unix socket on which the running agent answers."""
        return self.root / "agent.sock"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this device is, where its fleet is, and the files that prove both."""

    device_id: str
    host: str  # of gateway and link
    gateway_port: int
    key_path: Path
    cert_path: Path
    chain_path: Path
    cert_issued_us: int = 0  # start of the certificate's validity
    cert_expires_us: int = 0  # its end; kept here, so that the running agent need not parse certificates
    key: str = FILE  # where the private key is: agent.core.token

    @property
    def key_config(self) -> Path | None:
        """Return the path of OpenSSL's configuration for a key in a token, None for one in a file."""
        return None if self.key == FILE else self.key_path.with_name("key.cnf")

    def renew_at_us(self, jitter: float) -> int:
        """Return when to renew: at two thirds of the certificate's life, up to a tenth of it later by `jitter` 0…1."""
        life_us = self.cert_expires_us - self.cert_issued_us
        return self.cert_issued_us + life_us * 2 // 3 + int(life_us * 0.1 * jitter)

    def to_toml(self) -> str:
        """Return the text of identity.toml; the paths follow from the state directory and are not in it."""
        return (
            f"device = {json.dumps(self.device_id)}\n"
            f"host = {json.dumps(self.host)}\n"
            f"gateway_port = {self.gateway_port}\n"
            f"cert_issued_us = {self.cert_issued_us}\n"
            f"cert_expires_us = {self.cert_expires_us}\n"
        ) + ("" if self.key == FILE else f"key = {json.dumps(self.key)}\n")


def make_identity(state: StateDir, device_id: str, host: str, gateway_port: int) -> Identity:
    """Make the identity of a state directory's device, its certificate's dates not yet known."""
    return Identity(device_id, host, gateway_port, state.key, state.cert, state.chain)


def load_identity(state: StateDir) -> Identity:
    """Read identity.toml; raises Misconfigured if the device is not enrolled or the file cannot be followed."""
    text = _read(state)
    try:
        table = parse_document(text)
        identity = _read_identity(table, state)
        table.done()
    except DocumentError as error:
        raise Misconfigured(
            f"{state.identity}: {error}.",
            hint="The file is written by `fleet-agent enroll`; mend the key, or enroll anew with --force.",
        ) from error
    for path in (state.key, state.cert, state.chain):
        if not os.access(path, os.R_OK):
            if path == state.key and os.path.exists(SEALED):  # noqa: PTH110 - Path.exists raises where it may not look
                raise Misconfigured(f"{SEALED} holds the key, sealed: only the service is given it.", hint=_UNSEALED)
            raise Misconfigured(
                f"{path} is missing or may not be read by this user.",
                hint="Run as the user that enrolled the device, or enroll anew with --force.",
            )
    return identity


_UNSEALED = (
    "Start the service, or run one command with it: "
    f"sudo systemd-run --pty --quiet -p LoadCredentialEncrypted={CREDENTIAL} /usr/local/bin/fleet-agent doctor"
)


def _read(state: StateDir) -> str:
    try:
        return state.identity.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Misconfigured(
            f"The device is not enrolled: there is no {state.identity}.",
            hint=f"Run `fleet-agent enroll CLAIM --state {state.root}` with a claim from `fleet claim create`.",
        ) from None
    except PermissionError:
        raise Misconfigured(
            f"{state.identity} may not be read by this user.",
            hint="Run as the user that enrolled the device, or as root.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{state.identity} cannot be read: {error}.", hint="Enroll anew with --force.") from error


def _read_identity(table: Table, state: StateDir) -> Identity:
    device = table.text("device")
    if not DEVICE_ID.fullmatch(device):
        raise table.error("device", f"{device!r} is not a device id")
    return Identity(
        device_id=device,
        host=table.text("host"),
        gateway_port=table.integer("gateway_port", least=1, most=MAX_PORT),
        key_path=state.key,
        cert_path=state.cert,
        chain_path=state.chain,
        cert_issued_us=table.integer("cert_issued_us", 0, most=MAX_TIME_US),
        cert_expires_us=table.integer("cert_expires_us", 0, most=MAX_TIME_US),
        key=_read_key(table),
    )


def _read_key(table: Table) -> str:
    place = table.text("key", FILE)
    try:
        read_place(place)
    except ValueError as error:
        raise table.error("key", str(error)) from error
    return place
