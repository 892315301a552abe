"""What `fleet-agent doctor` finds: a level, what was seen, and what to do about it."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"  # works now, and will not for ever or not at its best
    FAIL = "fail"  # does not work


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check."""

    check: str  # what was looked at, in a word
    level: Level
    said: str  # one sentence
    do: str = ""  # the next step; "" if there is nothing to do


def ok(check: str, said: str) -> Finding:
    """Return a finding with which all is well."""
    return Finding(check, Level.OK, said)


def warn(check: str, said: str, do: str) -> Finding:
    """Return a finding that should be seen to."""
    return Finding(check, Level.WARN, said, do)


def fail(check: str, said: str, do: str) -> Finding:
    """Return a finding of something that does not work."""
    return Finding(check, Level.FAIL, said, do)


def worst(findings: Iterable[Finding]) -> Level:
    """Return the worst level."""
    order = tuple(Level)
    return max((finding.level for finding in findings), key=order.index, default=Level.OK)


def render(finding: Finding) -> str:
    """Return one finding for a person."""
    line = f"{finding.level:<5} {finding.check:<12} {finding.said}"
    return f"{line}\n{'':<19}{finding.do}" if finding.do else line


def to_json(findings: Sequence[Finding]) -> dict[str, object]:
    """Return all of them for a program; the shape is stable, fields are only added."""
    return {"version": 1, "worst": worst(findings), "findings": [asdict(finding) for finding in findings]}
