import asyncio
from dataclasses import dataclass, field

import pytest

from agent.core.config import DeviceConfig, SourceConfig
from agent.core.standing import Standing, read_standing
from agent.errors import Misconfigured
from agent.services.configure import STORE_AGAIN_S, SYNC_PATIENCE_S, Configure, Hands, Seed, Senses
from agent.wire.codec import config_hash
from agent.wire.document import DocumentError
from agent.wire.messages import ConfigDocument, ConfigOutcome, SourceHealth

WINDOW_S = 120


@dataclass
class World:
    """Stands around Configure: a document is `flush=<seconds>`; other texts cannot be read.

    Every document has the source `board`; it reads, and the fleet acks, each second in which they are not silent.
    """

    applied: list[float] = field(default_factory=list)
    saved: list[bytes] = field(default_factory=list)
    events: list[tuple[str, str, str]] = field(default_factory=list)
    cannot_apply: set[float] = field(default_factory=set)
    disk_full: bool = False
    now_s: float = 1000.0
    readings: int = 0
    acked_us: int = 0
    silent: set[str] = field(default_factory=set)  # board, fleet
    wakes: int = 0

    def hands(self) -> Hands:
        return Hands(self.parse, self.apply, self.save, lambda *event: self.events.append(event))

    def senses(self) -> Senses:
        return Senses(lambda: self.now_s, self.sources, lambda: self.acked_us, self.wake)

    def sources(self) -> tuple[SourceHealth, ...]:
        return (SourceHealth("board", connected=True, readings=self.readings, errors=0, last_us=0, detail=""),)

    def wake(self) -> None:
        self.wakes += 1

    def parse(self, text: str) -> DeviceConfig:
        key, _, value = text.partition("=")
        if key != "flush":
            raise DocumentError(key, "unknown key; did you mean 'flush'?")
        return DeviceConfig((SourceConfig("board", "/dev/ttyUSB0", "lines", None),), (), float(value), WINDOW_S)

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

    def live(self, subject: Configure, seconds: int) -> None:
        """Let time pass, a look a second."""

        async def go() -> None:
            for _ in range(seconds):
                self.now_s += 1
                self.readings += "board" not in self.silent
                self.acked_us += 1_000_000 * ("fleet" not in self.silent)
                await subject.look()

        asyncio.run(go())

    def said(self) -> list[str]:
        return [kind for kind, _, _ in self.events]


def document(revision: int, toml: str) -> ConfigDocument:
    return ConfigDocument(revision, config_hash(toml), toml)


def configure(world: World, standing: Standing | None = None) -> Configure:
    return Configure(standing or Standing(), world.hands(), world.senses())


def offer(subject: Configure, *documents: ConfigDocument) -> None:
    async def go() -> None:
        for it in documents:
            subject.offer(it)
            await _run_a_little(subject)

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
    assert (again.reported().applied, again.reported().outcome) == (7, ConfigOutcome.TRYING)


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
    assert world.events == [("config.refused", "8", f"Config revision 8 was refused: {reported.reason}")]


def test_a_document_that_cannot_be_applied_is_refused_and_the_one_before_applied_again():
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
    assert world.said() == ["config.trying"]


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


def test_a_document_that_the_agent_died_of_twice_is_rolled_back():
    world = World()
    it = document(7, "flush=2")
    died_twice = Standing().trying(it).trying(it)

    subject = configure(world, died_twice)
    asyncio.run(subject.start(SEED))

    assert world.applied == [1.0]
    assert (subject.reported().handled, subject.reported().outcome) == (7, ConfigOutcome.ROLLED_BACK)
    assert subject.reported().reason == "The agent died 2 times while it was tried."


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


def on_trial(world: World) -> Configure:
    subject = configure(world)
    asyncio.run(subject.start(SEED))
    world.live(subject, 10)
    offer(subject, document(7, "flush=2"))
    return subject


def test_a_document_is_kept_once_the_window_ended_well():
    world = World()
    subject = on_trial(world)
    reported = subject.reported()
    assert (reported.handled, reported.outcome, reported.applied) == (7, ConfigOutcome.TRYING, 7)

    world.live(subject, WINDOW_S + 1)

    assert (subject.reported().outcome, world.stored.running.revision) == (ConfigOutcome.APPLIED, 7)
    assert world.said() == ["config.trying", "config.applied"]
    assert world.applied == [1.0, 2.0]


@pytest.mark.parametrize(
    ("silent", "reason"),
    [
        ("board", "Within 120 s board did not read as before."),
        ("fleet", "Within 120 s the fleet acked nothing."),
    ],
)
def test_a_document_that_the_device_is_not_well_with_is_rolled_back_with_the_reason(silent: str, reason: str):
    world = World()
    subject = on_trial(world)
    world.live(subject, 10)
    world.silent = {silent}

    world.live(subject, WINDOW_S)

    reported = subject.reported()
    assert (reported.handled, reported.outcome, reported.applied) == (7, ConfigOutcome.ROLLED_BACK, 0)
    assert reported.reason == reason
    assert world.applied == [1.0, 2.0, 1.0]
    assert subject.running() == world.stored.running.toml == "flush=1"


def test_a_document_that_was_rolled_back_is_not_tried_again_under_its_number():
    world = World()
    subject = on_trial(world)
    world.silent = {"board"}
    world.live(subject, WINDOW_S + 1)

    offer(subject, document(7, "flush=2"))

    assert subject.reported().outcome is ConfigOutcome.ROLLED_BACK
    assert world.applied == [1.0, 2.0, 1.0]


def test_a_source_that_was_silent_before_is_not_missed():
    world = World(silent={"board"})
    subject = on_trial(world)

    world.live(subject, WINDOW_S + 1)

    assert subject.reported().outcome is ConfigOutcome.APPLIED


def test_the_fleet_is_called_in_the_second_half_of_the_window_however_slow_its_pace():
    world = World()
    subject = on_trial(world)
    world.wakes = 0

    world.live(subject, WINDOW_S // 2 + 1)

    assert world.wakes == 1


def test_a_newer_document_in_the_window_goes_back_to_the_last_good_one_if_it_fails():
    world = World()
    subject = on_trial(world)
    offer(subject, document(8, "flush=3"))
    assert subject.reported().handled == 8
    world.silent = {"board"}

    world.live(subject, WINDOW_S + 1)

    assert world.applied == [1.0, 2.0, 3.0, 1.0]
    assert (subject.reported().outcome, subject.reported().applied) == (ConfigOutcome.ROLLED_BACK, 0)


def test_an_unreadable_document_in_the_window_ends_the_trial_of_the_one_before():
    world = World()
    subject = on_trial(world)

    offer(subject, document(8, "flash=3"))

    assert world.applied == [1.0, 2.0, 1.0]
    assert (subject.reported().handled, subject.reported().outcome) == (8, ConfigOutcome.REFUSED)


def test_a_stop_in_order_is_no_death():
    world = World()
    subject = on_trial(world)
    for _ in range(5):
        asyncio.run(subject.stop())
        subject = configure(world, world.stored)
        asyncio.run(subject.start(SEED))

    world.live(subject, WINDOW_S + 2)

    assert subject.reported().outcome is ConfigOutcome.APPLIED


def test_after_a_power_cut_the_window_begins_with_the_first_ack():
    world = World()
    on_trial(world)
    subject = configure(world, world.stored)
    asyncio.run(subject.start(SEED))
    world.silent, world.acked_us = {"fleet"}, 0
    world.live(subject, WINDOW_S * 3)
    assert subject.reported().outcome is ConfigOutcome.TRYING
    world.silent = set()

    world.live(subject, WINDOW_S + 2)

    assert subject.reported().outcome is ConfigOutcome.APPLIED


def test_after_a_power_cut_a_fleet_that_never_answers_is_not_waited_for_without_end():
    world = World()
    on_trial(world)
    subject = configure(world, world.stored)
    asyncio.run(subject.start(SEED))
    world.silent, world.acked_us = {"fleet"}, 0

    world.live(subject, int(SYNC_PATIENCE_S) + WINDOW_S + 2)

    assert subject.reported().outcome is ConfigOutcome.ROLLED_BACK


def test_the_text_that_runs_already_is_taken_under_its_new_number_without_a_trial():
    world = World()
    subject = on_trial(world)
    world.live(subject, WINDOW_S + 1)

    offer(subject, document(9, "flush=2"))

    assert (subject.reported().handled, subject.reported().outcome) == (9, ConfigOutcome.APPLIED)
    assert world.applied == [1.0, 2.0]


def test_what_the_disk_did_not_take_is_tried_again_by_itself():
    world = World(disk_full=True)
    subject = configure(world)
    offer(subject, document(7, "flush=2"))
    world.disk_full = False

    world.live(subject, int(STORE_AGAIN_S) + 1)
    asyncio.run(_run_a_little(subject))

    assert subject.reported().handled == 7


async def _run_a_little(subject: Configure) -> None:
    task = asyncio.create_task(subject.run())
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
