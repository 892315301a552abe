"""Where the device stands with its config: what is good, what is tried, and what became of the last document.

This is what is stored, as one file that is replaced as a whole; `agent.core.trial` says when. `running` is the last
good document all along: while another one is tried, that is `staged`.

    outcome trying       `staged` runs, or is about to
    outcome applied      it was kept and is `running` now
    outcome refused      it could not be read or applied; `running` never stopped to be good
    outcome rolled_back  it ran and the device was not well with it, or the agent died of it; `running` runs again
"""

from dataclasses import dataclass, replace

from agent.core.trial import MAX_ATTEMPTS
from agent.wire.codec import config_hash, decode, encode
from agent.wire.limits import MAX_TEXT_CHARS
from agent.wire.messages import ConfigDocument, ConfigOutcome, Reported

NO_DOCUMENT = ConfigDocument(0, "", "")


@dataclass(frozen=True, slots=True)
class Standing:
    """What is stored; revision 0 is the local seed."""

    running: ConfigDocument = NO_DOCUMENT  # the last good one
    handled: int = 0
    handled_hash: str = ""
    outcome: ConfigOutcome = ConfigOutcome.SEEDED
    reason: str = ""
    staged: ConfigDocument | None = None
    attempts: int = 0  # starts that have tried `staged`
    expects: tuple[str, ...] = ()  # who was heard steadily before `staged` came
    reads: tuple[str, ...] = ()  # sources that read steadily with `running`, for a document that comes early in a start

    @property
    def has_tries(self) -> bool:
        """Tell whether a start may try `staged` once more."""
        return self.staged is not None and self.attempts < MAX_ATTEMPTS

    def next_start(self) -> ConfigDocument:
        """Return the document that the next start will run."""
        return self.staged if self.staged is not None and self.has_tries else self.running

    def reported(self, *, is_tried: bool = False) -> Reported:
        """Return it as the fleet is told; `is_tried` says that `staged` runs."""
        if self.staged is None:
            return Reported(self.handled, self.outcome, self.running.revision, self.running.hash, self.reason)
        runs = self.staged if is_tried else self.running
        return Reported(self.staged.revision, ConfigOutcome.TRYING, runs.revision, runs.hash, "")

    def has_handled(self, document: ConfigDocument) -> bool:
        """Tell whether this very document is being tried or was handled last."""
        if self.staged is not None:
            return self.staged == document
        return (self.handled, self.handled_hash) == (document.revision, document.hash)

    def seeded(self, toml: str) -> "Standing":
        """Run a local document; what became of the fleet's stays as it was."""
        return replace(self, running=ConfigDocument(0, config_hash(toml), toml))

    def trying(self, document: ConfigDocument, expects: tuple[str, ...] = ()) -> "Standing":
        """Stage a document, or count one more start that tries it."""
        if self.staged == document:
            return replace(self, attempts=self.attempts + 1)
        return replace(self, staged=document, attempts=1, expects=expects)

    def paused(self) -> "Standing":
        """Take back the try of a start that ended in order."""
        return replace(self, attempts=max(0, self.attempts - 1))

    def applied(self, document: ConfigDocument, reads: tuple[str, ...] = ()) -> "Standing":
        """Keep a document of the fleet: it is the good one from now on."""
        return Standing(document, document.revision, document.hash, ConfigOutcome.APPLIED, reads=reads)

    def settled(self, reads: tuple[str, ...]) -> "Standing":
        """Note who reads with the document that runs."""
        return replace(self, reads=reads)

    def refused(self, document: ConfigDocument, reason: str) -> "Standing":
        """Keep what was good; the document was never put to work."""
        return self._not_kept(document, ConfigOutcome.REFUSED, reason)

    def rolled_back(self, document: ConfigDocument, reason: str) -> "Standing":
        """Go back to what was good."""
        return self._not_kept(document, ConfigOutcome.ROLLED_BACK, reason)

    def to_json(self) -> bytes:
        """Encode it for its file."""
        return encode(self) + b"\n"

    def _not_kept(self, document: ConfigDocument, outcome: ConfigOutcome, reason: str) -> "Standing":
        told = reason if len(reason) <= MAX_TEXT_CHARS else reason[: MAX_TEXT_CHARS - 1] + "…"
        return Standing(
            self.running, document.revision, document.hash, outcome, told.replace("\0", "?"), reads=self.reads
        )


def read_standing(data: bytes) -> Standing:
    """Decode the file; raises WireError."""
    return decode(Standing, data)
