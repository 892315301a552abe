"""How the slaves on a bus answer: counted for each, told in health."""

from dataclasses import dataclass

from agent.wire.messages import SlaveHealth


@dataclass(slots=True)
class Counts:
    """What one slave was asked, and how it did."""

    address: int
    requests: int = 0
    answered: int = 0
    unanswered: int = 0
    garbled: int = 0  # of those: bytes came, but no frame with a right CRC
    exceptions: int = 0  # of those that were answered

    def health(self) -> SlaveHealth:
        """Return them as the fleet is told."""
        timeouts = self.unanswered - self.garbled
        return SlaveHealth(self.address, self.requests, self.answered, timeouts, self.garbled, self.exceptions)

    def told(self) -> str:
        """Return them in words, "" if nothing went wrong."""
        parts = [f"{self.unanswered} of {self.requests} unanswered"] if self.unanswered else []
        parts += [f"{self.garbled} garbled"] if self.garbled else []
        parts += [f"{self.exceptions} exceptions"] if self.exceptions else []
        return f"slave {self.address}: {', '.join(parts)}" if parts else ""
