"""Reading files of text back: NDJSON and CSV, hostile ones too.

Every line is an item, or is rejected with the reason; nothing is left out in silence, and no line ends the file.
"""

import csv
import json
from collections.abc import Callable, Iterator
from typing import IO, Any, NoReturn

from fleet.cli.archive.rows import COLUMNS
from fleet.cli.archive.told import MAX_KNOWN, Device, Head, Item, Place, Reading, Reject, gap_of, machine_of, problem
from fleet.errors import Invalid

MAX_LINE_BYTES = 1024 * 1024
SHOWN_CHARS = 200  # of a rejected line
TEXTS = ("device", "product", "serial", "site", "series", "unit", "clock")
NEEDED = ("device", "series", "t_us", "value")
TOO_LONG = "\0"  # in the place of a line; no other can be so
BOM = b"\xef\xbb\xbf"

_heads: dict[tuple[Any, ...], Head] = {}


def ndjson(file: IO[bytes], start: Place, where: str = "") -> Iterator[Item]:
    """Yield what the lines from `start` on tell."""
    for place, _, raw in _lines(file, start):
        if raw is None:
            yield Reject(place, where, place[1], f"the line has more than {MAX_LINE_BYTES} bytes", "")
            continue
        if not raw.strip():
            continue
        try:
            said = _decode(raw.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            yield _reject(place, where, raw, "it is not UTF-8" if isinstance(error, UnicodeError) else "it is not JSON")
            continue
        found = _item(place, said) if isinstance(said, dict) else "it is no JSON object"
        yield _reject(place, where, raw, found) if isinstance(found, str) else found


def _item(place: Place, said: dict[str, Any]) -> Item | str:
    kind = said.get("kind", "reading")
    if kind == "reading":
        told = tuple(["" if (one := said.get(name)) is None else one for name in TEXTS])
        return _reading(place, told, said.get("t_us"), said.get("v"))
    if kind == "gap":
        return gap_of(place, said)
    if kind == "device":
        machine = machine_of(said)
        return machine if isinstance(machine, str) else Device(place, machine)
    return f"kind: {str(kind)[:40]!r} is neither reading nor gap nor device"


def _reading(place: Place, told: tuple[Any, ...], t_us: object, v: Any) -> Item | str:  # noqa: ANN401 - as told
    try:
        head = _heads.get(told)
    except TypeError:  # a list or an object in the place of a text
        head = None
    if head is None:
        if not all(isinstance(one, str) for one in told):
            return "device, product, serial, site, series, unit and clock are texts"
        if len(_heads) >= MAX_KNOWN:
            _heads.clear()
        head = _heads[told] = Head._make((*told[:6], told[6] or "unknown"))
    wrong = problem(head, t_us, v)
    return wrong or Reading(place, head, t_us, v)  # type: ignore[arg-type] # it was looked at


def csv_rows(file: IO[bytes], start: Place, where: str = "") -> Iterator[Item]:
    """Yield what the rows of a CSV file tell; its first line names the columns. Raises Invalid without these."""
    names = _names(file, where)
    at = list(start) if start[0] else [file.tell() if file.seekable() else 0, 1]

    def feed() -> Iterator[str]:
        for (_, number), end, raw in _lines(file, (at[0], at[1] + 1)):
            at[:] = [end, number]
            yield TOO_LONG if raw is None else raw.decode("utf-8", "surrogateescape")

    rows = csv.reader(feed(), strict=True)
    while True:
        place, line = (at[0], at[1]), at[1] + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield Reject(place, where, line, f"it is no CSV: {error}", "")
            continue
        if not row:
            continue
        if row == [TOO_LONG]:
            found: Item | str = f"the line has more than {MAX_LINE_BYTES} bytes"
        elif len(row) != len(names):
            found = f"it has {len(row)} fields, the first line names {len(names)}"
        else:
            found = _row(place, dict(zip(names, row, strict=True)))
        yield Reject(place, where, line, found, _shown(",".join(row))) if isinstance(found, str) else found


def _names(file: IO[bytes], where: str) -> list[str]:
    """Read the first line."""
    if file.seekable():
        file.seek(0)
    first = file.readline(MAX_LINE_BYTES).removeprefix(BOM).decode("utf-8", "surrogateescape")
    names = next(csv.reader([first]), [])
    lacking = [name for name in NEEDED if name not in names]
    if lacking:
        text = f"{where or 'the file'} has no column {' and no '.join(lacking)}"
        raise Invalid(text, hint=f"The first line names the columns: {','.join(COLUMNS)}.")
    return names


def _row(place: Place, said: dict[str, str]) -> Item | str:
    kind = said.get("kind") or "reading"
    try:
        if kind == "gap":
            numbers = {name: _int(said.get(name)) for name in ("from_seq", "to_seq", "to_us", "received_us")}
            count = _int(said["count"]) if said.get("count") else None
            return gap_of(place, {**said, **numbers, "count": count, "from_us": _int(said["t_us"])})
        if kind != "reading":
            return f"kind: {kind[:40]!r} is neither reading nor gap"
        t_us, v = _int(said["t_us"]), _value(said["value"], said.get("type", ""))
    except ValueError as error:
        return str(error)
    told = tuple([said.get(name, "") for name in TEXTS])
    return _reading(place, told, t_us, v)


def _value(said: str, kind: str) -> float | int | str | None:
    if kind == "":
        kind = _guessed(said)
    read: dict[str, Callable[[str], float | int | str | None]] = {
        "int": _int,
        "float": _float,
        "text": str,
        "none": _none,
    }
    if kind not in read:
        raise ValueError(f"type: {kind[:40]!r} is none of int, float, text, none")
    return read[kind](said)


def _guessed(said: str) -> str:
    if not said:
        return "none"
    for kind, read in (("int", _int), ("float", _float)):
        try:
            read(said)
        except ValueError:
            continue
        return kind
    return "text"


def _int(said: str | None) -> int:
    text = said or ""
    if not text.removeprefix("-").isascii() or not text.removeprefix("-").isdecimal() or len(text) > 20:  # noqa: PLR2004
        raise ValueError(f"{text[:40]!r} is no integer of 64 bits")
    return int(text)


def _float(said: str) -> float:
    if "_" in said or said != said.strip():
        raise ValueError(f"{said[:40]!r} is no number")
    try:
        return float(said)
    except ValueError:
        raise ValueError(f"{said[:40]!r} is no number") from None


def _none(said: str) -> None:
    if said:
        raise ValueError(f"{said[:40]!r} stands where there is no value (type none)")


def _lines(file: IO[bytes], start: Place) -> Iterator[tuple[Place, int, bytes | None]]:
    """Yield lines, where each begins, and the byte behind it; None for one that is too long."""
    offset, number = start
    if offset and file.seekable():
        file.seek(offset)
    while raw := file.readline(MAX_LINE_BYTES):
        size, rest = len(raw), raw
        while len(rest) == MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE_BYTES)
            size += len(rest)
        yield (offset, number), offset + size, raw.removeprefix(BOM) if size == len(raw) else None
        offset, number = offset + size, number + 1


def _reject(place: Place, where: str, raw: bytes, reason: str) -> Reject:
    return Reject(place, where, place[1], reason, _shown(raw.decode("utf-8", "replace")))


def _shown(text: str) -> str:
    return text.strip("\r\n")[:SHOWN_CHARS].encode("utf-8", "replace").decode()


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_decode = json.JSONDecoder(parse_constant=_refuse).decode
