"""Take config documents from the fleet, put them to work without a restart, and say what became of them.

A document is read as a whole before anything changes, stored before it is applied, and applied as a whole: if that
fails half-way, the one before is applied again and the fleet is told why. The newest offer counts; one that was
handled already is nothing new.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agent.core.config import DeviceConfig
from agent.core.standing import MAX_ATTEMPTS, NO_DOCUMENT, Standing
from agent.errors import AgentError, Misconfigured
from agent.wire.codec import config_hash
from agent.wire.document import DocumentError
from agent.wire.messages import ConfigDocument, Reported

log = logging.getLogger(__name__)

NOTHING = DeviceConfig((), ())


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


class Configure:
    """Owns the running config."""

    def __init__(self, standing: Standing, hands: Hands) -> None:
        self._standing = standing
        self._hands = hands
        self._config = NOTHING  # what runs
        self._offered: ConfigDocument | None = None
        self._has_offer = asyncio.Event()

    def reported(self) -> Reported:
        """Return what runs and what became of the last document."""
        return self._standing.reported()

    def running(self) -> str:
        """Return the text of the document that runs."""
        return self._standing.running.toml

    def offer(self, document: ConfigDocument) -> None:
        """Take a document from the fleet, to be handled soon; a later offer replaces one that still waits."""
        if not self._standing.has_handled(document):
            self._offered = document
            self._has_offer.set()

    async def start(self, seed: Seed | None) -> None:
        """Put the config to work that should run now. Raises Misconfigured if the seed is needed and cannot be used."""
        staged = self._standing.staged
        if staged is not None and self._standing.attempts < MAX_ATTEMPTS:
            log.warning("the agent stopped while it applied config revision %d; trying it again", staged.revision)
            await self._handle(staged)
        elif staged is not None:
            await self._refuse(staged, f"The agent stopped {MAX_ATTEMPTS} times while it was applied.")
        if self._standing.running.revision == 0:
            await self._start_seed(seed)
        elif self._config is NOTHING:
            await self._start_stored(seed)

    async def run(self) -> None:
        """Handle documents as they are offered, until cancelled."""
        while True:
            await self._has_offer.wait()
            self._has_offer.clear()
            document, self._offered = self._offered, None
            if document is not None:
                await self._handle(document)

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
            await self._save()

    async def _start_stored(self, seed: Seed | None) -> None:
        document = self._standing.running
        if seed is not None:
            log.info("%s is not used: the fleet has set config revision %d", seed.name, document.revision)
        try:
            self._config = self._hands.parse(document.toml)
            await self._hands.apply(self._config)
        except (DocumentError, AgentError) as error:
            self._config = NOTHING
            self._standing = Standing(running=NO_DOCUMENT)
            await self._refuse(document, f"It ran before, but this agent cannot use it: {error}")
            await self._start_seed(seed)

    async def _handle(self, document: ConfigDocument) -> None:
        if document.revision <= 0 or self._standing.has_handled(document):
            return
        try:
            config = self._read(document)
        except DocumentError as error:
            await self._refuse(document, str(error))
            return
        self._standing = self._standing.trying(document)
        if not await self._save():
            return  # not handled: the fleet offers it again with its next ack
        try:
            await self._hands.apply(config)
        except (AgentError, DocumentError) as error:
            await self._hands.apply(self._config)
            await self._refuse(document, f"It could not be applied, the one before keeps running: {error}")
            return
        self._config = config
        self._standing = self._standing.applied(document)
        await self._save()
        log.info("config revision %d applied", document.revision)
        self._hands.event("config.applied", str(document.revision), f"Config revision {document.revision} is running.")

    def _read(self, document: ConfigDocument) -> DeviceConfig:
        if config_hash(document.toml) != document.hash:
            raise DocumentError("", "the text does not have the hash that came with it")
        return self._hands.parse(document.toml)

    async def _refuse(self, document: ConfigDocument, reason: str) -> None:
        self._standing = self._standing.refused(document, reason)
        await self._save()
        log.warning("config revision %d refused: %s", document.revision, reason)
        self._hands.event("config.refused", str(document.revision), self._standing.reason)

    async def _save(self) -> bool:
        """Store the standing; a disk that takes nothing now is told in the log and stops nothing."""
        try:
            await self._hands.save(self._standing.to_json())
        except AgentError as error:
            log.warning("the config's standing could not be stored: %s", error)
            return False
        return True
