"""NMEA 0183: what navigation receivers say (IEC 61162-1).

    $GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47

A sentence begins with `$`, names its talker and its type, and ends with the XOR of what stands between `$` and `*`, in
hex. Talkers are not told apart: `GP`, `GN`, `GL` alike. Types that are not read are passed over; a sentence that is
damaged is a fault. Without a fix the receiver still speaks: position, speed and course are missing values then.

    GGA  lat lon alt fix satellites hdop
    RMC  speed course, and lat lon where no GGA has come for `GGA_S`
    VTG  speed course
    GSA  fix_mode pdop vdop, and hdop where GGA is off

A receiver knows the time. RMC tells it, and ZDA, which says nothing of a fix and so counts while RMC or GGA has told
of one within `FIX_S`; both do also where their values are switched off. No time is told without a checksum, by a fix
that is reckoned on, set by hand or simulated, and in a leap second. The year of RMC has two digits: 80 … 99 are 1980 …
1999, the rest 2000 … 2079. What is made of it: `agent.core.receiver`.

Latitude and longitude are degrees, north and east positive, to 8 decimals (a millimetre); speed in knots as sent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.core.frames import LineSplitter
from agent.core.quantity import Unreadable, number
from agent.ports import Action, Emit, Fault, PortSettings, Time
from agent.wire.document import Table
from agent.wire.messages import Value

MAX_SENTENCE_BYTES = 256  # the standard says 82; receivers exceed it
MAX_QUOTED_CHARS = 60  # of a sentence that is quoted in a fault

_TOO_LONG = Fault(f"a sentence of more than {MAX_SENTENCE_BYTES} bytes was dropped", overlong=True)
GGA_S = 10.0  # seconds without a GGA after which an RMC's position counts
FIX_S = 10.0  # how long a fix that was told of is taken to last, for a sentence that does not say
GUESSED = frozenset("EMNS")  # modes of RMC (NMEA 2.3 and later): estimated, manual, not valid, simulated
TIMED = frozenset({"RMC", "GGA", "ZDA"})
NO_FIELDS = [""] * 13  # in place of those that older receivers do not send
FIXES = frozenset("123459")  # of GGA's qualities: neither estimated (6), manual (7) nor simulated (8)
MAX_PART_DIGITS = 9  # of a second
CENTURY_FROM = 80  # the satellites' time begins in 1980
DEGREE_DIGITS = 8
MINUTES = 60
TYPES = frozenset({"GGA", "RMC", "VTG", "GSA"})
DEFAULT_TYPES = frozenset({"GGA", "RMC"})

Values = list[tuple[str, str, Value]]


@dataclass(frozen=True, slots=True)
class NmeaOptions:
    """The table `[source.nmea]`."""

    types: frozenset[str] = DEFAULT_TYPES
    checksum: bool = True  # a sentence without one is damaged
    time: bool = True  # its time is one that the agent may go by


def read(table: Table) -> NmeaOptions:
    """Read `[source.nmea]`."""
    chosen = {name for name in sorted(TYPES) if table.flag(name.lower(), default=name in DEFAULT_TYPES)}
    if not chosen:
        raise table.error("gga", "every sentence is switched off; nothing would be read")
    if {"RMC", "VTG"} <= chosen:
        raise table.error("vtg", "rmc gives speed and course as well; switch one of the two off")
    options = NmeaOptions(frozenset(chosen), table.flag("checksum", default=True), table.flag("time", default=True))
    table.done()
    return options


def open(options: NmeaOptions, settings: PortSettings) -> "Nmea":  # noqa: A001 - the name the registry calls
    """Start listening."""
    del settings
    return Nmea(options)


class Nmea:
    """A dialogue that only listens."""

    def __init__(self, options: NmeaOptions) -> None:
        self._options = options
        # A sentence's checksum tells a rest from a whole one; no need to wait for a silence.
        self._splitter = LineSplitter(b"\n", MAX_SENTENCE_BYTES, settles=False)
        self._position_s = 0.0  # until when GGA is taken to be there
        self._fix_s = float("-inf")  # until when there is a fix

    def opened(self, now_s: float) -> Sequence[Action]:
        """Start anew."""
        self._splitter.opened(now_s)
        self._position_s = now_s + GGA_S
        self._fix_s = float("-inf")
        return ()

    def feed(self, data: bytes, now_s: float) -> Sequence[Action]:
        """Take bytes; one action a sentence that is read."""
        lines, began_s, too_long = self._splitter.split(data, now_s)
        actions: list[Action] = [_TOO_LONG] * too_long
        at_s: float | None = began_s
        for line in lines:
            text = line.decode("ascii", "replace").strip()
            try:
                values, utc_us = self._read(text, now_s)
            except (Unreadable, IndexError) as error:
                told = str(error) if isinstance(error, Unreadable) else "too few fields"
                actions.append(Fault(f"{told} in {text[:MAX_QUOTED_CHARS]!r}"))
            else:
                if values:
                    actions.append(Emit(tuple(values), at_s))
                if utc_us is not None:
                    actions.append(Time(utc_us, at_s))
            at_s = None
        return actions

    def tick(self, now_s: float) -> Sequence[Action]:
        """Do nothing: it never asks for one."""
        del now_s
        return ()

    def due(self) -> float | None:
        """Return None: it only listens."""
        return None

    def _read(self, text: str, now_s: float) -> tuple[Values, int | None]:
        """Read one line: its values and its time, as far as it has such. Raises Unreadable, IndexError."""
        if not text or text.startswith("!"):
            return [], None  # AIS and other encapsulated sentences
        fields = sentence(text, checksum=self._options.checksum)
        kind = fields[0][-3:]
        if fields[0].startswith("P"):
            return [], None
        values = self._values(kind, fields, now_s) if kind in self._options.types else []
        return values, self._time(kind, fields, now_s) if self._options.time and "*" in text else None

    def _values(self, kind: str, fields: list[str], now_s: float) -> Values:
        if kind == "GGA":
            self._position_s = now_s + GGA_S
        values = _READERS[kind](fields)
        if kind == "GSA" and "GGA" in self._options.types:
            values = [value for value in values if value[0] != "hdop"]
        if kind == "RMC" and now_s >= self._position_s:
            values += _position(fields, 3, valid=fields[2] == "A")
        return values

    def _time(self, kind: str, fields: list[str], now_s: float) -> int | None:
        """Return the time that a sentence tells, and note whether it tells of a fix."""
        if kind not in TIMED:
            return None
        fields = fields + NO_FIELDS
        if kind == "ZDA":
            return _utc_us(fields[1], *fields[2:5]) if now_s <= self._fix_s else None
        has_fix = fields[6] in FIXES if kind == "GGA" else fields[2] == "A" and fields[12] not in GUESSED
        self._fix_s = now_s + FIX_S if has_fix else float("-inf")
        return _rmc_utc(fields) if has_fix and kind == "RMC" else None


def sentence(text: str, *, checksum: bool = True) -> list[str]:
    """Return the fields of a sentence, the address first; raises Unreadable if it is none or damaged."""
    if not text.startswith("$"):
        raise Unreadable("no sentence")
    body, star, given = text[1:].partition("*")
    if star:
        found = 0
        for byte in body.encode("ascii", "replace"):
            found ^= byte
        if given.upper() != f"{found:02X}":
            raise Unreadable(f"checksum {given[:2]!r} instead of {f'{found:02X}'!r}")
    elif checksum:
        raise Unreadable("no checksum")
    return body.split(",")


def _gga(fields: list[str]) -> Values:
    valid = fields[6] not in {"", "0"}
    return [
        *_position(fields, 2, valid=valid),
        ("alt", "m", number(fields[9]) if valid else None),
        ("fix", "1", number(fields[6])),
        ("satellites", "1", number(fields[7])),
        ("hdop", "1", number(fields[8]) if valid else None),
    ]


def _rmc(fields: list[str]) -> Values:
    valid = fields[2] == "A"
    return [
        ("speed", "[kn_i]", number(fields[7]) if valid else None),
        ("course", "deg", number(fields[8]) if valid else None),
    ]


def _vtg(fields: list[str]) -> Values:
    return [("speed", "[kn_i]", number(fields[5])), ("course", "deg", number(fields[1]))]


def _gsa(fields: list[str]) -> Values:
    valid = fields[2] in {"2", "3"}
    return [
        ("fix_mode", "1", number(fields[2])),  # 1 none, 2 two-, 3 three-dimensional
        *((name, "1", number(fields[i]) if valid else None) for i, name in enumerate(("pdop", "hdop", "vdop"), 15)),
    ]


_READERS: dict[str, Callable[[list[str]], Values]] = {"GGA": _gga, "RMC": _rmc, "VTG": _vtg, "GSA": _gsa}


def _rmc_utc(fields: list[str]) -> int | None:
    date = fields[9]
    if len(date) != len("ddmmyy") or not date[4:].isdigit():
        return None
    century = "19" if int(date[4:]) >= CENTURY_FROM else "20"
    return _utc_us(fields[1], date[:2], date[2:4], century + date[4:])


def _utc_us(clock: str, day: str, month: str, year: str) -> int | None:
    """Return UTC of `hhmmss` or `hhmmss.s…` on a day, microseconds; None if there is no such moment."""
    whole, point, part = clock.partition(".")
    digits = (whole, day, month, year)
    sized = tuple(map(len, digits)) == (6, 2, 2, 4) and len(part) <= MAX_PART_DIGITS
    if not sized or not all(text.isascii() and text.isdigit() for text in (*digits, part if point else "0")):
        return None
    hour, minute, second = int(whole[:2]), int(whole[2:4]), int(whole[4:])
    try:
        moment = datetime(int(year), int(month), int(day), hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp()) * 1_000_000 + int(f"{part:0<6}"[:6])


def _position(fields: list[str], at: int, *, valid: bool) -> Values:
    lat = _degrees(fields[at], fields[at + 1], "NS", 90) if valid else None
    lon = _degrees(fields[at + 2], fields[at + 3], "EW", 180) if valid else None
    return [("lat", "deg", lat), ("lon", "deg", lon)]


def _degrees(text: str, side: str, sides: str, most: int) -> float | None:
    """Return degrees of `dddmm.mmmm` and its side; None if empty. Raises Unreadable."""
    if not text:
        return None
    point = text.find(".") if "." in text else len(text)
    whole, minutes = text[: max(0, point - 2)] or "0", number(text[max(0, point - 2) :])
    if side not in sides or len(side) != 1 or not (whole.isascii() and whole.isdigit()) or minutes is None:
        raise Unreadable(f"no position {text[:16]!r} {side[:4]!r}")
    degrees = int(whole) + minutes / MINUTES
    if not (0 <= minutes < MINUTES and degrees <= most):
        raise Unreadable(f"no position {text[:16]!r} {side[:4]!r}")
    return round(-degrees if side == sides[1] else degrees, DEGREE_DIGITS)
