"""The simulators' errors: what happened, to what, and a hint."""


class SimError(Exception):
    """Base of all errors of the simulators. `hint` is the next step for a person, "" if there is none."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Return the message, and the hint in a sentence of its own."""
        return f"{self.message} {self.hint}".strip()


class Refused(SimError):
    """What was asked for does not fit this board: another protocol, quantity or fault is needed."""


class Unavailable(SimError):
    """A pty, a link, a ledger or a running board cannot be had now."""
