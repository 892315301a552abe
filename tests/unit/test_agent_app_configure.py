import asyncio
from dataclasses import dataclass, field

import pytest

from agent.core.config import DeviceConfig
from agent.core.standing import Standing, read_standing
from agent.errors import Misconfigured
from agent.services.configure import Configure, Hands, Seed
from agent.wire.codec import config_hash
from agent.wire.document import DocumentError
from agent.wire.messages import ConfigDocument, ConfigOutcome


@dataclass
class World:
    """Stands around Configure: a document is `flush=<seconds>`; other texts cannot be read."""

    applied: list[float] = field(default_factory=list)
    saved: list[bytes] = field(default_factory=list)
    events: list[tuple[str, str, str]] = field(default_factory=list)
    cannot_apply: set[float] = field(default_factory=set)
    disk_full: bool = False

    def hands(self) -> Hands:
        return Hands(self.parse, self.apply, self.save, lambda *event: self.events.append(event))

    def parse(self, text: str) -> DeviceConfig:
        key, _, value = text.partition("=")
        if key != "flush":
            raise DocumentError(key, "unknown key; did you mean 'flush'?")
        return DeviceConfig((), (), float(value))

    async def apply(self, config: DeviceConfig) -> None:
        self.applied.append(config.flush_s)
        if config.flush_s in self.cannot_apply:
            raise Misconfigured("the port is taken.")

    async def save(self, data: bytes) -> None:
        if self.disk_full:
            raise Misconfigured("no room.")
        self.saved.append(data)

    @property
    def stored(self) -> Standing:
        return read_standing(self.saved[-1])


def document(revision: int, toml: str) -> ConfigDocument:
    return ConfigDocument(revision, config_hash(toml), toml)


def configure(world: World, standing: Standing | None = None) -> Configure:
    return Configure(standing or Standing(), world.hands())


def offer(subject: Configure, *documents: ConfigDocument) -> None:
    async def go() -> None:
        for it in documents:
            subject.offer(it)
            task = asyncio.create_task(subject.run())
            await asyncio.sleep(0)
            for _ in range(20):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(go())


SEED = Seed("first.toml", "flush=1")


def test_the_seed_runs_until_the_fleet_has_set_a_config():
    world = World()
    subject = configure(world)

    asyncio.run(subject.start(SEED))

    assert world.applied == [1.0]
    assert subject.reported().outcome is ConfigOutcome.SEEDED
    assert subject.reported().applied_hash == config_hash("flush=1")


def test_the_seed_is_remembered_for_a_start_without_it():
    world = World()
    asyncio.run(configure(world).start(SEED))

    asyncio.run(configure(world, world.stored).start(None))

    assert world.applied == [1.0, 1.0]


def test_the_fleets_config_wins_over_the_seed_after_a_restart():
    world = World()
    subject = configure(world)
    asyncio.run(subject.start(SEED))
    offer(subject, document(7, "flush=2"))

    again = configure(world, world.stored)
    asyncio.run(again.start(SEED))

    assert world.applied == [1.0, 2.0, 2.0]
    assert (again.reported().applied, again.reported().outcome) == (7, ConfigOutcome.APPLIED)


def test_a_document_is_stored_before_it_is_applied():
    world = World(cannot_apply={2.0})
    subject = configure(world)

    offer(subject, document(7, "flush=2"))

    staged = read_standing(world.saved[0]).staged
    assert staged is not None
    assert staged.revision == 7


def test_an_unreadable_document_is_refused_with_its_reason_and_the_old_one_keeps_running():
    world = World()
    subject = configure(world)
    asyncio.run(subject.start(SEED))

    offer(subject, document(8, "flash=2"))

    reported = subject.reported()
    assert world.applied == [1.0]
    assert (reported.handled, reported.outcome, reported.applied) == (8, ConfigOutcome.REFUSED, 0)
    assert reported.reason == "flash: unknown key; did you mean 'flush'?"
    assert world.events == [("config.refused", "8", reported.reason)]


def test_a_document_that_fails_half_way_is_rolled_back():
    world = World(cannot_apply={2.0})
    subject = configure(world)
    asyncio.run(subject.start(SEED))

    offer(subject, document(7, "flush=2"))

    assert world.applied == [1.0, 2.0, 1.0]
    assert subject.reported().outcome is ConfigOutcome.REFUSED
    assert "the port is taken" in subject.reported().reason


def test_a_text_that_has_not_its_hash_is_refused():
    world = World()
    subject = configure(world)

    offer(subject, ConfigDocument(7, config_hash("flush=3"), "flush=2"))

    assert subject.reported().outcome is ConfigOutcome.REFUSED
    assert "hash" in subject.reported().reason


def test_a_revision_that_comes_twice_is_applied_once():
    world = World()
    subject = configure(world)

    offer(subject, document(7, "flush=2"), document(7, "flush=2"))

    assert world.applied == [2.0]
    assert [kind for kind, _, _ in world.events] == ["config.applied"]


def test_a_refused_document_that_comes_again_is_not_tried_again():
    world = World()
    subject = configure(world)

    offer(subject, document(8, "flash=2"), document(8, "flash=2"))

    assert len(world.events) == 1


def test_a_corrected_document_is_applied_after_a_refused_one():
    world = World()
    subject = configure(world)

    offer(subject, document(8, "flash=2"), document(9, "flush=2"))

    reported = subject.reported()
    assert (reported.handled, reported.applied, reported.reason) == (9, 9, "")


def test_a_full_disk_leaves_a_document_unhandled_so_that_it_comes_again():
    world = World(disk_full=True)
    subject = configure(world)
    offer(subject, document(7, "flush=2"))
    assert subject.reported().handled == 0
    world.disk_full = False

    offer(subject, document(7, "flush=2"))

    assert subject.reported().applied == 7


def test_a_document_that_the_agent_died_of_is_tried_once_more():
    world = World()
    died = Standing().trying(document(7, "flush=2"))

    subject = configure(world, died)
    asyncio.run(subject.start(SEED))

    assert subject.reported().applied == 7


def test_a_document_that_the_agent_died_of_twice_is_refused():
    world = World()
    it = document(7, "flush=2")
    died_twice = Standing().trying(it).trying(it)

    subject = configure(world, died_twice)
    asyncio.run(subject.start(SEED))

    assert world.applied == [1.0]
    assert (subject.reported().handled, subject.reported().outcome) == (7, ConfigOutcome.REFUSED)


def test_a_stored_config_that_this_agent_cannot_use_gives_way_to_the_seed():
    world = World()
    stored = Standing().applied(document(7, "from_a_newer_agent=1"))

    subject = configure(world, stored)
    asyncio.run(subject.start(SEED))

    assert world.applied == [1.0]
    assert (subject.reported().handled, subject.reported().applied) == (7, 0)


def test_a_seed_that_cannot_be_read_stops_the_start_and_names_its_file():
    world = World()

    with pytest.raises(Misconfigured, match=r"first\.toml: flash: unknown key"):
        asyncio.run(configure(world).start(Seed("first.toml", "flash=1")))
