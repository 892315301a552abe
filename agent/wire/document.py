"""Strict reading of a config document: TOML tables in, typed values out, and an error that helps for all else.

A reader asks a `Table` for each key that it knows and then calls `done()`; whatever nobody asked for is an error
that names the key, where it stands and the nearest key that is known. So the code that reads a table is also the
list of its keys. Used for the device's config on both sides.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from agent.wire.codec import NAME
from agent.wire.limits import MAX_CONFIG_BYTES

E = TypeVar("E", bound=StrEnum)


class DocumentError(ValueError):
    """A config document says something that cannot be followed; the message is ready for a person."""

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place}: {problem}" if place else problem)
        self.place = place
        self.problem = problem


def parse_document(text: str) -> "Table":
    """Parse a config document; raises DocumentError with line and column where it is not TOML."""
    if len(text.encode()) > MAX_CONFIG_BYTES:
        raise DocumentError("", f"the document has {len(text.encode())} bytes, more than {MAX_CONFIG_BYTES}")
    try:
        return Table(tomllib.loads(text), "")
    except tomllib.TOMLDecodeError as error:
        raise DocumentError("", f"not valid TOML: {error}") from error


class Table:
    """One table of a document, read key by key. `place` is its path, as in `source[0].lines`."""

    def __init__(self, values: Mapping[str, Any], place: str) -> None:
        self.place = place
        self._values = values
        self._known: set[str] = set()

    def __contains__(self, key: str) -> bool:
        """Tell whether the key is given; it counts as known from here on."""
        self._known.add(key)
        return key in self._values

    def has(self, key: str) -> bool:
        """Tell whether the key is given, without making it known: for keys that are refused here with a reason."""
        return key in self._values

    @property
    def values(self) -> Mapping[str, Any]:
        """The keys and values as TOML has them; reading them here makes no key known."""
        return self._values

    def empty(self) -> bool:
        """Tell whether the table has no keys at all."""
        return not self._values

    def text(self, key: str, default: str | None = None) -> str:
        """Return a string; required if there is no default."""
        return str(self._get(key, (str,), "a string", default))

    def name(self, key: str, default: str | None = None) -> str:
        """Return a string that may become part of a series or rule name."""
        value = self.text(key, default)
        if not NAME.fullmatch(value):
            raise self.error(key, f"{value!r} is not a name: letters, digits and _ . : / - only")
        return value

    def number(
        self, key: str, default: float | None = None, *, least: float = float("-inf"), most: float = float("inf")
    ) -> float:
        """Return a finite number within `least`…`most`."""
        try:
            value = float(self._get(key, (int, float), "a number", default))
        except OverflowError:
            value = float("inf")
        if not (least <= value <= most and abs(value) != float("inf")):
            raise self.error(key, f"{value:g} is not within {least:g}…{most:g}")
        return value

    def integer(self, key: str, default: int | None = None, *, least: int = 0, most: int = 2**63 - 1) -> int:
        """Return a whole number within `least`…`most`."""
        value: int = self._get(key, (int,), "a whole number", default)
        if not least <= value <= most:
            raise self.error(key, f"{value} is not within {least}…{most}")
        return value

    def scalar(self, key: str) -> float | int | str | bool:
        """Return a number, a string, or true or false; required."""
        value: float | int | str | bool = self._get(key, (int, float, str, bool), "a number, a string or a flag", None)
        if isinstance(value, float) and not abs(value) < float("inf"):
            raise self.error(key, f"{value:g} is no finite number")
        return value

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """Return true or false."""
        return bool(self._get(key, (bool,), "true or false", default))

    def choice(self, key: str, kind: type[E], default: E | None = None) -> E:
        """Return a member of a closed set."""
        value = self.text(key, default)
        if value not in set(kind):
            raise self.error(key, f"{value!r} is none of {', '.join(kind)}{_nearest(value, set(kind))}")
        return kind(value)

    def choices(self, key: str, kind: type[E], default: tuple[E, ...]) -> tuple[E, ...]:
        """Return members of a closed set, at least one, each once."""
        values = self._get(key, (list,), "an array of strings", list(default))
        for value in values:
            if not isinstance(value, str) or value not in set(kind):
                raise self.error(key, f"{value!r} is none of {', '.join(kind)}{_nearest(str(value), set(kind))}")
        if not values or len(set(values)) < len(values):
            raise self.error(key, "names one twice" if values else "empty; leave it out for all")
        return tuple(kind(value) for value in values)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return an array of strings; empty if absent."""
        values = self._get(key, (list,), "an array of strings", [])
        for value in values:
            if not isinstance(value, str):
                raise self.error(key, f"expected strings, got {_kind_of(value)}")
        return tuple(values)

    def pattern(self, key: str, default: str | None = None) -> re.Pattern[str]:
        """Return a regular expression, compiled."""
        try:
            return re.compile(self.text(key, default))
        except re.error as error:
            raise self.error(key, f"not a regular expression: {error}") from error

    def table(self, key: str) -> "Table":
        """Return a nested table; an absent one reads as empty, so that its own keys say what is missing."""
        return Table(self._get(key, (dict,), "a table", {}), self._path(key))

    def tables(self, key: str) -> list["Table"]:
        """Return an array of tables, empty if absent."""
        items = self._get(key, (list,), "an array of tables", [])
        for i, item in enumerate(items):
            if not isinstance(item, dict):
                raise self.error(f"{key}[{i}]", f"expected a table, got {_kind_of(item)}")
        return [Table(item, f"{self._path(key)}[{i}]") for i, item in enumerate(items)]

    def done(self) -> None:
        """Raise DocumentError if a key is left that nobody has asked for."""
        for key in self._values:
            if key not in self._known:
                raise self.error(key, f"unknown key{_nearest(key, self._known)}")

    def error(self, key: str, problem: str) -> DocumentError:
        """Make an error about one key of this table."""
        return DocumentError(self._path(key), problem)

    def _path(self, key: str) -> str:
        return f"{self.place}.{key}" if self.place else key

    def misspelt(self, key: str) -> str:
        """Return a question that names the unknown key that may be meant for this one, "" if none is near."""
        near = difflib.get_close_matches(key, self._values.keys() - self._known, n=1)
        return f"; is {near[0]!r} meant to be it?" if near else ""

    def _get(self, key: str, kinds: tuple[type, ...], what: str, default: Any) -> Any:  # noqa: ANN401 - TOML
        self._known.add(key)
        if key not in self._values:
            if default is None:
                raise self.error(key, f"missing; it is {what}{self.misspelt(key)}")
            return default
        value = self._values[key]
        if type(value) not in kinds:
            raise self.error(key, f"expected {what}, got {_kind_of(value)}")
        return value


def _nearest(word: str, known: set[str]) -> str:
    near = difflib.get_close_matches(word, sorted(map(str, known)), n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known here: {', '.join(sorted(known))}" if known else ""


def _kind_of(value: object) -> str:
    names = {
        str: "a string",
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        list: "an array",
        dict: "a table",
    }
    return names.get(type(value), f"a {type(value).__name__}")
