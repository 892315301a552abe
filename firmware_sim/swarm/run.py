"""One run of the swarm, from identities to verdict."""

import gc
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import httpx

from firmware_sim.clock import monotonic_s, now_us
from firmware_sim.errors import Refused, Unavailable
from firmware_sim.scenarios.public import Fleet
from firmware_sim.swarm import ledger
from firmware_sim.swarm.course import Course
from firmware_sim.swarm.crew import US, Crew, Plan, Road
from firmware_sim.swarm.factory import PRODUCT, open_fleet
from firmware_sim.swarm.loop import Loop
from firmware_sim.swarm.member import Identity
from firmware_sim.swarm.meter import Meter
from firmware_sim.swarm.modes import Director, Mode, Times, kinds_of
from firmware_sim.swarm.report import Report
from firmware_sim.swarm.roads import Server
from firmware_sim.swarm.rogue import Rogue

SPARE_FILES = 200  # beside the devices' connections
TICK_S = 1.0
MARGIN_US = 3600 * US  # around the span of a run, in which nothing else of these devices lies

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run is asked for."""

    url: str
    token: str
    state: Path
    devices: int = 100
    series: int = 10
    every_s: float = 10.0
    mode: Mode = Mode.STEADY
    times: Times = field(default_factory=lambda: Times(60.0))
    road: Road = Road.AUTO
    per_row: int = 1
    rows: int = 0  # a batch; 0: as many as fit
    premake: int = 0  # batches of each device, made before the clock starts
    connecting: int = 128
    share: float = 0.1  # of the devices that are slow or hostile in those modes
    watched: Mapping[str, int] = field(default_factory=dict)
    gzip_level: int = 1
    seed: int = 0

    def told(self) -> dict[str, Any]:
        """Return what a report says was asked for."""
        return {
            "mode": str(self.mode),
            "devices": self.devices,
            "series": self.series,
            "every_s": self.every_s,
            "for_s": self.times.run_s,
            "road": str(self.road),
            "per_row": self.per_row,
            "rows": self.rows,
            "seed": self.seed,
        }


def run(settings: Settings, say: Say, progress: Say) -> Report:
    """Play a swarm against a fleet and return what came of it; raises Unavailable and Refused."""
    _raise_limit(settings.devices)
    with Fleet(settings.url, settings.token) as fleet:
        if not fleet.healthy():
            raise Unavailable(f"No fleet answers at {settings.url}.", hint="Give its address with --url.")
        try:
            server, identities = open_fleet(settings.state, fleet, settings.devices, say)
            return _play(settings, fleet, server, identities, progress)
        except httpx.HTTPStatusError as error:
            raise Refused(f"The fleet answers {error.response.status_code} to {error.request.url}.") from error
        except httpx.HTTPError as error:
            raise Unavailable(f"The fleet at {settings.url} no longer answers: {error}.") from error


def _play(settings: Settings, fleet: Fleet, server: Server, identities: list[Identity], progress: Say) -> Report:
    course = Course(settings.series, int(settings.every_s * US), settings.per_row)
    plan = Plan(course, settings.road, settings.rows, settings.connecting, settings.gzip_level, settings.seed)
    loop, meter = Loop(), Meter(dict(settings.watched))
    crew = Crew(loop, server, plan, meter)
    director = Director(crew, settings.mode, settings.times, lambda: _set_config(fleet, crew.run_id), loop.stop)
    kinds = kinds_of(settings.mode, settings.devices, settings.share)
    measuring, attacking = identities[: len(kinds)], identities[len(kinds) :]
    try:
        starts_us = director.starts_us(measuring, now_us())
        span = (min(starts_us) - MARGIN_US, now_us() + MARGIN_US + int(settings.times.run_s * 2 * US))
        before = ledger.read(fleet, *span)
        crew.enlist(measuring, starts_us, kinds)
        crew.rogues = [Rogue(crew, who, measuring[0].device_id) for who in attacking]
        for member in crew.members:
            member.premake(settings.premake)
        gc.freeze()  # all of it stays to the end: looking through it again and again would cost more than the devices
        loop.now = started = monotonic_s()
        cpu = time.process_time()
        loop.every(TICK_S, lambda: progress(_line(director, meter.tick(loop.now - started), settings)))
        director.begin()
        with _ctrl_c(director.cut_short):
            loop.run()
        ended = max(crew.last_ack_s, started + 1e-3)
        meter.tick(loop.now - started)
    finally:
        for rogue in crew.rogues:
            rogue.close()
        loop.close()
    meter.counts["own cpu ms"] = int((time.process_time() - cpu) * 1000)
    verdict = ledger.compare(course, list(crew.members), before, ledger.read(fleet, *span))
    return Report(
        settings.told(),
        ended - started,
        meter.counts,
        meter.errors,
        meter.latency,
        meter.samples,
        verdict,
        director.marks,
    )


@contextmanager
def _ctrl_c(end: Callable[[], None]) -> Iterator[None]:
    """Have Ctrl-C end the run in order, with its verdict; a second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def once(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        end()

    before = signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _set_config(fleet: Fleet, run_id: str) -> None:
    """Give the fleet a config for all devices of the swarm, from a thread: the answer is not waited for."""
    toml = f'[[rule]]\nname = "swarm-{run_id}"\nseries = "board.none"\nabove = 1.0\n'

    def post() -> None:
        fleet.post("/api/v1/configs", product=PRODUCT, toml=toml)

    threading.Thread(target=post, name="config").start()


def _line(director: Director, sample: Any, settings: Settings) -> str:  # noqa: ANN401 - a Sample
    return (
        f"{director.phase:9} {sample.t_s:5.0f} s  links {sample.connected:,}/{settings.devices:,}"
        f"  readings {sample.readings:,}  ack p50 {sample.p50_s * 1000:.1f} p99 {sample.p99_s * 1000:.1f} ms"
        f"  errors {sample.errors:,}"
    )


def _raise_limit(devices: int) -> None:
    """Allow a connection a device (two where both roads are taken); raises Refused where the system does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = devices + SPARE_FILES
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise Refused(
            f"{devices} devices need {wanted} open files, and this process may have {hard}.",
            hint=f"Raise the limit (ulimit -Hn {wanted}), or play fewer devices.",
        )
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
