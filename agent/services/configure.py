"""Take config documents from the fleet, put them to work without a restart, keep those that the device is well with.

`agent.core.trial` is the machine, its table the order of things; this is its shell. A document is read as a whole
before anything changes, stored before it is applied, applied as a whole, and watched for its health window. The newest
offer counts; one that was handled already is nothing new.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from agent.core.config import DeviceConfig
from agent.core.standing import NO_DOCUMENT, Standing
from agent.core.trial import FLEET, MAX_ATTEMPTS, NEXT, Effect, Happening, Phase, Pulse, counts, expected, missing
from agent.errors import AgentError, Misconfigured
from agent.wire.codec import config_hash
from agent.wire.document import DocumentError
from agent.wire.messages import ConfigDocument, ConfigOutcome, Reported, SourceHealth

log = logging.getLogger(__name__)

NOTHING = DeviceConfig((), ())
LOOK_S = 1.0  # between looks at how the device fares
LOOKS_A_WINDOW = 16  # at least
STORE_AGAIN_S = 30.0  # after the disk took nothing
SETTLE_S = 300.0  # after a start, until it is known which sources read
SYNC_PATIENCE_S = 600.0  # for the first ack after a start in mid-trial: after a power cut the modem starts too


@dataclass(frozen=True, slots=True)
class Seed:
    """The local first config: the file that --config named, and its text."""

    name: str
    toml: str


@dataclass(frozen=True, slots=True)
class Hands:
    """What configuring works with; `parse` raises DocumentError, `apply` and `save` AgentError."""

    parse: Callable[[str], DeviceConfig]
    apply: Callable[[DeviceConfig], Awaitable[None]]
    save: Callable[[bytes], Awaitable[None]]
    event: Callable[[str, str, str], None]  # kind, subject, text


@dataclass(frozen=True, slots=True)
class Senses:
    """What configuring knows of the device."""

    mono_s: Callable[[], float]
    sources: Callable[[], Sequence[SourceHealth]]
    last_ack_us: Callable[[], int]  # 0: none since the start
    wake: Callable[[], None]  # call the fleet now


@dataclass(slots=True)
class _Window:
    """The watch over a document that runs on trial."""

    document: ConfigDocument
    config: DeviceConfig
    since_s: float
    waits_until_s: float  # until then the window does not begin before the first ack
    wake_at_s: float


class Configure:
    """Owns the running config."""

    def __init__(self, standing: Standing, hands: Hands, senses: Senses) -> None:
        self._standing = standing
        self._hands = hands
        self._senses = senses
        self._phase = Phase.STEADY if standing.staged is None else Phase.STAGED
        self._config = NOTHING  # what runs
        self._window: _Window | None = None
        self._pulse = Pulse()
        self._unsaved_since_s: float | None = None
        self._settles_at_s: float | None = None
        self._offered: ConfigDocument | None = None
        self._has_offer = asyncio.Event()

    def reported(self) -> Reported:
        """Return what runs and what became of the last document."""
        return self._standing.reported(is_tried=self._phase is Phase.WINDOW)

    def running(self) -> str:
        """Return the text of the document that runs."""
        return (self._standing.running if self._window is None else self._window.document).toml

    def offer(self, document: ConfigDocument) -> None:
        """Take a document from the fleet, to be handled soon; a later offer replaces one that still waits."""
        if document.revision > 0 and not self._standing.has_handled(document):
            self._offered = document
            self._has_offer.set()

    async def start(self, seed: Seed | None) -> None:
        """Put the config to work that should run now. Raises Misconfigured if the seed is needed and cannot be used."""
        standing, staged = self._standing, self._standing.staged
        if staged is not None and standing.has_tries:
            log.warning("the agent stopped while it tried config revision %d; trying it again", staged.revision)
            await self._try(Happening.STARTED, staged, is_resumed=True)
        elif staged is not None:
            reason = f"The agent died {MAX_ATTEMPTS} times while it was tried."
            await self._step(Happening.EXHAUSTED, standing.rolled_back(staged, reason))
        if self._config is not NOTHING or self._phase is not Phase.STEADY:
            return
        if self._standing.running.revision == 0:
            await self._start_seed(seed)
        else:
            await self._start_stored(seed)

    async def run(self) -> None:
        """Handle documents as they are offered, and watch those that are tried, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._look_s()):
                    await self._has_offer.wait()
            except TimeoutError:
                await self.look()
                continue
            self._has_offer.clear()
            document, self._offered = self._offered, None
            if document is not None:
                await self._handle(document)

    async def stop(self) -> None:
        """End in order: this start does not count as one that a document on trial was the end of."""
        if self._phase is not Phase.STEADY:
            await self._step(Happening.STOPPED, self._standing.paused())

    # The trial.

    async def _handle(self, document: ConfigDocument) -> None:
        if self._standing.has_handled(document):
            return
        good = self._standing.running
        if document.hash == good.hash and self._phase is Phase.STEADY and self._config is not NOTHING:
            await self._step(
                Happening.SAME, self._standing.applied(replace(good, revision=document.revision), self._standing.reads)
            )
        else:
            await self._try(Happening.OFFERED, document)

    async def _try(self, happening: Happening, document: ConfigDocument, *, is_resumed: bool = False) -> None:
        """Stage a document, apply it, and open its window; or refuse it."""
        try:
            config = self._read(document)
        except DocumentError as error:
            await self._step(Happening.UNUSABLE, self._standing.refused(document, str(error)))
            return
        expects = self._standing.expects if is_resumed else self._expected(config)
        staged = self._standing.trying(document, expects)
        if not await self._step(happening, staged):
            self._offered = document  # not handled: it is tried again once the disk takes it
            return
        try:
            await self._hands.apply(config)
        except (AgentError, DocumentError) as error:
            reason = f"It could not be applied, the one before keeps running: {error}"
            await self._step(Happening.UNUSABLE, self._standing.refused(document, reason))
            return
        now_s = self._senses.mono_s()
        self._config = config
        waits_until_s = now_s + SYNC_PATIENCE_S if is_resumed else now_s
        self._window = _Window(document, config, now_s, waits_until_s, now_s + config.health_window_s / 2)
        await self._step(Happening.APPLIED, self._standing)

    def _expected(self, config: DeviceConfig) -> tuple[str, ...]:
        """Return who has to be heard with this config; in a window what was expected before it goes on to be."""
        if self._phase is Phase.WINDOW:
            before = self._standing.expects
        else:
            before = self._pulse.steady(self._senses.mono_s(), config.health_window_s)
            if self._settles_at_s != math.inf:
                before = (*before, *self._standing.reads)
        return expected([name for name in before if name != FLEET], _ports(self._config), _ports(config))

    async def look(self) -> None:
        """See how the device fares, and end a window that is over; `run` does so every now and then."""
        now_s = self._senses.mono_s()
        sources = self._senses.sources()
        self._pulse.note(counts(sources, self._senses.last_ack_us()), now_s)
        if self._unsaved_since_s is not None and now_s - self._unsaved_since_s >= STORE_AGAIN_S:
            await self._save(self._standing)
        if self._offered is not None and self._unsaved_since_s is None:
            self._has_offer.set()
        window = self._window
        if window is None:
            await self._settle(now_s)
            return
        if now_s < window.waits_until_s and not self._pulse.is_heard(FLEET, window.since_s):
            window.since_s, window.wake_at_s = now_s, now_s + window.config.health_window_s / 2
            return
        window.waits_until_s = now_s
        length_s = window.config.health_window_s
        if now_s >= window.wake_at_s:
            window.wake_at_s = now_s + length_s / 8  # a fleet that paces its devices slowly is asked all the same
            self._senses.wake()
        if now_s < window.since_s + length_s:
            return
        trouble = missing(self._standing.expects, self._pulse, sources, window.since_s, length_s)
        if trouble:
            await self._step(Happening.UNWELL, self._standing.rolled_back(window.document, trouble))
        else:
            reads = self._reads(now_s, length_s)
            await self._step(Happening.WELL, self._standing.applied(window.document, reads))

    async def _settle(self, now_s: float) -> None:
        """Note who reads, some time after a start: the next time a document may come before that is known."""
        if self._settles_at_s is None:
            self._settles_at_s = now_s + SETTLE_S
        if now_s < self._settles_at_s:
            return
        self._settles_at_s = math.inf
        reads = self._reads(now_s, self._config.health_window_s)
        if set(reads) != set(self._standing.reads):
            self._standing = self._standing.settled(reads)
            await self._save(self._standing)

    def _reads(self, now_s: float, window_s: float) -> tuple[str, ...]:
        return tuple(name for name in self._pulse.steady(now_s, window_s) if name != FLEET)

    async def _step(self, happening: Happening, standing: Standing) -> bool:
        """Do what the table says; `standing` is what is true afterwards. False if it could not be stored and has to be.

        Only staging has to be stored: a document that is tried without that would be tried for ever if it kills the
        agent. What cannot be stored otherwise is true all the same, and stored when the disk takes it again.
        """
        step = NEXT[self._phase, happening]
        for effect in step.effects:
            if effect is Effect.STORE and not await self._save(standing) and Effect.APPLY in step.effects:
                return False
            self._standing = standing  # not before it is stored: the fleet must not hear what a power cut takes back
            if effect is Effect.RESTORE:
                await self._restore()
            if effect is Effect.TELL:
                self._phase = step.phase
                self._tell()
        self._phase = step.phase
        if step.phase is not Phase.WINDOW:
            self._window = None
        return True

    async def _restore(self) -> None:
        """Run the last good document again; one that cannot be used any more leaves nothing running, and says so."""
        good = self._standing.running
        try:
            self._config = self._hands.parse(good.toml) if good.toml else NOTHING
            await self._hands.apply(self._config)
        except (DocumentError, AgentError) as error:
            log.error("config revision %d, which ran before, cannot be used now: %s", good.revision, error)  # noqa: TRY400 - for a person; there is nothing to trace
            self._config = NOTHING
            await self._hands.apply(NOTHING)

    def _tell(self) -> None:
        told = self.reported()
        revision, text = told.handled, _SENTENCES[told.outcome]
        sentence = text.format(revision=revision, reason=told.reason)
        is_bad = told.outcome in (ConfigOutcome.REFUSED, ConfigOutcome.ROLLED_BACK)
        log.log(logging.WARNING if is_bad else logging.INFO, "%s", sentence)
        self._hands.event(f"config.{told.outcome}", str(revision), sentence)
        self._senses.wake()

    # The start without a trial.

    async def _start_seed(self, seed: Seed | None) -> None:
        toml = self._standing.running.toml if seed is None else seed.toml
        if not toml:
            log.warning("there is no config yet: nothing is measured until the fleet sets one")
            return
        name = "the stored first config" if seed is None else seed.name
        try:
            config = self._hands.parse(toml)
            await self._hands.apply(config)
        except DocumentError as error:
            raise Misconfigured(f"{name}: {error}.", hint="Mend the file and start again.") from error
        except AgentError as error:
            raise Misconfigured(f"{name}: {error.message}", hint=error.hint) from error
        self._config = config
        if self._standing.running.toml != toml:
            self._standing = self._standing.seeded(toml)
            await self._save(self._standing)

    async def _start_stored(self, seed: Seed | None) -> None:
        document = self._standing.running
        if seed is not None:
            log.info("%s is not used: the fleet has set config revision %d", seed.name, document.revision)
        try:
            self._config = self._hands.parse(document.toml)
            await self._hands.apply(self._config)
        except (DocumentError, AgentError) as error:
            self._config = NOTHING
            reason = f"It ran before, but this agent cannot use it: {error}"
            await self._step(Happening.UNUSABLE, Standing(running=NO_DOCUMENT).refused(document, reason))
            await self._start_seed(seed)

    # Helpers.

    def _read(self, document: ConfigDocument) -> DeviceConfig:
        if config_hash(document.toml) != document.hash:
            raise DocumentError("", "the text does not have the hash that came with it")
        return self._hands.parse(document.toml)

    def _look_s(self) -> float:
        return LOOK_S if self._window is None else min(LOOK_S, self._window.config.health_window_s / LOOKS_A_WINDOW)

    async def _save(self, standing: Standing) -> bool:
        """Store the standing; a disk that takes nothing now is told in the log and stops nothing."""
        try:
            await self._hands.save(standing.to_json())
        except AgentError as error:
            log.warning("the config's standing could not be stored: %s", error)
            self._unsaved_since_s = self._senses.mono_s()
            return False
        self._unsaved_since_s = None
        return True


def _ports(config: DeviceConfig) -> Mapping[str, str]:
    return {source.name: source.port for source in config.sources}


_SENTENCES = {
    ConfigOutcome.TRYING: "Config revision {revision} is running on trial.",
    ConfigOutcome.APPLIED: "Config revision {revision} is running.",
    ConfigOutcome.REFUSED: "Config revision {revision} was refused: {reason}",
    ConfigOutcome.ROLLED_BACK: "Config revision {revision} was rolled back: {reason}",
}
