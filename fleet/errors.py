"""The fleet's errors. Each leaf says what the caller can do; each message what happened, to which device, what next."""


class FleetError(Exception):
    """Base of all errors of the fleet. `hint` is the next step for a person, "" if there is none."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NotFound(FleetError):
    """There is no such device, ticket, alarm, … (HTTP 404, exit code 3)."""


class Invalid(FleetError):
    """The request says something that cannot be followed (HTTP 422, exit code 1)."""


class Refused(FleetError):
    """Understood, and not allowed: a right, or a state that forbids it (HTTP 403 or 409, exit code 4)."""


class Unauthenticated(FleetError):
    """No valid credential was shown (HTTP 401, exit code 4)."""


class Busy(FleetError):
    """Too much at once; try again after `retry_after_s` (HTTP 503)."""

    def __init__(self, message: str, *, retry_after_s: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class Misconfigured(FleetError):
    """The operator has to change something before the server can run; stop with the message."""
