"""The composition root of the server: everything is made, wired, started and stopped here, and nowhere else.

    lock → ports → CA → database (backup, migrations) → broker → link → ingest → gateway, API, console → jobs

Stopping takes the same way back: what is in hand is finished, the link says no more, the broker ends, the database
closes last. A broker that dies is started again and takes nothing down; anything else that ends unforeseen ends the
server, for its supervisor to start anew.
"""

import asyncio
import os
import secrets
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import structlog
import uvloop
from sqlalchemy import Connection
from starlette.applications import Starlette
from starlette.types import ASGIApp

from fleet import log as logs
from fleet.api.app import create_app as create_api
from fleet.clock import now_us
from fleet.console.routes import routes as console_routes
from fleet.core.actor import FLEET, Scope
from fleet.core.event import Event
from fleet.errors import FleetError
from fleet.garbage import collect_garbage, spare_collections
from fleet.gateway import listen
from fleet.gateway.app import create_app as create_gateway
from fleet.gateway.broker import Broker, Cluster, Listening, find_program
from fleet.gateway.ca import Authority
from fleet.gateway.cluster import ClusterKey, read_key
from fleet.gateway.condition import Condition
from fleet.gateway.ingest import AckPolicy, Ingest
from fleet.gateway.issue import ClaimIssuer
from fleet.gateway.link import Link
from fleet.gateway.peers import Own, Peers
from fleet.gateway.replay import Replay
from fleet.gateway.root import open_authority
from fleet.jobs.partition import PARTITION
from fleet.jobs.planner import Planner
from fleet.jobs.presence import PRESENCE
from fleet.jobs.retention import RETENTION
from fleet.jobs.rules import RULES
from fleet.jobs.runner import MAX_HOLDER_CHARS, run_jobs
from fleet.jobs.sealing import sealing
from fleet.jobs.tell import tell
from fleet.jobs.verification import VERIFICATION
from fleet.lock import held
from fleet.services import Services
from fleet.settings import Settings
from fleet.store import authority as store_authority
from fleet.store import event, token
from fleet.store.database import Database

LINK_READY_S = 3.0  # how long the server waits for the link before it says that it is ready without it
CERTIFICATE_CHECK_S = 86_400.0
DRAIN_S = 3.0  # that a balancer has to see that a node is stopping, before it does
JOBS = (PRESENCE, VERIFICATION, RULES, RETENTION, PARTITION)

log = structlog.get_logger(part="server")


@dataclass(frozen=True, slots=True)
class _Ports:
    """What listens where, taken."""

    api: socket.socket
    gateway: socket.socket


def run(settings: Settings) -> None:
    """Run the server until a signal ends it; raises Misconfigured where a person has to help first."""
    logs.set_up()
    spare_collections()
    failed: BaseExceptionGroup[FleetError] | None = None
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_until_signal(settings))
        except* FleetError as group:
            failed = group
    if failed is not None:  # raised within `except*` it would be in a group again, before Python 3.11.4 (gh-103590)
        raise _first(failed)


async def _until_signal(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, stop, lambda text: print(text, flush=True))  # noqa: T201 - said to a person, on stdout


async def serve(settings: Settings, stop: asyncio.Event, say: Callable[[str], None]) -> None:
    """Serve until `stop` is set; `say` gets the lines for the person who started it, the first when all is ready."""
    program = find_program()
    with held(settings.data):
        async with _taken_ports(settings) as (found, ports):
            await _serve_on(found, ports, program, stop, say)
    log.info("stopped")


async def _serve_on(
    settings: Settings, ports: _Ports, program: Path, stop: asyncio.Event, say: Callable[[str], None]
) -> None:
    key = None if settings.cluster_key is None else read_key(settings.cluster_key)
    async with Database.open(settings.database_url) as db, Planner.of(db.url) as planner:
        authority = await open_authority(db, settings.ca, key)
        certificate, _ = authority.server_certificate(settings.server_names, datetime.now(UTC))
        context = listen.device_context(certificate, authority.ca_path)
        secret = await _first_token(db, settings.admin_token)
        listening = Listening(_nats_host(), settings.link_port, certificate, authority.ca_path)
        cluster = None if key is None else _cluster(settings, key, authority)
        broker = Broker(settings.nats, listening, program, cluster)
        holder = f"{secrets.token_hex(4)}@{socket.gethostname()}:{os.getpid()}"[:MAX_HOLDER_CHARS]
        own = Own(settings.cluster_address, holder, metadata.version("fieldline"))
        limits = (settings.device_readings_s, settings.product_readings_s)
        ingest = Ingest(db, AckPolicy(settings.sync_every_s, settings.told_link_port, *limits))
        peers = None if cluster is None else Peers(db, cluster, own, ingest.share_limits)
        link = Link(db, ingest, broker, peers)
        gateway = listen.device_server(
            create_gateway(db, authority, ingest, grace_us=settings.renewal_grace_us), context
        )
        condition = Condition(settings.data, authority, broker, link)
        jobs = (*JOBS, sealing(planner.plan, ingest.is_rushed))
        every_s = {job.name: job.every_s for job in jobs}
        services = _services(settings, db, link, authority, condition, every_s)
        people = listen.people_server(_people(services), _api_context(settings))
        works = [
            ("broker", broker.run()),
            ("link", link.run()),
            ("tell", tell(db, link)),
            ("jobs", run_jobs(db, jobs, holder=holder)),
            ("certificate", _keep_certificate(authority, settings, broker, context)),
            ("garbage", collect_garbage()),
        ]
        if peers is not None:
            works.append(("peers", peers.run()))
        async with _running(works), _listening(gateway, ports.gateway), _listening(people, ports.api):
            await _announce(settings, db, link, secret, say)
            await stop.wait()
            log.info("stopping")
            services.standing.is_stopping = True
            if peers is not None and peers.count > 1:
                await asyncio.sleep(DRAIN_S)
            logs.hush_endings()


def _cluster(settings: Settings, key: ClusterKey, authority: Authority) -> Cluster:
    tls = ssl.create_default_context(cafile=authority.ca_path)
    return Cluster(_nats_host(), settings.cluster_port, key, tls)


def _services(  # noqa: PLR0913, PLR0917 - what there is to wire
    settings: Settings, db: Database, link: Link, authority: Authority, condition: Condition, jobs: Mapping[str, float]
) -> Services:
    """Make what API and console are given."""
    return Services(
        db=db,
        link=link,
        issue_claims=ClaimIssuer(db, authority, settings.server_names, settings.told_gateway_port),
        replay=Replay(db),
        version=metadata.version("fieldline"),
        gateway_port=settings.told_gateway_port,
        link_port=settings.told_link_port,
        condition=condition,
        jobs=jobs,
        secure_cookie=settings.api_certificate is not None,
    )


def _people(services: Services) -> ASGIApp:
    """Make API and console as one application."""
    api: Starlette = create_api(services)
    api.router.routes.extend(console_routes(services))
    return api


@asynccontextmanager
async def _running(works: Sequence[tuple[str, Coroutine[object, object, None]]]) -> AsyncIterator[None]:
    """Run works beside the block; they end in reverse order after it, and the block ends if one of them fails."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work, name=name) for name, work in works]
        try:
            yield
        finally:
            for task in reversed(tasks):
                task.cancel()
                await asyncio.wait([task])


@asynccontextmanager
async def _listening(server: listen.Server, taken: socket.socket) -> AsyncIterator[None]:
    """Serve on a port beside the block; requests in hand are finished after it."""
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[taken]), name="http")
        while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has a flag, not an event
            await asyncio.sleep(0.01)
        try:
            yield
        finally:
            server.should_exit = True


@asynccontextmanager
async def _taken_ports(settings: Settings) -> AsyncIterator[tuple[Settings, _Ports]]:
    """Take all ports, and yield them with the settings that name them; raises Misconfigured."""
    everywhere = listen.any_host()
    api_host = settings.api_host or ("127.0.0.1" if settings.api_certificate is None else everywhere)
    api = await listen.take_port(api_host, settings.api_port, "api")
    with api:
        gateway = await listen.take_port(everywhere, settings.gateway_port, "gateway")
        with gateway:
            link_port = listen.free_port(await listen.take_port(everywhere, settings.link_port, "link"))
            cluster_port = settings.cluster_port
            if settings.cluster_key is not None:
                cluster_port = listen.free_port(await listen.take_port(everywhere, cluster_port, "cluster"))
            found = replace(
                settings,
                cluster_port=cluster_port,
                api_port=api.getsockname()[1],
                gateway_port=gateway.getsockname()[1],
                link_port=link_port,
            )
            yield found, _Ports(api, gateway)


def _nats_host() -> str:
    host = listen.any_host()
    return f"[{host}]" if ":" in host else host


def _api_context(settings: Settings) -> ssl.SSLContext | None:
    if settings.api_certificate is None or settings.api_key is None:
        return None
    return listen.api_context(settings.api_certificate, settings.api_key)


async def _first_token(db: Database, path: Path) -> str:
    """Make the first token where there is none and keep it in its file; return it, "" if there were tokens."""

    def work(conn: Connection) -> str:
        store_authority.find(conn)  # of nodes that start at once one makes it
        if token.rows(conn, limit=1):
            return ""
        secret, _ = token.create(conn, "admin", Scope.ADMIN, now_us=now_us(), by=FLEET)
        return secret

    secret = await db.write(work)
    if secret:
        _keep_secret(path, secret)
    return secret


def _keep_secret(path: Path, secret: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(descriptor)


async def _keep_certificate(authority: Authority, settings: Settings, broker: Broker, context: ssl.SSLContext) -> None:
    """Renew the server's certificate while it runs: new connections get the new one."""
    while True:
        await asyncio.sleep(CERTIFICATE_CHECK_S)
        path, renewed = authority.server_certificate(settings.server_names, datetime.now(UTC))
        if renewed:
            context.load_cert_chain(path)
            broker.reload()
            log.info("renewed the server's certificate")


async def _announce(settings: Settings, db: Database, link: Link, secret: str, say: Callable[[str], None]) -> None:
    """Say that the server is ready, once the link is, or without it if the broker takes its time."""
    try:
        async with asyncio.timeout(LINK_READY_S):
            await link.ready()
    except TimeoutError:
        log.warning("the link is not up yet; devices use the gateway meanwhile")
    version = metadata.version("fieldline")
    name = settings.server_names[0]
    now = now_us()
    started = Event(
        now, now, "server.started", "server", socket.gethostname(), FLEET.id, FLEET.origin, f"Server {version} started."
    )
    await db.write(lambda conn: event.append(conn, started))
    say(
        f"Fieldline {version} is ready: console {settings.console_url} · gateway https://{name}:{settings.gateway_port}"
        f" · link mqtts://{name}:{settings.link_port} · data {settings.data}"
    )
    if secret:
        say(f"Admin token, shown this once and kept in {settings.admin_token}: {secret}")
    if not settings.api_is_local and settings.api_certificate is None:
        log.warning("API and console are plain HTTP beyond this machine: put a proxy with TLS before them")


def _first(group: BaseExceptionGroup[FleetError]) -> FleetError:
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise group
