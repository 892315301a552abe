"""The agent's errors. Each leaf says what the caller can do; each message what happened, to what, and what next."""


class AgentError(Exception):
    """Base of all errors of the agent. `hint` is the next step for a person, "" if there is none."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Return the message, and the hint in a sentence of its own."""
        return f"{self.message} {self.hint}".strip()


class Unavailable(AgentError):
    """Something is not there now and may come back: a port, a server, a broker. Try again with back-off."""


class Busy(Unavailable):
    """The other side is there and asks for time: try again after `wait_s` seconds."""

    def __init__(self, message: str, *, wait_s: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.wait_s = wait_s


class Refused(AgentError):
    """The other side understood and said no. Trying the same again is useless; carry on without it."""


class Misconfigured(AgentError):
    """A person has to change something: a claim, a config, a file's rights. Stop with the message."""


class Damaged(AgentError):
    """A file of ours cannot be read. Set it aside and start anew."""
