"""Identities in bulk: a factory's line, which asks the fleet for claims and enrols each device with a key of its own.

    STATE/ca.pem          the fleet's root, checked against the claims' fingerprint
    STATE/server.json     where the gateway and the link are
    STATE/devices/ID.pem  key and certificate of one device

What is there is used again, so the second run with the same state begins at once. Claims come some hundred a call
(`POST /api/v1/claims/many`); enrolment is EST (RFC 7030) over a few connections that are kept, since a claim and not
the connection says who enrols. A key takes 0.03 ms, a request 0.15 ms here; the rest of the time is the server's.
"""

import base64
import contextlib
import hashlib
import json
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs7

from firmware_sim.errors import Refused, Unavailable
from firmware_sim.scenarios.public import Fleet
from firmware_sim.swarm import http, wire
from firmware_sim.swarm.channel import Channel, Trust
from firmware_sim.swarm.loop import Loop
from firmware_sim.swarm.member import Identity
from firmware_sim.swarm.roads import Gateway, Server

CLAIMS_A_CALL = 250
CONNECTIONS = 48
EST = "/.well-known/est"
PRODUCT = "swarm"
CREATED = 200
FIRST_S = 60.0  # that the first sync may take
ENROLLED_TRIES = 3


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim, taken apart: `fl1/<host>:<port>/<fingerprint>/<secret>`."""

    host: str
    port: int
    fingerprint: bytes
    secret: str

    @classmethod
    def parse(cls, text: str) -> "Claim":
        """Take one apart; raises Refused."""
        parts = text.split("/")
        try:
            _, server, fingerprint, secret = parts
            host, _, port = server.rpartition(":")
            return cls(host.strip("[]"), int(port), base64.urlsafe_b64decode(fingerprint + "="), secret)
        except ValueError as error:
            raise Refused(f"The fleet gave out {text[:20]!r}…, which is no claim.") from error


def open_fleet(state: Path, fleet: Fleet, count: int, say: Callable[[str], None]) -> tuple[Server, list[Identity]]:
    """Return the server and `count` identities, made where they are lacking; raises Unavailable and Refused."""
    folder = state / "devices"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    known = sorted(folder.glob("*.pem"))
    made = len(known)
    if made < count:
        say(f"Making {count - made} identities …")
        while len(known) < count:
            answer = fleet.post("/api/v1/claims/many", product=PRODUCT, count=min(CLAIMS_A_CALL, count - len(known)))
            claims = [(item["device"], Claim.parse(item["claim"])) for item in answer["items"]]
            _learn(state, claims[0][1])
            _enrol(state, claims)
            known = sorted(folder.glob("*.pem"))
            say(f"{len(known)} of {count} identities")
    identities = [Identity(number, path.stem, path) for number, path in enumerate(known[:count])]
    return _server(state, identities[0]), identities


def _learn(state: Path, claim: Claim) -> None:
    """Keep where the gateway is, and the root, as a device does that knows nothing but its claim."""
    place = state / "server.json"
    if place.exists():
        return
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the claim's fingerprint is what is believed
    try:
        with (
            socket.create_connection((claim.host, claim.port), timeout=FIRST_S) as plain,
            context.wrap_socket(plain, server_hostname=claim.host) as tls,
        ):
            tls.sendall(http.get(claim.host, f"{EST}/cacerts"))
            reader = http.Reader()
            answers: list[http.Answer] = []
            while not answers and (data := tls.recv(65_536)):
                answers = reader.feed(data)
    except OSError as error:
        raise Unavailable(f"The gateway {claim.host}:{claim.port} cannot be reached: {error}.") from error
    root = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answers[0].body))[0] if answers else None
    if root is None or root.fingerprint(hashes.SHA256()) != claim.fingerprint:
        raise Refused(f"The gateway {claim.host}:{claim.port} is not of the fleet that gave out the claims.")
    (state / "ca.pem").write_bytes(root.public_bytes(Encoding.PEM))
    place.write_text(json.dumps({"host": claim.host, "gateway_port": claim.port}))


def _enrol(state: Path, claims: Sequence[tuple[str, Claim]]) -> None:
    """Enrol devices, each with a new key; raises Refused where the fleet does not take one."""
    loop = Loop()
    try:
        line = _Line(loop, state, claims)
        line.start()
        loop.run()
    finally:
        loop.close()
    if line.problem:
        raise Refused(f"A device could not be enrolled: {line.problem}", hint="The server's log says more.")


class _Line:
    """The devices that are to be enrolled, and the connections that do it."""

    def __init__(self, loop: Loop, state: Path, claims: Sequence[tuple[str, Claim]]) -> None:
        self._loop, self._state = loop, state
        self._waiting = deque(claims)
        self._left = len(claims)
        self._claim = claims[0][1]
        self._trust = Trust(state / "ca.pem", self._claim.host)
        self._address = resolve(self._claim.host, self._claim.port)
        self._tries = 0
        self.problem = ""

    def start(self) -> None:
        """Open the connections."""
        for _ in range(min(CONNECTIONS, len(self._waiting))):
            self._open()

    def _open(self) -> None:
        current: list[tuple[str, Claim, ec.EllipticCurvePrivateKey]] = []
        reader = http.Reader()

        def send_next() -> None:
            if not self._waiting:
                channel.close()
                return
            device, claim = self._waiting.popleft()
            key = ec.generate_private_key(ec.SECP256R1())
            current[:] = [(device, claim, key)]
            channel.send(_enrolment(claim, device, key))

        def came(data: bytes) -> None:
            for answer in reader.feed(data):
                device, claim, key = current.pop()
                if answer.status == CREATED:
                    self._keep(device, key, answer.body)
                elif answer.retry_after_s:
                    self._waiting.append((device, claim))
                else:
                    self._fail(f"{answer.status} {answer.body[:200].decode(errors='replace')}")
                    return
                send_next()

        def lost(why: str) -> None:
            self._waiting.extend((device, claim) for device, claim, _ in current)
            self._tries += 1
            if self._tries > ENROLLED_TRIES * CONNECTIONS:
                self._fail(why)
            elif self._left:
                self._loop.at(self._loop.now + 1, self._open)

        channel = Channel(self._loop, send_next, came, lost)
        channel.open(self._address, self._trust, None)

    def _keep(self, device: str, key: ec.EllipticCurvePrivateKey, body: bytes) -> None:
        certificate = pkcs7.load_der_pkcs7_certificates(base64.b64decode(body))[0]
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path = self._state / "devices" / f"{device}.pem"
        descriptor = os.open(path.with_suffix(".part"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem + certificate.public_bytes(Encoding.PEM))
        path.with_suffix(".part").replace(path)
        self._left -= 1
        if not self._left:
            self._loop.stop()

    def _fail(self, why: str) -> None:
        self.problem = why
        self._loop.stop()


def _enrolment(claim: Claim, device: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, device)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    body = base64.encodebytes(request.public_bytes(Encoding.DER))
    basic = base64.b64encode(f"claim:{claim.secret}".encode()).decode()
    extra = f"Authorization: Basic {basic}\r\n"
    return http.post(claim.host, f"{EST}/simpleenroll", "application/pkcs10", body, extra)


def _server(state: Path, first: Identity) -> Server:
    """Return where the roads begin; the link's port is what the first ack over the gateway says."""
    place = state / "server.json"
    told = json.loads(place.read_text())
    host = told["host"]
    trust = Trust(state / "ca.pem", host)
    gateway = resolve(host, told["gateway_port"])
    server = Server(host, (gateway[0], 0), gateway, trust)
    ack = _first_ack(server, first)
    return Server(host, (gateway[0], ack.link_port), gateway, trust)


def _first_ack(server: Server, first: Identity) -> wire.Ack:
    """Call once, with nothing to say."""
    loop = Loop()
    said: list[http.Answer | str] = []

    def done(outcome: http.Answer | str) -> None:
        said.append(outcome)
        loop.stop()

    gateway = Gateway(loop, server, first.path, done, done)
    store_id = f"hello-{hashlib.sha256(first.device_id.encode()).hexdigest()[:8]}"
    hello = wire.batch(
        store_id=store_id, boot_id=store_id, lane="telemetry", prev_seq=0, sent_us=0, reported=wire.Reported()
    )
    gateway.post(hello)
    loop.at(loop.now + FIRST_S, lambda: done("no answer in time"))
    try:
        loop.run()
    finally:
        gateway.close()
        loop.close()
    outcome = said[0]
    where = f"The gateway {server.host}:{server.gateway[1]}"
    if isinstance(outcome, str):
        raise Unavailable(f"{where} cannot be reached: {outcome}.", hint="Is it the server of this state folder?")
    with contextlib.suppress(ValueError):
        return wire.read_ack(outcome.body)
    raise Refused(
        f"{where} answers {outcome.status} to {first.device_id}: {outcome.body[:200].decode(errors='replace')}",
        hint="If the state folder is of another server, name another with --state.",
    )


def resolve(host: str, port: int) -> tuple[str, int]:
    """Return an address of numbers; raises Unavailable."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unavailable(f"The name {host} is not known: {error}.") from error
    return str(found[0][4][0]), port
