"""What the devices of a run do, in time: each mode is a little director of the crew.

steady    they measure and call at the fleet's pace
burst     each has more to send than can be sent, and does so as fast as acks come
backlog   each comes back with a span of readings, and sends them all
storm     steady; then all are gone at once, and come back at once
slow      steady, and some read what the fleet says much too slowly
hostile   steady, and some send garbage, repeats and what is too large
hint      steady; then the fleet is given a config, and each hears of it
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from firmware_sim.swarm.crew import US, Crew
from firmware_sim.swarm.member import Identity, Member
from firmware_sim.swarm.meter import Latency
from firmware_sim.swarm.rogue import Repeater, SlowReader

BEGIN_A_S = 200  # devices that come up a second, where they are not to come all at once
BURST_FROM_US = 30 * 86_400 * US  # a burst's readings begin so long ago
DRAIN_CALLS = 3  # paces that the devices have to send what is left …
MAX_DRAIN_CALLS_S = 120.0  # … at most this, however slow the fleet has made them …
DRAIN_S = 60.0  # … and so long besides
CHECK_S = 0.1


class Mode(StrEnum):
    """What the devices do."""

    STEADY = "steady"
    BURST = "burst"
    BACKLOG = "backlog"
    STORM = "storm"
    SLOW = "slow"
    HOSTILE = "hostile"
    HINT = "hint"


@dataclass(frozen=True, slots=True)
class Times:
    """How long the parts of a run take, seconds."""

    run_s: float  # of measuring; backlog: at most until all is acked
    backlog_s: float = 86_400.0  # of readings that each device brings
    outage_s: float = 10.0  # that a storm's devices are gone


class Director:
    """Plays one mode. `done` is called when all is over; `marks` are the mode's own figures.

    `set_config` is to give the fleet a new config for all devices, and not to wait for it.
    """

    def __init__(
        self, crew: Crew, mode: Mode, times: Times, set_config: Callable[[], None], done: Callable[[], None]
    ) -> None:
        self._crew, self._mode, self._times, self._done = crew, mode, times, done
        self._set_config = set_config
        self.marks: dict[str, float] = {}
        self.phase = "starting"
        self._deadline = 0.0
        self._links = 0  # that there are when all have come up

    def starts_us(self, identities: Sequence[Identity], now_us: int) -> list[int]:
        """Return when each device began to measure: phases are spread over the time between two readings."""
        every_us, count = self._crew.course.every_us, len(identities)
        begin_us = now_us
        if self._mode is Mode.BURST:
            begin_us -= BURST_FROM_US
        elif self._mode is Mode.BACKLOG:
            begin_us -= int(self._times.backlog_s * US)
        return [begin_us + every_us * number // count for number in range(count)]

    def begin(self) -> None:
        """Set it going."""
        crew, loop = self._crew, self._crew.loop
        self._links = sum(crew.uses_link(member.identity.number) for member in crew.members)
        self.phase = str(self._mode)
        is_spread = self._mode not in (Mode.BURST, Mode.BACKLOG)
        phase_s = min(crew.course.every_us / US, self._times.run_s / 4)
        spread_s = max(phase_s, len(crew.members) / BEGIN_A_S) if is_spread else 0.0
        for number, member in enumerate(crew.members):
            loop.at(loop.now + spread_s * number / len(crew.members), member.begin)
        for rogue in crew.rogues:
            rogue.begin()
        if self._mode is Mode.BURST:
            self._hold()
            return
        if self._mode is Mode.BACKLOG:
            now_us = crew.wall_us()
            for member in crew.members:
                member.finish(now_us)
            self._deadline = loop.now + self._times.run_s
            self._wait(self._all_done, self._over)
            return
        self._deadline = loop.now + spread_s + self._times.run_s
        self._wait(self._all_linked, self._settle)
        loop.at(self._deadline, self._second_part)

    def cut_short(self) -> None:
        """Go on to the end now: nothing more is measured, and what was is still sent."""
        if self.phase not in ("draining", "over"):
            self._drain()

    def _all_linked(self) -> bool:
        return self._crew.meter.connected >= self._links

    def _settle(self) -> None:
        """Count latencies from when the coming up is over, a pace after the last link is there."""
        loop, meter = self._crew.loop, self._crew.meter
        begun_s = loop.now - (meter.samples[-1].t_s if meter.samples else 0.0)

        def settled() -> None:
            if self.phase == self._mode:
                meter.latency = Latency()
                self.marks["settled_s"] = round(loop.now - begun_s, 3)

        pace_s = max((member.next_s for member in self._crew.members), default=0.0)
        loop.at(loop.now + pace_s, settled)

    def _second_part(self) -> None:
        if self.phase == "draining":
            return
        if self._mode not in (Mode.STORM, Mode.HINT):
            self._drain()
            return
        self._deadline = self._crew.loop.now + DRAIN_S  # that the last links have to come up
        self._wait(self._all_linked, self._storm if self._mode is Mode.STORM else self._hint)

    def _hold(self) -> None:
        """Begin to send, and to measure, when all links are up."""
        crew = self._crew
        self.phase, crew.is_holding = "holding", True
        self._deadline = crew.loop.now + DRAIN_S

        def released() -> None:
            self.phase = str(self._mode)
            begun_s, readings = crew.loop.now, crew.meter.readings
            crew.release()
            crew.loop.at(begun_s + self._times.run_s, lambda: measured(begun_s, readings))

        def measured(begun_s: float, readings: int) -> None:
            self.marks["readings_a_s"] = round((crew.meter.readings - readings) / (crew.loop.now - begun_s), 1)
            self._drain()

        self._wait(self._all_linked, released)

    def _storm(self) -> None:
        self.phase = "gone"
        for member in self._crew.members:
            member.vanish()
        self._crew.loop.at(self._crew.loop.now + self._times.outage_s, self._come_back)

    def _come_back(self) -> None:
        self.phase = "back"
        crew = self._crew
        back_s = crew.loop.now
        links, errors = crew.meter.counts["links opened"], crew.meter.errors.total()
        now_us = crew.wall_us()
        owed = [(member, crew.course.rows_until(member.start_us, now_us)) for member in crew.members]
        for member in crew.members:
            member.begin()

        def all_back() -> bool:
            owed[:] = [(member, row) for member, row in owed if member.cursor < row]
            return not owed

        def noted() -> None:
            self.marks["back_s"] = round(crew.loop.now - back_s, 3)
            self.marks["not_back"] = len(owed)
            self.marks["errors"] = crew.meter.errors.total() - errors
            self.marks["links_opened"] = crew.meter.counts["links opened"] - links
            self._drain()

        self._deadline = back_s + 2 * DRAIN_S + self._times.run_s
        self._wait(all_back, noted)

    def _hint(self) -> None:
        self.phase = "hint"
        crew = self._crew
        listening = {member.identity.device_id for member in crew.members if member.link and member.link.is_up}
        crew.hints.clear()
        asked_s = crew.loop.now
        self._set_config()

        def noted() -> None:
            heard = sorted(when - asked_s for device, when in crew.hints.items() if device in listening)
            self.marks["hint_listening"] = len(listening)
            self.marks["hint_devices"] = len(heard)
            if heard:
                self.marks["hint_first_s"] = round(heard[0], 3)
                self.marks["hint_median_s"] = round(heard[len(heard) // 2], 3)
                self.marks["hint_last_s"] = round(heard[-1], 3)
            self._drain()

        self._deadline = asked_s + DRAIN_S
        self._wait(lambda: listening <= crew.hints.keys(), noted)

    def _drain(self) -> None:
        """Measure no more, and let the devices send what is left, at their pace."""
        self.phase = "draining"
        crew = self._crew
        now_us = crew.wall_us()
        for rogue in crew.rogues:
            rogue.stop()
        for member in crew.members:
            if self._mode is Mode.BURST:
                member.abandon()
            else:
                member.finish(now_us)
        pace_s = max((member.next_s for member in crew.members), default=0.0)
        self._deadline = crew.loop.now + min(DRAIN_CALLS * pace_s, MAX_DRAIN_CALLS_S) + DRAIN_S
        begun_s = crew.loop.now

        def drained() -> None:
            self.marks["drained_s"] = round(crew.loop.now - begun_s, 3)
            self._over()

        self._wait(self._all_done, drained)

    def _all_done(self) -> bool:
        return all(member.is_done for member in self._crew.members)

    def _over(self) -> None:
        self.phase = "over"
        for member in self._crew.members:
            member.vanish()
        self._done()

    def _wait(self, holds: Callable[[], bool], then: Callable[[], None]) -> None:
        if holds() or self._crew.loop.now > self._deadline:
            then()
        else:
            self._crew.loop.at(self._crew.loop.now + CHECK_S, lambda: self._wait(holds, then))


def kinds_of(mode: Mode, devices: int, share: float) -> list[type[Member]]:
    """Return the kind of each device that measures; of those that are left of `devices`, each only attacks."""
    odd = min(devices - 1, round(devices * share))
    rogues = odd // 2 if mode is Mode.HOSTILE else 0
    kind = {Mode.HOSTILE: Repeater, Mode.SLOW: SlowReader}.get(mode, Member)
    return [Member] * (devices - odd) + [kind] * (odd - rogues)
