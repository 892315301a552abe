"""Labels of series, as Prometheus has them, and matchers that choose by them.

A series of Fieldline has a name with dots, such as `board.temp`; a metric of Prometheus has none. So the metric is
named `board_temp`, and the label `series` holds the name as it is. A label that a series does not have is as "".

Regular expressions match whole values. Python's engine backtracks, and nobody else runs while it does, so they are
those that cannot run away: one group, which is not repeated, and few repetitions. That is what Grafana's variables
make, and what people type.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

NAME = "__name__"
SERIES = "series"
MAX_PATTERN_CHARS = 16_384  # of a regular expression: a variable of Grafana's may name some hundred devices
MAX_REPEATS = 2  # in one alternative: .*door.*
MAX_ALL_REPEATS = 16

Labels = Mapping[str, str]

_FOREIGN = re.compile(r"[^a-zA-Z0-9_:]")
_PIECE = re.compile(
    r"""(?P<group>\((?!\?)|\(\?:)|(?P<close>\))|(?P<bar>\|)|(?P<repeat>[*+?]\??)"""
    r"""|(?P<one>\\[^a-zA-Z0-9]|\\[dDsSwW]|\[\^?\]?(?:\\.|(?!--|&&|~~|\|\|)[^\[\]\\])*\]|[^\\()\[\]{}*+?|])""",
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
        if any(re.search(r"(?<!\\)[.*+?^$()\[\]]|\\[a-zA-Z0-9\\]", part) for part in parts):
            return None
        return tuple(part.replace("\\", "") for part in parts)


def metric_name(series: str) -> str:
    """Return the metric's name of a series: what Prometheus does not allow becomes `_`."""
    name = _FOREIGN.sub("_", series)
    return f"_{name}" if name[:1].isdigit() else name


@lru_cache(256)
def pattern(text: str) -> "re.Pattern[str]":
    """Compile a regular expression; raises ValueError with a sentence."""
    why = _refused(text)
    if why:
        raise ValueError(f"the regular expression {text[:64]!r} {why}, which is not supported")
    try:
        return re.compile(text, re.DOTALL | re.ASCII)
    except re.error as error:
        raise ValueError(f"the regular expression {text[:64]!r} is none: {error}") from error


def _refused(text: str) -> str:
    """Say why a regular expression might run away, or cannot be read; "" if it is well."""
    if len(text) > MAX_PATTERN_CHARS:
        return f"has more than {MAX_PATTERN_CHARS} characters"
    at, here, before = 0, 0, ""
    count = {"repeat": 0, "group": 0}
    while at < len(text):
        piece = _PIECE.match(text, at)
        if piece is None:
            return f"says {text[at : at + 4]!r}"
        kind = str(piece.lastgroup)
        if kind in count:
            count[kind] += 1
        if kind == "repeat" and before != "one":
            return "repeats a group"
        here = 0 if kind == "bar" else here + (kind == "repeat")
        before, at = kind, piece.end()
        if here > MAX_REPEATS or count["repeat"] > MAX_ALL_REPEATS:
            return f"has more than {MAX_REPEATS} repetitions in an alternative, or {MAX_ALL_REPEATS} in all"
    return "has more than one group" if count["group"] > 1 else ""
