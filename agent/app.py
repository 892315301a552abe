"""The agent put together: what is made of what, what runs beside what, and how it ends.

    serial ports ─▶ Acquire ─▶ Recorder ─▶ Buffer ◀─▶ Sync ◀─▶ link, gateway
                       ▲           ▲                    │
                       └─ Configure ┴───── config ◀─────┘      Checkup, Renew, Supervise, the status socket beside

Ending: the ports are left first, then what was read is committed, then the fleet gets a last moment to take it, then
everything closes in the reverse of its opening. Each step has a deadline; what was committed is safe with or without
the rest.
"""

import asyncio
import contextlib
import logging
import os
import random
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from agent import __version__
from agent.adapters import lookup, systemd
from agent.adapters.buffer import Buffer
from agent.adapters.clock import DeviceClock, SystemClock, boot_id
from agent.adapters.files import replace_file, set_aside
from agent.adapters.local_api import answering
from agent.adapters.lock import held
from agent.adapters.log import tail
from agent.adapters.mqtt import connect
from agent.adapters.process import collect_garbage, rss_bytes, written_bytes
from agent.adapters.salvage import SALVAGING, Salvaged, salvage
from agent.adapters.serial_port import SerialPorts
from agent.adapters.standing import load_local, load_standing, local_status
from agent.adapters.tls import FleetContext, client_context, use_renewed
from agent.adapters.vitals import Vitals as Machine
from agent.core.allowance import KEEPALIVE_S, Allowance
from agent.core.backoff import Rng
from agent.core.config import DeviceConfig, parse_config
from agent.core.local import NO_LOCAL, without_password
from agent.core.standing import Standing
from agent.core.status import ClockStatus, LocalStatus, SyncStatus, flash_of, iso, sentence
from agent.errors import AgentError, Damaged, Misconfigured, Unavailable
from agent.protocols import find
from agent.services.acquire import Acquire
from agent.services.answers import Answers, Sources
from agent.services.configure import Configure, Hands, Seed, Senses
from agent.services.health import Backlog, Checkup, Vitals
from agent.services.link import Link, Session
from agent.services.reckon import Reckon
from agent.services.reckon import start as start_clock
from agent.services.record import Boot, Recorder
from agent.services.renew import Renew
from agent.services.restore import restore
from agent.services.status import Look, Views, latest_of
from agent.services.supervise import Supervise
from agent.services.sync import Gateway, Says, Sync
from agent.settings import Identity, StateDir, load_identity
from agent.wire.codec import encode
from agent.wire.document import DocumentError
from agent.wire.messages import Clock, Lane, RoadHealth
from agent.wire.units import US_PER_S

log = logging.getLogger(__name__)

FLUSH_DEADLINE_S = 1.5  # to commit what was read, at the end
LAST_SYNC_S = 1.5  # for the fleet to take it
DAMAGED = ".damaged"  # what `set_aside` adds to the name of a damaged file
LOOK_S = 0.05  # between looks whether it has


async def run(state: StateDir, config: Path | None, clock: SystemClock) -> None:
    """Run the agent until SIGTERM or SIGINT. Raises Misconfigured if it cannot start, AgentError if it has to stop."""
    identity = load_identity(state)
    with held(state.lock):
        standing = _load_standing(state)
        seed = _read_seed(config, standing)
        try:
            async with _buffer(state) as (buffer, salvaged):
                agent = await _wire(identity, state, clock, buffer, standing)
                if salvaged is not None:
                    await _tell_salvaged(agent.recorder, buffer, salvaged)
                await agent.run(seed)
        except Damaged:
            set_aside(state.buffer, "-wal", "-shm")  # the next start begins a new one
            raise
        except BaseExceptionGroup as group:
            raise _first(group, state) from None


@dataclass(frozen=True, slots=True)
class Agent:
    """The parts that run."""

    state: StateDir
    buffer: Buffer
    recorder: Recorder
    acquire: Acquire
    sync: Sync
    configure: Configure
    checkup: Checkup
    reckon: Reckon
    renew: Renew
    supervise: Supervise
    look: Look
    answers: Answers
    manager: systemd.Systemd

    async def run(self, seed: Seed | None) -> None:
        """Run all parts until told to stop."""
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        self.recorder.event("agent.started", "", f"The agent {__version__} started.")
        await self.configure.start(seed)
        await self.checkup.examine()
        answers = {
            "status": self._status,
            "config": self._config,
            "latest": self.answers.latest,
            "readings": self.answers.readings,
            "alarms": self.answers.alarms,
            "buffer": self.answers.buffer,
            "log": self.answers.log,
        }
        async with answering(self.state.socket, answers), asyncio.TaskGroup() as group:
            intake = group.create_task(self.acquire.run(), name="acquire")
            watch = group.create_task(self.supervise.run(), name="supervise")
            parts = (self.recorder, self.reckon, self.sync, self.configure, self.checkup, self.renew)
            tasks = [group.create_task(part.run(), name=type(part).__name__.lower()) for part in parts]
            tasks.append(group.create_task(collect_garbage(), name="collect"))
            self.manager.ready()
            log.info("the agent %s runs", __version__)
            await stopping.wait()
            self.manager.stopping()
            await _end(watch, intake)
            await self._flush()
            await self.configure.stop()
            for task in reversed(tasks):
                task.cancel()
        log.info("the agent stopped")

    async def _flush(self) -> None:
        """Commit what was read and give the fleet a moment to take it."""
        self.recorder.event("agent.stopped", "", "The agent was told to stop.")
        self.recorder.finish()
        try:
            async with asyncio.timeout(FLUSH_DEADLINE_S):
                await self.recorder.flush()
        except (Unavailable, TimeoutError) as error:
            log.warning("not everything could be committed: %s", error)
        self.sync.wake()
        with contextlib.suppress(TimeoutError, Unavailable):
            async with asyncio.timeout(LAST_SYNC_S):
                while (await _backlog(self.buffer)).rows:  # noqa: ASYNC110 - the file is what tells; bounded above
                    await asyncio.sleep(LOOK_S)

    async def _status(self, _asked: bytes) -> bytes:
        return encode(await self.look.status())

    async def _config(self, _asked: bytes) -> bytes:
        return encode(self.configure.running())


async def _wire(identity: Identity, state: StateDir, machine: SystemClock, buffer: Buffer, standing: Standing) -> Agent:
    """Make the parts; nothing runs yet."""
    rng = random.SystemRandom().random
    clock, boot, recorder, reckon = await _recording(machine, buffer, rng)
    tls = client_context(identity, lambda: _checked_us(clock, machine), lambda: clock.state() is Clock.SYNCED)
    allowance = Allowance()
    acquire = Acquire(clock, SerialPorts(clock), find, recorder.readings, recorder.event, reckon.receiver)
    renew = _renew(identity, state, clock, tls, lambda: sync)

    async def apply(config: DeviceConfig) -> None:
        buffer.budget = config.budget
        await acquire.apply(config.sources)
        await recorder.apply(config.rules, config.flush_s, config.sampling)
        sync.meter(config.metering)
        answers.rules = config.rules

    local = Overlaid(state)
    hands = Hands(local.parse, apply, local.save, recorder.event)
    senses = Senses(clock.mono_s, acquire.health, lambda: sync.status().last_ack_us, lambda: sync.wake())  # noqa: PLW0108 - made below
    configure = Configure(standing, hands, senses)
    checkup = _checkup(state, clock, buffer, recorder, acquire, renew, lambda: sync)

    def reach(port: int, will: bytes) -> AbstractAsyncContextManager[Session]:
        keepalive_s = KEEPALIVE_S if allowance.metering.bytes_per_day else None
        return connect(identity.host, port, tls, identity.device_id, will, keepalive_s)

    sync = Sync(
        store=buffer,
        recorder=recorder,
        link=Link(reach, buffer, recorder, clock, boot.boot_id, allowance),
        gateway=lambda: _gateway(identity, tls, local.file.proxy),
        clock=clock,
        boot=boot,
        rng=rng,
        says=Says(configure.reported, checkup.newest, configure.offer, reckon.server),
        meter=allowance,
    )
    server = f"{identity.host}:{identity.gateway_port}"
    views = Views(
        health=checkup.examine,
        backlog=lambda: _backlog(buffer),
        problem=lambda: recorder.problem,
        newest=recorder.newest,
        clock=lambda: _clock_status(machine, clock, reckon, sync),
        sync=lambda: replace(_sync_status(server, sync, renew), proxy=without_password(local.file.proxy)),
        reported=configure.reported,
        local=lambda: local.status(configure.running()),
        metering=allowance.told,
    )
    answers = _answers(state, clock, buffer, recorder)
    manager = systemd.from_environment()

    def says() -> str:
        return sentence(identity.device_id, acquire.health(), _sync_status(server, sync, renew), recorder.problem)

    supervise = Supervise(manager, acquire.alive, says)
    look = Look(identity.device_id, __version__, os.getpid(), clock, views, identity.key)
    return Agent(
        state, buffer, recorder, acquire, sync, configure, checkup, reckon, renew, supervise, look, answers, manager
    )


async def _recording(machine: SystemClock, buffer: Buffer, rng: Rng) -> tuple[DeviceClock, Boot, Recorder, Reckon]:
    """Make what dates and what records, going on from what the buffer keeps."""
    restored = await restore(buffer)
    begun = await start_clock(machine, boot_id(), buffer, restored)
    clock = DeviceClock(machine, begun.reckoning)
    boot = Boot(boot_id(), clock.state)
    recorder = Recorder(buffer, clock, boot, restored, rng)
    recorder.log = tail
    reckon = Reckon(machine, begun, recorder, buffer)
    reckon.begin()
    return clock, boot, recorder, reckon


def _checked_us(clock: DeviceClock, machine: SystemClock) -> int:
    """Return the time to check certificates by: a guess may be later than the truth, and would find them ended."""
    return machine.now_us() if clock.state() is Clock.UNKNOWN else clock.now_us()


def _answers(state: StateDir, clock: DeviceClock, buffer: Buffer, recorder: Recorder) -> Answers:
    newest = Sources(
        lambda: latest_of(recorder.newest()),
        buffer.depth,
        lambda: recorder.problem,
        tail,
        lambda: flash_of(written_bytes(), recorder.written_readings),
    )
    return Answers(state.buffer, lookup, clock, newest)


class Overlaid:
    """The config on disk: documents are read with what is set on this device laid over them, which is read once."""

    def __init__(self, state: StateDir) -> None:
        self._state = state
        self.file, self.problem = load_local(state.local)
        if self.problem:
            log.error("%s is not followed: %s", state.local, self.problem)

    def parse(self, text: str) -> DeviceConfig:
        """Read a document; raises DocumentError. If only what is set here is at fault, the document runs without it."""
        try:
            config = parse_config(text, find, self.file)
        except DocumentError as error:
            if self.file == NO_LOCAL:
                raise
            config = parse_config(text, find)
            self.problem = str(error)
            log.error("agent.toml is not followed, the fleet's config runs as it is: %s", error)  # noqa: TRY400 - for a person; there is nothing to trace
            return config
        if self.file != NO_LOCAL:
            self.problem = ""
        return config

    async def save(self, standing: bytes) -> None:
        """Store the config's standing; raises AgentError."""
        await asyncio.to_thread(replace_file, self._state.config, standing)

    def status(self, toml: str) -> LocalStatus:
        """Describe what is set here against the document that runs."""
        return local_status(self.file, self.problem, toml)


def _renew(
    identity: Identity, state: StateDir, clock: DeviceClock, tls: FleetContext, sync: Callable[[], Sync]
) -> Renew:
    command = (sys.executable, "-m", "agent.cli", "renew", "--state", str(state.root))

    def use(renewed: Identity) -> None:
        use_renewed(tls, renewed)
        sync().renewed()

    return Renew(identity, clock, command, lambda: load_identity(state), use, lambda: sync().status().is_refused)


def _gateway(identity: Identity, tls: ssl.SSLContext, proxy: str) -> Gateway:
    # httpx looks for its own command line, and with it for rich, where that is installed: 5 MB that nobody uses here.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type] # None is Python's mark for "do not import"
    from agent.adapters.https import Gateway as Https  # noqa: PLC0415 - memory that a working link never needs

    return Https(identity.host, identity.gateway_port, tls, proxy)


@asynccontextmanager
async def _buffer(state: StateDir) -> AsyncIterator[tuple[Buffer, Salvaged | None]]:
    """Open the buffer; a damaged one is set aside, and what could be carried over is the second value."""
    async with contextlib.AsyncExitStack() as stack:
        aside = state.buffer.with_name(state.buffer.name + DAMAGED)
        was_left = not state.buffer.exists() and aside.exists()  # set aside by the life before, which found the damage
        try:
            opened = await stack.enter_async_context(Buffer.open(state.buffer))
        except Damaged as error:
            log.warning("%s", error.message)
            aside = set_aside(state.buffer, "-wal", "-shm")
            was_left = True
            opened = await stack.enter_async_context(Buffer.open(state.buffer))
        was_left |= aside.exists() and bool(await opened.value(SALVAGING))  # the life before did not come to its end
        if not was_left:
            yield opened, None
            return
        salvaged = await salvage(aside, opened)
        log.warning("a damaged buffer was set aside as %s; %s", aside.name, salvaged)
        await stack.aclose()
        yield await stack.enter_async_context(Buffer.open(state.buffer)), salvaged


async def _tell_salvaged(recorder: Recorder, buffer: Buffer, salvaged: Salvaged) -> None:
    """Tell the fleet of a damaged buffer, and of what was in it and is lost."""
    text = f"The buffer was damaged and set aside as {buffer.path.name}{DAMAGED}; a new one was started. {salvaged}"
    recorder.event("buffer.damaged", buffer.path.name, text)
    for gap in salvaged.gaps:
        recorder.event("gap.recorded", gap.lane, f"{gap.count} entries: {gap.reason}.", gap=gap)
    with contextlib.suppress(Unavailable):  # then it is all done again at the next start
        await recorder.flush()
        await buffer.commit([], {SALVAGING: ""})


async def _backlog(buffer: Buffer) -> Backlog:
    depths = [await buffer.depth(lane) for lane in Lane]
    return Backlog(
        rows=sum(depth.rows for depth in depths),
        bytes=sum(depth.bytes for depth in depths),
        readings=(await buffer.depth(Lane.TELEMETRY)).readings,
        oldest_us=min((depth.oldest_us for depth in depths if depth.oldest_us), default=0),
    )


def _clock_status(machine: SystemClock, clock: DeviceClock, reckon: Reckon, sync: Sync) -> ClockStatus:
    return ClockStatus(
        clock.state(),
        _server_offset_s(sync),
        round((machine.now_us() - clock.now_us()) / US_PER_S, 3),
        reckon.witnesses(),
    )


def _sync_status(server: str, sync: Sync, renew: Renew) -> SyncStatus:
    status = sync.status()
    works = status.road is not None and not status.last_error
    road = str(status.road) if works else "link" if status.is_link_up else "none"
    error = status.last_error
    if renew.problem:
        error = f"The fleet does not accept this device; it needs a new claim. {renew.problem}"
    elif status.is_refused:
        error = f"The fleet does not accept this device; it tries to renew its certificate. {error}"
    return SyncStatus(server, road, status.last_ack_us, iso(status.last_ack_us), error)


def _checkup(  # noqa: PLR0913, PLR0917 - where its figures come from
    state: StateDir,
    clock: DeviceClock,
    buffer: Buffer,
    recorder: Recorder,
    acquire: Acquire,
    renew: Renew,
    sync: Callable[[], Sync],
) -> Checkup:
    machine = Machine()
    vitals = Vitals(
        rss_bytes,
        lambda: _backlog(buffer),
        acquire.health,
        lambda: renew.identity.cert_expires_us,
        machine=lambda: machine.health(state.root),
        road=lambda: _road_health(sync()),
        server_offset_s=lambda: _server_offset_s(sync()),
        written_bytes=written_bytes,
        written_readings=lambda: recorder.written_readings,
    )
    return Checkup(clock, vitals)


def _server_offset_s(sync: Sync) -> float | None:
    status = sync.status()
    return round(status.server_offset_us / US_PER_S, 3) if status.last_ack_us else None


def _road_health(sync: Sync) -> RoadHealth:
    status = sync.status()
    return RoadHealth(str(status.road or ""), status.connects, status.rtt_s)


def _load_standing(state: StateDir) -> Standing:
    try:
        return load_standing(state.config)
    except Damaged as error:
        log.warning("%s It is set aside; the fleet sends its config again.", error.message)
        set_aside(state.config)
        return Standing()


def _read_seed(path: Path | None, standing: Standing) -> Seed | None:
    """Read the file of --config; raises Misconfigured if it is needed and cannot be read."""
    if path is None:
        return None
    try:
        return Seed(str(path), path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        if standing.running.revision:
            return None  # the fleet's config runs; the file is not needed
        said = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Misconfigured(
            f"The config {path} cannot be read: {said}.", hint="Check the path given with --config."
        ) from error


async def _end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _first(group: BaseExceptionGroup[BaseException], state: StateDir) -> BaseException:
    """Return the error to leave with; a buffer found damaged while running is set aside for the next start."""
    leaves: list[BaseException] = []
    queue: list[BaseException] = [group]
    while queue:
        error = queue.pop()
        if isinstance(error, BaseExceptionGroup):
            queue.extend(error.exceptions)
        else:
            leaves.append(error)
    if any(isinstance(error, Damaged) for error in leaves):
        set_aside(state.buffer, "-wal", "-shm")
    told = [error for error in leaves if isinstance(error, AgentError)]
    return told[0] if len(told) == len(leaves) else group
