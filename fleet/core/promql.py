"""The part of PromQL that is answered, as a tree.

    board_temp{product="freezer", site=~"Berlin.*"}          the newest value at each step
    max_over_time(board_temp[1h])                            min, max, avg, sum, count, last; rate, increase
    max by (product) (board_temp)                            sum, min, max, avg, count; by or without
    board_temp * 1.8 + 32, count(board_temp > 5)             arithmetic and comparison with a number

What else there is, is refused in words: an answer that is nearly right is worse than none.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from fleet.core.label import NAME, Matcher, Operator, pattern

MAX_CHARS = 32_768
MAX_DEPTH = 32  # of brackets in each other

OVER_TIME = ("min", "max", "avg", "sum", "count", "last")
RANGE_FUNCTIONS = (*(f"{name}_over_time" for name in OVER_TIME), "rate", "increase")
AGGREGATES = ("sum", "min", "max", "avg", "count")
COMPARISONS = ("==", "!=", "<", ">", "<=", ">=")
SUPPORTED = (
    "Supported are selectors with = != =~ !~, "
    f"{', '.join(RANGE_FUNCTIONS)} of a range, {', '.join(AGGREGATES)} with by or without, "
    "and + - * / and comparison with a number."
)

_UNITS_US = {
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
    "y": 31_536_000_000_000,
}
_SPAN = re.compile(r"(\d{1,12})(ms|s|m|h|d|w|y)")
_TOKEN = re.compile(
    r"""\s*(?:\#[^\n]*\s*)*(?:
    (?P<span>\d+(?:ms|[smhdwy])(?:\d+(?:ms|[smhdwy]))*(?![a-zA-Z0-9_]))
    |(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)
    |(?P<sign>=~|!~|==|!=|<=|>=|[-+*/%^(){}\[\],=<>@:])
    |(?P<end>$)
    )""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}


@dataclass(frozen=True, slots=True)
class Number:
    """A number."""

    value: float


@dataclass(frozen=True, slots=True)
class Selector:
    """The newest value, at each step, of the series that fit all matchers."""

    matchers: tuple[Matcher, ...]


@dataclass(frozen=True, slots=True)
class Over:
    """A function of the readings of the last `range_us` before each step."""

    function: str
    matchers: tuple[Matcher, ...]
    range_us: int


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Series brought together that agree in `labels`, or in all but those where `without`."""

    function: str
    inner: "Expression"
    labels: tuple[str, ...]
    without: bool


@dataclass(frozen=True, slots=True)
class Binary:
    """Arithmetic or comparison, at most one side of which is series; `as_number` gives 0 and 1 instead of choosing."""

    operator: str
    left: "Expression"
    right: "Expression"
    as_number: bool = False


Expression = Number | Selector | Over | Aggregate | Binary


class PromqlError(ValueError):
    """The query is not one that is answered; the message says where and why."""


def parse(text: str) -> Expression:
    """Read a query; raises PromqlError."""
    return _Parser(text).whole()


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """Read a selector alone, as in `match[]`; raises PromqlError."""
    found = parse(text)
    if not isinstance(found, Selector):
        raise PromqlError(f"{text[:64]!r} is not a selector of series")
    return found.matchers


def parse_span(text: str) -> int:
    """Read a length of time such as `5m` or `1h30m`, in microseconds; raises PromqlError."""
    if re.fullmatch(rf"(?:{_SPAN.pattern})+", text) is None:
        raise PromqlError(f"{text[:32]!r} is not a length of time; say 30s, 5m, 1h30m or 7d")
    return sum(int(amount) * _UNITS_US[unit] for amount, unit in _SPAN.findall(text))


def is_scalar(one: Expression) -> bool:
    """Tell whether an expression is a number and no series."""
    return isinstance(one, Number) or (isinstance(one, Binary) and is_scalar(one.left) and is_scalar(one.right))


class _Parser:
    """Recursive descent over tokens: comparison binds weakest, then + -, then * / %, then a sign."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_CHARS:
            raise PromqlError(f"a query has at most {MAX_CHARS} characters")
        self._text = text
        self._tokens = list(self._read())
        self._at = 0
        self._depth = 0

    def whole(self) -> Expression:
        found = self._expression()
        if self._kind() != "end":
            self._refuse()
        return found

    def _read(self) -> Sequence[tuple[str, str, int]]:
        tokens: list[tuple[str, str, int]] = []
        at = 0
        while not tokens or tokens[-1][0] != "end":
            found = _TOKEN.match(self._text, at)
            if found is None:
                raise PromqlError(f"at character {at + 1}: {self._text[at : at + 16]!r} is not PromQL")
            kind = str(found.lastgroup)
            tokens.append((kind, found[kind], found.start(kind)))
            at = found.end()
        return tokens

    def _kind(self) -> str:
        return self._tokens[self._at][0]

    def _word(self) -> str:
        return self._tokens[self._at][1]

    def _next(self) -> str:
        word = self._word()
        self._at += 1
        return word

    def _is(self, *words: str) -> bool:
        return self._kind() in ("sign", "name") and self._word() in words

    def _expect(self, word: str) -> None:
        if not self._is(word):
            self._refuse(f"{word!r} is missing")
        self._at += 1

    def _refuse(self, why: str = "") -> NoReturn:
        kind, word, at = self._tokens[self._at]
        said = why or (f"{word[:32]!r} is not supported here" if kind != "end" else "the query ends too early")
        raise PromqlError(f"at character {at + 1}: {said}. {SUPPORTED}")

    def _expression(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise PromqlError(f"a query has at most {MAX_DEPTH} brackets in each other")
        left = self._sum()
        while self._is(*COMPARISONS):
            operator = self._next()
            as_number = self._is("bool")
            self._at += as_number
            left = self._binary(operator, left, self._sum(), as_number=as_number)
        self._depth -= 1
        return left

    def _sum(self) -> Expression:
        left = self._product()
        while self._is("+", "-"):
            left = self._binary(self._next(), left, self._product())
        return left

    def _product(self) -> Expression:
        left = self._signed()
        while self._is("*", "/", "%"):
            left = self._binary(self._next(), left, self._signed())
        return left

    def _signed(self) -> Expression:
        negative = False
        while self._is("-", "+"):
            negative ^= self._next() == "-"
        found = self._one()
        return Binary("*", Number(-1.0), found) if negative else found

    def _binary(self, operator: str, left: Expression, right: Expression, *, as_number: bool = False) -> Expression:
        scalars = is_scalar(left) + is_scalar(right)
        if not scalars:
            self._refuse(f"{operator} between series and series is not supported")
        if operator in COMPARISONS and scalars == 2 and not as_number:  # noqa: PLR2004 - both sides
            self._refuse("numbers are compared with bool: 1 == bool 1")
        return Binary(operator, left, right, as_number)

    def _one(self) -> Expression:
        kind, word, _ = self._tokens[self._at]
        if kind == "number" or (kind == "name" and word.lower() in ("inf", "nan")):
            return Number(float(self._next()))
        if self._is("("):
            self._at += 1
            found = self._expression()
            self._expect(")")
            return found
        if self._is("{"):
            return self._selector("")
        if kind != "name":
            self._refuse()
        following = self._tokens[self._at + 1][1]
        if word in AGGREGATES and following in ("(", "by", "without"):
            return self._aggregate()
        return self._over() if following == "(" else self._selector(self._next())

    def _aggregate(self) -> Expression:
        function = self._next()
        labels, without = self._grouping()
        self._expect("(")
        inner = self._expression()
        self._expect(")")
        if is_scalar(inner):
            self._refuse(f"{function} is of series, not of a number")
        if not labels and not without:
            labels, without = self._grouping()
        return Aggregate(function, inner, labels, without)

    def _grouping(self) -> tuple[tuple[str, ...], bool]:
        if not self._is("by", "without"):
            return (), False
        without = self._next() == "without"
        self._expect("(")
        labels: list[str] = []
        while self._kind() == "name":
            labels.append(self._next())
            if not self._is(")"):
                self._expect(",")
        self._expect(")")
        return tuple(labels), without

    def _over(self) -> Expression:
        function = self._word()
        if function not in RANGE_FUNCTIONS:
            self._refuse(f"the function {function} is not supported")
        self._at += 1
        self._expect("(")
        name = self._next() if self._kind() == "name" else ""
        inner = self._selector(name, ranged=True)
        self._expect("[")
        if self._kind() != "span":
            self._refuse("a range is a length of time such as [5m]")
        range_us = parse_span(self._next())
        self._expect("]")
        self._expect(")")
        if range_us <= 0:
            self._refuse("a range is longer than 0")
        return Over(function, inner.matchers, range_us)

    def _selector(self, name: str, *, ranged: bool = False) -> Selector:
        matchers = [Matcher(NAME, Operator.EQUAL, name)] if name else []
        if self._is("{"):
            self._at += 1
            while not self._is("}"):
                matchers.append(self._matcher())
                if not self._is("}"):
                    self._expect(",")
            self._at += 1
        if not any(one.operator in (Operator.EQUAL, Operator.MATCHES) and one.value for one in matchers):
            self._refuse('a selector names something: a metric, or a label such as {series="board.temp"}')
        if self._is("[") and not ranged:
            self._refuse("a range stands in a function, such as max_over_time(board_temp[5m])")
        if self._is("offset", "@"):
            self._refuse(f"{self._word()} is not supported")
        return Selector(tuple(matchers))

    def _matcher(self) -> Matcher:
        if self._kind() != "name":
            self._refuse("a label's name is missing")
        label = self._next()
        if not self._is(*Operator):
            self._refuse("one of = != =~ !~ is missing")
        operator = Operator(self._next())
        if self._kind() != "text":
            self._refuse("a value stands in quotes")
        value = _unquoted(self._next())
        if operator in (Operator.MATCHES, Operator.MATCHES_NOT):
            try:
                pattern(value)
            except ValueError as error:
                raise PromqlError(str(error)) from error
        return Matcher(label, operator, value)


def _unquoted(said: str) -> str:
    if said[0] == "`":
        return said[1:-1]
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), said[1:-1])
