r"""Lines of text, as sketches and instruments print them: csv, json, key=value, or a regular expression.

    csv     -18.2,0                     columns by position; `{}` passes over one
    json    {"t": {"top": -18.2}}       `key = "t.top"` goes down by dots
    kv      temp=-18.2 door=0           `=` or `:`; blanks, commas or semicolons between
    regex   T=(?P<temp>\S+)             named groups

A line gives one Emit, or one Fault where it cannot be read as a whole; nothing of a damaged line is believed. In json,
kv and regex a line may lack some of the values. Empty lines, comments, a csv header that names the columns, and what
`skip` matches are passed over.
"""

import difflib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from agent.core.frames import DEFAULT_MAX_LINE_BYTES, LineSplitter
from agent.core.quantity import Quantity, Unreadable, check_names, number, read_quantity
from agent.ports import Action, Emit, Fault, PortSettings
from agent.wire.document import Table
from agent.wire.messages import Value

MAX_MAX_LINE_BYTES = 65_536
MAX_QUOTED_CHARS = 60  # of a line that is quoted in a fault

Values = tuple[tuple[str, str, Value], ...]
Parse = Callable[[str], Values]


class Format(StrEnum):
    """How a line carries its values."""

    CSV = "csv"
    JSON = "json"
    KV = "kv"
    REGEX = "regex"


@dataclass(frozen=True, slots=True)
class Column:
    """One value of a line: where it stands, and what it is."""

    key: str
    quantity: Quantity


@dataclass(frozen=True, slots=True)
class LinesOptions:
    """The table `[source.lines]`."""

    format: Format
    columns: tuple[Column | None, ...]  # None: a csv column that is passed over
    delimiter: str = ","
    pattern: re.Pattern[str] | None = None
    skip: re.Pattern[str] | None = None
    comment: str = "#"
    line_end: str = "\n"
    max_line_bytes: int = DEFAULT_MAX_LINE_BYTES


def read(table: Table) -> LinesOptions:
    """Read `[source.lines]`."""
    kind = table.choice("format", Format)
    pattern = table.pattern("pattern") if kind is Format.REGEX else None
    columns = tuple(_read_column(item, kind, pattern) for item in table.tables("columns"))
    check_names(table, "columns", [column.quantity.name for column in columns if column])
    options = LinesOptions(
        kind,
        columns,
        delimiter=table.text("delimiter", ",") if kind is Format.CSV else ",",
        pattern=pattern,
        skip=table.pattern("skip") if "skip" in table else None,
        comment=table.text("comment", "#"),
        line_end=table.text("line_end", "\n"),
        max_line_bytes=table.integer("max_line_bytes", DEFAULT_MAX_LINE_BYTES, least=16, most=MAX_MAX_LINE_BYTES),
    )
    for key in ("delimiter", "line_end"):
        if not getattr(options, key):
            raise table.error(key, "empty; it is at least one character")
    table.done()
    return options


def _read_column(table: Table, kind: Format, pattern: re.Pattern[str] | None) -> Column | None:
    if kind is Format.CSV and table.empty():
        return None
    quantity = read_quantity(table)
    key = quantity.name if kind is Format.CSV else table.text("key", quantity.name)
    if pattern is not None and key not in pattern.groupindex:
        near = difflib.get_close_matches(key, pattern.groupindex, n=1) or sorted(pattern.groupindex)
        raise table.error("key", f"the pattern has no group {key!r}; it has: {', '.join(near) or 'none'}")
    table.done()
    return Column(key, quantity)


def open(options: LinesOptions, settings: PortSettings) -> "Lines":  # noqa: A001 - the name the registry calls
    """Start listening."""
    del settings
    return Lines(options)


class Lines:
    """A dialogue that only listens."""

    def __init__(self, options: LinesOptions) -> None:
        self._splitter = LineSplitter(options.line_end.encode(), options.max_line_bytes)
        self._too_long = Fault(f"a line of more than {options.max_line_bytes} bytes was dropped", overlong=True)
        self._comment = options.comment
        self._skip = options.skip
        self._parse = _PARSERS[options.format](options)
        self._header = {column.quantity.name.lower() for column in options.columns if column}
        self._delimiter = options.delimiter if options.format is Format.CSV else None

    def opened(self, now_s: float) -> Sequence[Action]:
        """Start anew."""
        self._splitter.opened(now_s)
        return ()

    def feed(self, data: bytes, now_s: float) -> Sequence[Action]:
        """Take bytes; one action a line."""
        lines, began_s, too_long = self._splitter.split(data, now_s)
        actions: list[Action] = [self._too_long] * too_long
        comment, skip, parse = self._comment, self._skip, self._parse
        at_s: float | None = began_s
        for line in lines:
            text = line.decode("utf-8", "replace").strip()
            if text and not (comment and text.startswith(comment)) and not (skip and skip.search(text)):
                try:
                    actions.append(Emit(parse(text), at_s))
                except Unreadable as error:
                    if not self._is_header(text):
                        actions.append(Fault(f"{error} in {text[:MAX_QUOTED_CHARS]!r}"))
            at_s = None
        return actions

    def tick(self, now_s: float) -> Sequence[Action]:
        """Do nothing: it never asks for one."""
        del now_s
        return ()

    def due(self) -> float | None:
        """Return None: it only listens."""
        return None

    def _is_header(self, text: str) -> bool:
        cells = {cell.strip().strip('"').lower() for cell in text.split(self._delimiter)} if self._delimiter else set()
        return bool(cells & self._header)


def _csv(options: LinesOptions) -> Parse:
    delimiter = None if options.delimiter.isspace() and options.delimiter != "\t" else options.delimiter
    count = len(options.columns)
    read_cells = [
        (i, c.quantity.name, c.quantity.unit, number if c.quantity.plain else c.quantity.from_text)
        for i, c in enumerate(options.columns)
        if c
    ]

    def parse(text: str) -> Values:
        cells = text.split(delimiter)
        if len(cells) != count:
            raise Unreadable(f"{len(cells)} columns instead of {count}")
        return tuple([(name, unit, read_cell(cells[i])) for i, name, unit, read_cell in read_cells])

    return parse


def _json(options: LinesOptions) -> Parse:
    paths = [(column.key.split("."), column.quantity, column.key) for column in options.columns if column]

    def parse(text: str) -> Values:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise Unreadable("no JSON") from None
        if not isinstance(found, dict):
            raise Unreadable("no JSON object")
        values: list[tuple[str, str, Value]] = []
        for path, quantity, key in paths:
            value = _at(found, path, key)
            if value is not _ABSENT:
                values.append((quantity.name, quantity.unit, quantity.from_json(value)))
        return _some(values)

    return parse


_ABSENT = object()


def _at(found: dict[str, object], path: list[str], key: str) -> object:
    if key in found:
        return found[key]
    value: object = found
    for part in path:
        if not isinstance(value, dict) or part not in value:
            return _ABSENT
        value = cast("dict[str, object]", value)[part]
    return value


_PAIR = re.compile(r"([^\s=:,;]+)\s*[=:]\s*([^\s,;]*)")


def _kv(options: LinesOptions) -> Parse:
    columns = [column for column in options.columns if column]
    wanted = [column.key for column in columns]

    def parse(text: str) -> Values:
        pairs = _PAIR.findall(text)
        found = dict(pairs)
        if len(found) != len(pairs):
            _check_once([key for key, _ in pairs], wanted)
        return _some([(q.name, q.unit, q.from_text(found[key])) for key, q in _pairs(columns) if key in found])

    return parse


def _check_once(keys: Sequence[str], wanted: Sequence[str]) -> None:
    """Refuse a line that names a value twice: the first one lost its end, and the next one ran into it."""
    twice = next((key for key in wanted if keys.count(key) > 1), None)
    if twice is not None:
        raise Unreadable(f"{twice} stands there twice, as when two lines run together,")


def _regex(options: LinesOptions) -> Parse:
    columns = [column for column in options.columns if column]
    pattern = options.pattern or re.compile("")

    def parse(text: str) -> Values:
        match = pattern.search(text)
        if match is None:
            raise Unreadable("no match")
        found = match.groupdict()
        return _some(
            [(q.name, q.unit, q.from_text(found[key])) for key, q in _pairs(columns) if found[key] is not None]
        )

    return parse


def _pairs(columns: Sequence[Column]) -> list[tuple[str, Quantity]]:
    return [(column.key, column.quantity) for column in columns]


def _some(values: Sequence[tuple[str, str, Value]]) -> Values:
    if not values:
        raise Unreadable("none of the values")
    return tuple(values)


_PARSERS: dict[Format, Callable[[LinesOptions], Parse]] = {
    Format.CSV: _csv,
    Format.JSON: _json,
    Format.KV: _kv,
    Format.REGEX: _regex,
}
