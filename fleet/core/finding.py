"""What `fleet doctor` finds: a level, what was seen, of which device, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"  # works now, and will not for ever or not at its best
    FAIL = "fail"  # does not work, or is not as it must be


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check."""

    check: str  # what was looked at, in a word
    level: Level
    said: str  # one sentence
    do: str = ""  # the next step; "" if there is nothing to do
    device_id: str | None = None  # None: it is about no one device


def ok(check: str, said: str) -> Finding:
    """Return a finding with which all is well."""
    return Finding(check, Level.OK, said)


def warn(check: str, said: str, do: str, device_id: str | None = None) -> Finding:
    """Return a finding that should be seen to."""
    return Finding(check, Level.WARN, said, do, device_id)


def fail(check: str, said: str, do: str, device_id: str | None = None) -> Finding:
    """Return a finding of something that is not as it must be."""
    return Finding(check, Level.FAIL, said, do, device_id)
