"""Labels of series, as Prometheus has them, and matchers that choose by them.

A series of Fieldline has a name with dots, such as `board.temp`; a metric of Prometheus has none. So the metric is
named `board_temp`, and the label `series` holds the name as it is. A label that a series does not have is as "".

Regular expressions match whole values. They are those that cannot run away: no group is repeated, and a few
characters at most. That is what Grafana's variables make, and what people type.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

NAME = "__name__"
SERIES = "series"
MAX_PATTERN_CHARS = 16_384  # of a regular expression: a variable of Grafana's may name some hundred devices
MAX_REPEATS = 3  # in one alternative

Labels = Mapping[str, str]

_FOREIGN = re.compile(r"[^a-zA-Z0-9_:]")
_PIECE = re.compile(
    r"""(?P<group>\((?!\?)|\(\?:)|(?P<close>\))|(?P<bar>\|)|(?P<repeat>[*+?]\??)"""
    r"""|(?P<one>\\[^a-zA-Z0-9]|\\[dDsSwW]|\[\^?\]?(?:\\.|[^\]\\])*\]|[^\\()\[\]{}*+?|])""",
    re.DOTALL,
)


class Operator(StrEnum):
    """How a label's value is compared."""

    EQUAL = "="
    UNEQUAL = "!="
    MATCHES = "=~"
    MATCHES_NOT = "!~"


@dataclass(frozen=True, slots=True)
class Matcher:
    """One comparison; `value` is a regular expression where the operator says so."""

    label: str
    operator: Operator
    value: str

    def fits(self, labels: Labels) -> bool:
        """Tell whether labels are chosen."""
        said = labels.get(self.label, "")
        match self.operator:
            case Operator.EQUAL:
                return said == self.value
            case Operator.UNEQUAL:
                return said != self.value
            case Operator.MATCHES:
                return pattern(self.value).fullmatch(said) is not None
            case Operator.MATCHES_NOT:
                return pattern(self.value).fullmatch(said) is None

    def values(self) -> tuple[str, ...] | None:
        """Return the only values that fit, where they can be named; None otherwise."""
        if self.operator is Operator.EQUAL:
            return (self.value,)
        if self.operator is not Operator.MATCHES:
            return None
        text = self.value
        if text.startswith("(") and text.endswith(")"):
            text = text[1:-1]
        parts = re.split(r"(?<!\\)\|", text)
        if any(re.search(r"(?<!\\)[.*+?()\[\]]|\\[a-zA-Z0-9\\]", part) for part in parts):
            return None
        return tuple(part.replace("\\", "") for part in parts)


def metric_name(series: str) -> str:
    """Return the metric's name of a series: what Prometheus does not allow becomes `_`."""
    name = _FOREIGN.sub("_", series)
    return f"_{name}" if name[:1].isdigit() else name


@lru_cache(256)
def pattern(text: str) -> "re.Pattern[str]":
    """Compile a regular expression; raises ValueError with a sentence."""
    if len(text) > MAX_PATTERN_CHARS:
        raise ValueError(f"a regular expression has at most {MAX_PATTERN_CHARS} characters")
    at, repeats, before = 0, 0, ""
    while at < len(text):
        piece = _PIECE.match(text, at)
        if piece is None:
            raise ValueError(f"the regular expression {text[:64]!r} says {text[at : at + 4]!r}, which is not supported")
        if piece.lastgroup == "repeat":
            repeats += 1
            if before != "one":
                raise ValueError(f"the regular expression {text[:64]!r} repeats a group, which is not supported")
            if repeats > MAX_REPEATS:
                raise ValueError(f"the regular expression {text[:64]!r} repeats more than {MAX_REPEATS} times in a row")
        elif piece.lastgroup == "bar":
            repeats = 0
        before, at = str(piece.lastgroup), piece.end()
    try:
        return re.compile(text, re.DOTALL | re.ASCII)
    except re.error as error:
        raise ValueError(f"the regular expression {text[:64]!r} is none: {error}") from error
