"""A quantity of a source: what a value is called, its unit, and how the raw value becomes a reading.

Printed numbers stay what they are: `-18.20` is the float -18.2, `42` stays an integer, and a scale that is a power of
ten divides instead of multiplying, so that 183 tenths are 18.3 and not 18.300000000000001. A value that the sensor
marks as missing (empty, `nan`, `null`) is None: it answered, and had nothing valid to say.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from agent.wire.document import DocumentError, Table
from agent.wire.limits import MAX_INTEGER, MAX_UNIT_CHARS, MAX_VALUE_CHARS
from agent.wire.messages import Value

MAX_QUANTITY_CHARS = 64  # with the source's name before it, below MAX_NAME_CHARS
MAX_QUANTITIES = 256  # of one source
MAX_SCALE = 1e12  # and the least is its inverse

MISSING = frozenset({"", "nan", "null", "none", "na", "n/a", "inf", "-inf", "+inf"})
FLAGS = {"1": 1, "true": 1, "on": 1, "yes": 1, "0": 0, "false": 0, "off": 0, "no": 0}
MISTAKES = {
    "°C": "Cel",
    "℃": "Cel",
    "degC": "Cel",
    "celsius": "Cel",
    "°F": "[degF]",
    "degF": "[degF]",
    "%RH": "%",
    "kWh": "kW.h",
    "Wh": "W.h",
    "rpm": "/min",
    "ppm": "[ppm]",
    "µg/m³": "ug/m3",
    "m³": "m3",
    "Ω": "Ohm",
    "°": "deg",
    "knots": "[kn_i]",
}
"""Units as people write them, and their UCUM code."""

_UNIT = re.compile(rf"[!-~]{{1,{MAX_UNIT_CHARS}}}")


class Unreadable(ValueError):
    """A raw value is not what the config says that it is."""


class Kind(StrEnum):
    """What a printed value is."""

    NUMBER = "number"
    FLAG = "flag"  # 0 or 1; also true, on, yes
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Quantity:
    """One value of a source: reading = raw · scale + offset."""

    name: str
    unit: str
    kind: Kind = Kind.NUMBER
    scale: float = 1.0
    offset: float = 0.0

    @property
    def plain(self) -> bool:
        """Tell whether the raw value is a number that needs no arithmetic."""
        return self.kind is Kind.NUMBER and self.scale == 1.0 and self.offset == 0.0

    def from_text(self, text: str) -> Value:
        """Read a printed value; raises Unreadable."""
        if self.kind is Kind.NUMBER:
            value = number(text)
            return value if value is None or self.plain else self.scaled(value)
        text = text.strip()
        if self.kind is Kind.TEXT:
            return text[:MAX_VALUE_CHARS].replace("\0", "") or None
        if text.lower() in MISSING:
            return None
        if text.lower() not in FLAGS:
            raise Unreadable(f"{self.name}: {text[:40]!r} is neither on nor off")
        return FLAGS[text.lower()]

    def from_json(self, value: object) -> Value:
        """Read a value of a JSON object; raises Unreadable."""
        if value is None:
            return None
        if isinstance(value, str):
            return self.from_text(value)
        if not isinstance(value, bool | int | float):
            raise Unreadable(f"{self.name}: expected a value, got {type(value).__name__}")
        if self.kind is Kind.TEXT:
            return str(value)[:MAX_VALUE_CHARS]
        bounded = int(value) if isinstance(value, bool) else _bounded(value)
        if self.kind is Kind.FLAG:
            return None if bounded is None else int(bool(bounded))
        return bounded if bounded is None or self.plain else self.scaled(bounded)

    def scaled(self, raw: float) -> float | int | None:
        """Return raw · scale + offset; None where that is no finite number."""
        if self.scale == 1.0 and self.offset == 0.0:
            return _bounded(raw)
        inverse = round(1 / self.scale)
        value = raw / inverse if inverse and self.scale == 1 / inverse else raw * self.scale
        return _bounded(round(value + self.offset, 12) if self.offset else value)


def number(text: str) -> float | int | None:
    """Read a printed number: an int if it is printed as one, None if it is marked as missing; raises Unreadable."""
    try:
        return _bounded(float(text) if "." in text else int(text)) if "_" not in text else _other(text)
    except ValueError:
        return _other(text)


def _other(text: str) -> float | None:
    word = text.strip().lower()
    if word in MISSING:
        return None
    try:
        return _bounded(float(word.replace("_", "?")))  # 1_000 is Python's way of writing, not an instrument's
    except ValueError:
        raise Unreadable(f"{text.strip()[:40]!r} is not a number") from None


def _bounded(value: float) -> float | int | None:
    if -MAX_INTEGER <= value <= MAX_INTEGER:
        return value
    try:
        wide = float(value)
    except OverflowError:
        return None
    return wide if math.isfinite(wide) else None


def read_quantity(table: Table) -> Quantity:
    """Read the keys that every quantity has: name, unit, type, scale, offset; the caller calls `done`."""
    name = table.name("name")
    if len(name) > MAX_QUANTITY_CHARS:
        raise table.error("name", f"{len(name)} characters, more than {MAX_QUANTITY_CHARS}")
    kind = table.choice("type", Kind, Kind.NUMBER)
    return Quantity(name, read_unit(table), kind, *read_scale(table))


def read_unit(table: Table) -> str:
    """Read a UCUM unit; `1` is that of a bare number."""
    unit = table.text("unit")
    if unit in MISTAKES:
        raise table.error("unit", f"{unit!r} is not UCUM; did you mean {MISTAKES[unit]!r}?")
    if not _UNIT.fullmatch(unit):
        raise table.error(
            "unit", f'{unit!r} is not UCUM: 1…{MAX_UNIT_CHARS} ASCII characters without spaces, "1" for a bare number'
        )
    return unit


def read_scale(table: Table) -> tuple[float, float]:
    """Read scale and offset."""
    scale = table.number("scale", 1.0, least=-MAX_SCALE, most=MAX_SCALE)
    if abs(scale) < 1 / MAX_SCALE:
        raise table.error("scale", f"{scale:g} would make every reading the same")
    return scale, table.number("offset", 0.0)


def check_names(table: Table, key: str, names: Iterable[str]) -> None:
    """Raise DocumentError if there is no quantity, too many, or a name twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise table.error(key, f"{name!r} is there twice; a series has one source of values")
        seen.add(name)
    if not seen:
        raise table.error(key, "missing; name at least one value and its unit")
    if len(seen) > MAX_QUANTITIES:
        raise DocumentError(table.place, f"{len(seen)} values, more than {MAX_QUANTITIES} of one source")
