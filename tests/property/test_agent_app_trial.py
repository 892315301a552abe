"""A crash at any point of a trial: whatever is lost, a document runs, and the right one in the end."""

import asyncio
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from agent.core.config import DeviceConfig, SourceConfig
from agent.core.standing import Standing, read_standing
from agent.core.trial import MAX_ATTEMPTS, NEXT, Effect, Happening, Phase
from agent.services.configure import Configure, Hands, Seed, Senses
from agent.wire.codec import config_hash
from agent.wire.messages import ConfigDocument, ConfigOutcome, SourceHealth

WINDOW_S = 60
GOOD = Seed("first.toml", "1")
NEW = ConfigDocument(7, config_hash("2"), "2")
NEVER = 10_000


class Crash(BaseException):
    """The power goes: nothing runs any more."""


@dataclass
class Device:
    """A disk that survives, and an agent that does not; each effect on the world is a point at which it may die."""

    crash_at: list[int]  # counted over all lives, in effects
    deadly: bool = False  # the new document kills the agent when it is applied
    harmful: bool = False  # the new document silences the source
    disk: bytes = b""
    runs: float = 0.0
    effects: int = 0
    now_s: float = 0.0
    readings: int = 0
    acked_us: int = 0
    told: list[str] = field(default_factory=list)

    def point(self) -> None:
        self.effects += 1
        if self.effects in self.crash_at:
            raise Crash

    async def save(self, data: bytes) -> None:
        self.point()
        self.disk = data
        self.point()

    async def apply(self, config: DeviceConfig) -> None:
        self.point()
        self.runs = config.flush_s
        if self.deadly and config.flush_s == 2.0:
            raise Crash
        self.point()

    def event(self, kind: str, _subject: str, _text: str) -> None:
        self.point()
        self.told.append(kind)

    def parse(self, text: str) -> DeviceConfig:
        return DeviceConfig((SourceConfig("board", "/dev/x", "lines", None),), (), float(text), WINDOW_S)

    def sources(self) -> tuple[SourceHealth, ...]:
        return (SourceHealth("board", connected=True, readings=self.readings, errors=0, last_us=0, detail=""),)

    def live(self, seconds: int, *, offers: bool) -> Configure:
        """Run the agent for so long, through as many starts as it takes."""
        until_s = self.now_s + seconds
        while True:
            try:
                return asyncio.run(self._one_life(until_s, offers=offers))
            except Crash:
                self.acked_us = self.readings = 0
                self.now_s += 1

    async def _one_life(self, until_s: float, *, offers: bool) -> Configure:
        standing = read_standing(self.disk) if self.disk else Standing()
        senses = Senses(lambda: self.now_s, self.sources, lambda: self.acked_us, lambda: None)
        agent = Configure(standing, Hands(self.parse, self.apply, self.save, self.event), senses)
        await agent.start(GOOD)
        while self.now_s < until_s:
            self.now_s += 1
            self.readings += not (self.harmful and self.runs == 2.0)
            self.acked_us += 1_000_000
            if offers and agent.reported().handled != NEW.revision:  # as the fleet does with each ack
                agent.offer(NEW)
                await _turn(agent)
            await agent.look()
        return agent


async def _turn(agent: Configure) -> None:
    task = asyncio.create_task(agent.run())
    for _ in range(30):
        await asyncio.sleep(0)
        if task.done():
            break
    task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(outcome, Crash):
        raise outcome


def settled(device: Device) -> Device:
    """Let the first document run long enough for it to be known who reads; the crashes come after that."""
    planned, device.crash_at = device.crash_at, []
    device.live(400, offers=False)
    device.effects, device.crash_at = 0, planned
    return device


crashes = st.lists(st.integers(1, 30), max_size=4, unique=True)


@given(crash_at=crashes)
def test_a_good_document_is_kept_or_rolled_back_and_what_runs_is_what_is_stored(crash_at: list[int]):
    device = settled(Device(crash_at))

    agent = device.live(20 * WINDOW_S, offers=True)

    reported = agent.reported()
    assert reported.handled == NEW.revision  # so the fleet does not send it for ever
    assert reported.outcome in (ConfigOutcome.APPLIED, ConfigOutcome.ROLLED_BACK)
    assert device.runs == (2.0 if reported.outcome is ConfigOutcome.APPLIED else 1.0)
    assert read_standing(device.disk).running.toml == agent.running()
    if len(crash_at) < MAX_ATTEMPTS:
        assert reported.outcome is ConfigOutcome.APPLIED


@given(crash_at=crashes)
def test_a_document_that_silences_a_source_never_stays(crash_at: list[int]):
    device = settled(Device(crash_at, harmful=True))

    agent = device.live(20 * WINDOW_S, offers=True)

    assert (agent.reported().outcome, agent.reported().handled) == (ConfigOutcome.ROLLED_BACK, NEW.revision)
    assert device.runs == 1.0
    assert agent.running() == "1"


@given(crash_at=crashes)
def test_a_document_that_kills_the_agent_is_given_up_after_two_deaths_at_most(crash_at: list[int]):
    device = settled(Device(crash_at, deadly=True))

    agent = device.live(20 * WINDOW_S, offers=True)

    assert (agent.reported().outcome, agent.reported().handled) == (ConfigOutcome.ROLLED_BACK, NEW.revision)
    assert device.runs == 1.0


@given(
    st.lists(st.sampled_from([it for it in Happening if it not in (Happening.STARTED, Happening.EXHAUSTED)])),
)
def test_the_table_stores_before_it_applies_and_tells_after_all_else(happenings: list[Happening]):
    phase = Phase.STEADY
    for it in happenings:
        step = NEXT.get((phase, it))
        if step is None:
            continue
        order = [list(Effect).index(effect) for effect in step.effects]
        assert order == sorted(order)
        phase = step.phase
