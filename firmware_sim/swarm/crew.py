"""What the devices of one run share: the loop, the server, the meter, the pace at which connections are opened."""

import random
import secrets
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from firmware_sim.clock import now_us
from firmware_sim.swarm import wire
from firmware_sim.swarm.course import Course
from firmware_sim.swarm.loop import Loop
from firmware_sim.swarm.member import Identity, Member
from firmware_sim.swarm.meter import Meter
from firmware_sim.swarm.roads import Server
from firmware_sim.swarm.rogue import Rogue

SWEEP_PARTS = 4  # a quarter of the devices every quarter of a second
US = 1_000_000


class Road(StrEnum):
    """Which roads the devices take."""

    AUTO = "auto"  # the link, and the gateway while the link is down: what an agent does
    LINK = "link"
    SYNC = "sync"  # the gateway alone
    HALF = "half"  # every second device has no link


@dataclass(frozen=True, slots=True)
class Plan:
    """How the devices of a run behave. `rows_a_batch` 0: as many as fit the contract's sizes."""

    course: Course
    road: Road = Road.AUTO
    rows_a_batch: int = 0
    connecting: int = 128  # connections that are being opened at once
    gzip_level: int = wire.GZIP_LEVEL
    seed: int = 0


class Crew:
    """The devices, and what they share."""

    def __init__(self, loop: Loop, server: Server, plan: Plan, meter: Meter) -> None:
        self.loop, self.server, self.meter = loop, server, meter
        self.course, self.gzip_level = plan.course, plan.gzip_level
        self.run_id = secrets.token_hex(4)
        self.random = random.Random(plan.seed).random  # noqa: S311 - jitter, not a secret
        self.first_connection = now_us() // US
        self.first_next_s = 5.0
        self.members: Sequence[Member] = ()
        self.rogues: Sequence[Rogue] = ()
        self.hints: dict[str, float] = {}  # device → when it was first told of a config, monotonic
        self.last_ack_s = 0.0
        self.is_holding = False  # nobody sends yet
        self._plan = plan
        self._row_bytes = 0
        self._connecting: set[Member] = set()
        self._queue: deque[Member] = deque()
        self._swept = 0

    def enlist(self, identities: Sequence[Identity], start_us: Sequence[int], kinds: Sequence[type[Member]]) -> None:
        """Make the devices, each of its kind and with the time at which it began to measure."""
        self.members = tuple(
            kind(self, who, start) for kind, who, start in zip(kinds, identities, start_us, strict=True)
        )
        if self.members:
            sample = self.course.row(0, start_us[0], 1_000_000, self.members[0].boot_id)
            self._row_bytes = len(sample) + 1
        self.loop.every(1 / SWEEP_PARTS, self._sweep)

    def wall_us(self) -> int:
        """Return the time of day, UTC microseconds."""
        return now_us()

    def uses_link(self, number: int) -> bool:
        """Tell whether a device takes the link."""
        return self._plan.road in (Road.AUTO, Road.LINK) or (self._plan.road is Road.HALF and number % 2 == 0)

    def uses_gateway(self, number: int) -> bool:
        """Tell whether a device may take the gateway."""
        return self._plan.road is not Road.LINK and (self._plan.road is not Road.HALF or number % 2 == 1)

    def most_rows(self, waiting: int) -> int:
        """Return how many rows a batch takes at most where so many wait."""
        if self._plan.rows_a_batch:
            return self._plan.rows_a_batch
        steady = max(1, wire.STEADY_BATCH_BYTES // self._row_bytes)
        if waiting <= steady:
            return steady
        return min(wire.MAX_SEGMENTS, max(1, wire.BACKLOG_BATCH_BYTES // self._row_bytes))

    def release(self) -> None:
        """Let the devices send that were held."""
        self.is_holding = False
        for member in self.members:
            member.call()

    def connect(self, member: Member) -> None:
        """Have a device open its link, as soon as not too many are at it."""
        if len(self._connecting) >= self._plan.connecting:
            self._queue.append(member)
            return
        self._connecting.add(member)
        member.connect()

    def connected_or_not(self, member: Member) -> None:
        """Note that a device's connection is up, or gone, so that the next one may open its own."""
        self._connecting.discard(member)
        while self._queue and len(self._connecting) < self._plan.connecting:
            self.connect(self._queue.popleft())

    def hinted(self, member: Member) -> None:
        """Note that a device was told of a config over the link."""
        self.hints.setdefault(member.identity.device_id, self.loop.now)

    def _sweep(self) -> None:
        self._swept = (self._swept + 1) % SWEEP_PARTS
        for member in self.members[self._swept :: SWEEP_PARTS]:
            member.sweep(self.loop.now)
