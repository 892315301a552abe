"""Where the device stands with its config: which document runs, and what became of the one it handled last.

A document from the fleet goes through `staged` before it runs, and the standing is stored at each step:

    seed, or a fleet document, running
      │ a document came, and could be read
      ▼
    staged ──applied──▶ running              outcome applied
      │ ╲
      │  could not be applied, or the agent stopped twice while it was tried
      ▼
    the one before keeps running             outcome refused, with the reason

So a document that kills the agent is tried twice and then refused, and a power cut in the middle refuses nothing.
"""

from dataclasses import dataclass, replace

from agent.wire.codec import config_hash, decode, encode
from agent.wire.limits import MAX_TEXT_CHARS
from agent.wire.messages import ConfigDocument, ConfigOutcome, Reported

MAX_ATTEMPTS = 2  # starts of the agent that may try a staged document
NO_DOCUMENT = ConfigDocument(0, "", "")


@dataclass(frozen=True, slots=True)
class Standing:
    """What is stored; revision 0 is the local seed."""

    running: ConfigDocument = NO_DOCUMENT
    handled: int = 0
    handled_hash: str = ""
    outcome: ConfigOutcome = ConfigOutcome.SEEDED
    reason: str = ""
    staged: ConfigDocument | None = None
    attempts: int = 0  # starts that have tried `staged`

    def reported(self) -> Reported:
        """Return it as the fleet is told."""
        return Reported(self.handled, self.outcome, self.running.revision, self.running.hash, self.reason)

    def has_handled(self, document: ConfigDocument) -> bool:
        """Tell whether this very document was handled last."""
        return (self.handled, self.handled_hash) == (document.revision, document.hash)

    def seeded(self, toml: str) -> "Standing":
        """Run a local document; what became of the fleet's stays as it was."""
        return replace(self, running=ConfigDocument(0, config_hash(toml), toml))

    def trying(self, document: ConfigDocument) -> "Standing":
        """Stage a document, or count one more start that tries it."""
        attempts = self.attempts + 1 if self.staged == document else 1
        return replace(self, staged=document, attempts=attempts)

    def applied(self, document: ConfigDocument) -> "Standing":
        """Run a document of the fleet."""
        return Standing(document, document.revision, document.hash, ConfigOutcome.APPLIED)

    def refused(self, document: ConfigDocument, reason: str) -> "Standing":
        """Keep what runs."""
        told = reason if len(reason) <= MAX_TEXT_CHARS else reason[: MAX_TEXT_CHARS - 1] + "…"
        return Standing(self.running, document.revision, document.hash, ConfigOutcome.REFUSED, told.replace("\0", "?"))

    def to_json(self) -> bytes:
        """Encode it for its file."""
        return encode(self) + b"\n"


def read_standing(data: bytes) -> Standing:
    """Decode the file; raises WireError."""
    return decode(Standing, data)
