"""What went over a port, with its times, as a file that can be replayed: NDJSON, a header and then an entry a line.

    {"fieldline_capture":1,"port":"/dev/ttyUSB0","baudrate":300,"bytesize":7,"parity":"even","stopbits":1.0,
     "t_us":1763791200000000,"listening_s":0.0}
    {"s":0.012,"tx":"2f3f210d0a"}
    {"s":0.231,"rx":"2f49534b35"}
    {"s":0.9,"baudrate":9600}
    {"s":61.2,"lost":"/dev/ttyUSB0 hung up."}

`s` is seconds since the header's `t_us` (UTC, microseconds), by a monotonic clock and so never falling. `rx` came from
the device, `tx` went to it, both in hex, each entry as it was handed over; `baudrate` is a change of speed, `lost` the
end of the port, where there was one. `listening_s` (0 or less) is since when nothing was lost before the header.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agent.ports import PortSettings

VERSION = 1
MAX_ENTRY_CHARS = 200_000  # 64 KiB of bytes in hex, and some
MAX_SECONDS = 1e9


class Unreadable(ValueError):
    """A file is no capture; the message names the line."""


@dataclass(frozen=True, slots=True)
class Header:
    """How the port was set, and when the capture began."""

    settings: PortSettings
    t_us: int
    listening_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened, `s` seconds after the beginning: bytes in `rx` or `tx`, a new speed, or the end."""

    s: float
    rx: bytes = b""
    tx: bytes = b""
    baudrate: int = 0
    lost: str = ""


@dataclass(frozen=True, slots=True)
class Capture:
    """A whole capture."""

    header: Header
    entries: tuple[Entry, ...]


def header_line(header: Header) -> str:
    """Return the first line, without its end."""
    settings = header.settings
    return _dump(
        {
            "fieldline_capture": VERSION,
            "port": settings.port,
            "baudrate": settings.baudrate,
            "bytesize": settings.bytesize,
            "parity": settings.parity,
            "stopbits": settings.stopbits,
            "t_us": header.t_us,
            "listening_s": round(header.listening_s, 6),
        }
    )


def entry_line(entry: Entry) -> str:
    """Return an entry's line, without its end."""
    found: dict[str, object] = {"s": round(entry.s, 6)}
    if entry.rx:
        found["rx"] = entry.rx.hex()
    if entry.tx:
        found["tx"] = entry.tx.hex()
    if entry.baudrate:
        found["baudrate"] = entry.baudrate
    if entry.lost:
        found["lost"] = entry.lost
    return _dump(found)


def read_capture(lines: Iterable[str]) -> Capture:
    """Read a capture; raises Unreadable. A last line that was cut off is passed over."""
    texts = iter(lines)
    header = _read_header(next(texts, ""))
    return Capture(header, tuple(_read_entries(texts)))


def _read_entries(lines: Iterator[str]) -> Iterator[Entry]:
    last_s = 0.0
    for at, line in enumerate(lines, 2):
        if not line.strip():
            continue
        try:
            entry = _read_entry(line)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
            if not line.endswith("\n"):
                return
            raise Unreadable(f"line {at}: no entry of a capture: {error}") from None
        if not last_s <= entry.s <= MAX_SECONDS:
            raise Unreadable(f"line {at}: {entry.s} s, after {last_s} s; time does not fall in a capture")
        last_s = entry.s
        yield entry


def _read_header(line: str) -> Header:
    try:
        found = json.loads(line[:MAX_ENTRY_CHARS])
        version = int(found["fieldline_capture"])
        settings = PortSettings(
            str(found["port"]),
            int(found["baudrate"]),
            int(found["bytesize"]),
            str(found["parity"]),
            float(found["stopbits"]),
        )
        header = Header(settings, int(found["t_us"]), min(0.0, float(found.get("listening_s", 0.0))))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        raise Unreadable("line 1: no header of a capture; `fleet-agent port capture` writes them") from None
    if version != VERSION:
        raise Unreadable(f"line 1: a capture of version {version}; this agent reads {VERSION}")
    return header


def _read_entry(line: str) -> Entry:
    if len(line) > MAX_ENTRY_CHARS:
        raise ValueError(f"{len(line)} characters, more than {MAX_ENTRY_CHARS}")
    found = json.loads(line)
    return Entry(
        float(found["s"]),
        bytes.fromhex(found.get("rx", "")),
        bytes.fromhex(found.get("tx", "")),
        int(found.get("baudrate", 0)),
        str(found.get("lost", "")),
    )


def _dump(found: dict[str, object]) -> str:
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False)
