"""What a port seems to speak, from bytes that were heard on it: for `fleet-agent port probe`.

Each guess says how much of what was heard it explains (0 … 1) and how a source would read it, as the lines that follow
`protocol =` in its config. Names and units are for a person to put right.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.core.quantity import MISSING, Unreadable, number
from agent.protocols import cobs, nmea

GOOD = 0.8  # of what was heard: enough to stop looking
LEAST_LINES = 2
MAX_COLUMNS = 32
HIGH_BIT = 0x80
SEVEN_BITS = bytes(i & 0x7F for i in range(256))
_PRINTABLE = frozenset(range(0x20, 0x7F)) | {0x09, 0x0A, 0x0D}
_PAIR = re.compile(r"([A-Za-z_][\w.-]{0,31})\s*[=:]\s*([^\s,;]+)")
_NAME = re.compile(r"[^A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Guess:
    """A protocol, how much of what was heard it explains, and the config that reads it."""

    protocol: str
    share: float
    config: str
    text: str  # for a person: an example of what was heard


def guess(data: bytes) -> list[Guess]:
    """Return what the bytes may be, the likeliest first; empty where nothing fits."""
    lines = [line.decode("utf-8", "replace").strip() for line in data.split(b"\n")[1:-1]]  # the ends may be cut
    lines = [line for line in lines if line]
    found = [_nmea(lines), _json(lines), _kv(lines), *_csv(lines), _cobs(data)]
    return sorted((one for one in found if one is not None and one.share > 0), key=lambda one: -one.share)


def printable(data: bytes) -> float:
    """Return which share of the bytes is ASCII text."""
    return sum(byte in _PRINTABLE for byte in data) / len(data) if data else 0.0


def seven_bits(data: bytes) -> bool:
    """Tell whether the bytes are text with even parity in the eighth bit: a 7E1 line that was heard as 8N1."""
    high = sum(byte >= HIGH_BIT for byte in data)
    even = all(byte.bit_count() % 2 == 0 for byte in data)
    return high > 0 and even and printable(data.translate(SEVEN_BITS)) > GOOD


def _share(lines: Sequence[str], good: Callable[[str], bool]) -> float:
    return sum(good(line) for line in lines) / len(lines) if len(lines) >= LEAST_LINES else 0.0


def _nmea(lines: Sequence[str]) -> Guess | None:
    def good(line: str) -> bool:
        try:
            return bool(nmea.sentence(line))
        except Unreadable:
            return False

    share = _share(lines, good)
    return Guess("nmea", share, "", next(filter(good, lines), "")) if share else None


def _json(lines: Sequence[str]) -> Guess | None:
    keys: Counter[str] = Counter()

    def good(line: str) -> bool:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return False
        if isinstance(found, dict):
            keys.update(_paths(found))
        return isinstance(found, dict)

    share = _share(lines, good)
    return Guess("lines", share, _lines("json", list(keys)), lines[0]) if share and keys else None


def _paths(found: dict[str, object], before: str = "") -> list[str]:
    paths: list[str] = []
    for key, value in found.items():
        if isinstance(value, dict):
            paths += _paths(value, f"{before}{key}.") if before.count(".") < LEAST_LINES else []
        elif isinstance(value, int | float):
            paths.append(before + key)
    return paths


def _kv(lines: Sequence[str]) -> Guess | None:
    keys: Counter[str] = Counter()

    def good(line: str) -> bool:
        if line.startswith(("$", "{")):
            return False
        found = [key for key, value in _PAIR.findall(line) if _is_number(value)]
        keys.update(found)
        return bool(found)

    share = _share(lines, good)
    return Guess("lines", share, _lines("kv", list(keys)), lines[0]) if share else None


def _csv(lines: Sequence[str]) -> list[Guess]:
    found: list[Guess] = []
    for delimiter in (",", ";", "\t", " "):
        split = None if delimiter == " " else delimiter
        counts = Counter(len(line.split(split)) for line in lines if not line.startswith(("$", "{")))
        if not counts:
            continue
        (columns, _), *_ = counts.most_common(1)

        def good(line: str, split: str | None = split, columns: int = columns) -> bool:
            cells = line.split(split)
            return len(cells) == columns and all(map(_is_number, cells))

        share = _share(lines, good)
        if share and columns <= MAX_COLUMNS and (columns > 1 or delimiter == ","):
            extra = "" if delimiter == "," else f"delimiter = {json.dumps(delimiter)}\n"
            names = [f"value{i}" for i in range(1, columns + 1)]
            found.append(Guess("lines", share, _lines("csv", names, extra), next(filter(good, lines))))
    return found


def _cobs(data: bytes) -> Guess | None:
    frames = [piece for piece in data.split(cobs.END)[1:-1] if piece]
    for order in cobs.Order:
        options = cobs.CobsOptions((), crc_order=order)
        payloads: list[bytes] = []
        for frame in frames:
            try:
                payloads.append(cobs.decode(frame, options))
            except cobs.Damaged:
                continue
        if len(payloads) >= LEAST_LINES:
            width = len(payloads[0]) - 1
            fields = f'[{{ name = "byte1", type = "u8", unit = "1" }}, {{ skip = {max(1, width - 1)} }}]'
            config = (
                f'[source.cobs]\ncrc_order = "{order}"\n[[source.cobs.frames]]\nhead = "{payloads[0][:1].hex()}"\n'
                f"fields = {fields}\n"
            )
            return Guess("cobs", len(payloads) / len(frames), config, payloads[0].hex(" "))
    return None


def _lines(kind: str, keys: Sequence[str], extra: str = "") -> str:
    columns = ""
    used: set[str] = set()
    for key in keys[:MAX_COLUMNS]:
        name = _NAME.sub("_", key).strip("_") or "value"
        while name in used:
            name += "_"
        used.add(name)
        named = "" if name == key or kind == "csv" else f"key = {json.dumps(key)}, "
        columns += f'  {{ name = "{name}", {named}unit = "1" }},\n'
    return f'[source.lines]\nformat = "{kind}"\n{extra}columns = [\n{columns}]\n'


def _is_number(text: str) -> bool:
    try:
        number(text)
    except Unreadable:
        return False
    return text.strip().lower() not in MISSING
