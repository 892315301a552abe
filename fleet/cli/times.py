"""Times as people say and read them. All values are integer UTC microseconds."""

import re
import time
from datetime import UTC, datetime, timedelta, tzinfo

import click

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
US = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
MAX_US = 253_402_300_799_999_999  # the end of the year 9999
SECONDS_LIKE = range(10**9, 10**10)
MILLISECONDS_LIKE = range(10**12, 10**13)
_SPAN = re.compile(r"(?P<amount>\d{1,12}(\.\d{1,6})?)\s*(?P<unit>us|ms|s|m|h|d|w)")


def now_us() -> int:
    """Return UTC in microseconds, by this machine's clock."""
    return time.time_ns() // 1000


def parse_time(text: str, now: int, zone: tzinfo = UTC) -> int:
    """Read ISO-8601 (in `zone` where none is said), epoch microseconds, `now`, or a distance to now such as `-15m`.

    Raises ValueError with a sentence.
    """
    said = text.strip()
    if said.lower() == "now":
        return now
    if said[:1] in ("+", "-"):
        return _bounded(now + (-1 if said[0] == "-" else 1) * parse_span(said[1:]), text)
    if said.isascii() and said.isdecimal():
        return _epoch(int(said))
    try:
        moment = datetime.fromisoformat(said)
    except ValueError:
        hint = "say 2026-01-31T14:00Z, -15m, now, or microseconds since 1970"
        raise ValueError(f"{text!r} is not a time; {hint}") from None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=zone)
    return _bounded((aware - EPOCH) // timedelta(microseconds=1), text)


def parse_span(text: str) -> int:
    """Read a length of time such as `90s`, `1.5h` or `7d`, in microseconds; raises ValueError with a sentence."""
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a length of time; say a number and one of {', '.join(US)}, such as 15m")
    whole, _, part = found["amount"].partition(".")
    unit = US[found["unit"]]
    return int(whole) * unit + (int(part) * unit // 10 ** len(part) if part else 0)


def _epoch(value: int) -> int:
    """Take microseconds; refuse what is surely seconds or milliseconds, which would silently mean January 1970."""
    if value in SECONDS_LIKE or value in MILLISECONDS_LIKE:
        unit, digits = ("seconds", "000000") if value in SECONDS_LIKE else ("milliseconds", "000")
        raise ValueError(f"{value} looks like {unit}; times are in microseconds: {value}{digits}")
    return _bounded(value, str(value))


def _bounded(value: int, text: str) -> int:
    if not 0 <= value <= MAX_US:
        raise ValueError(f"{text!r} lies outside the years 1970 to 9999")
    return value


def iso(t_us: int) -> str:
    """Write a time as ISO-8601 in UTC, microseconds kept: `2026-01-31T14:00:00.000001Z`."""
    return (EPOCH + timedelta(microseconds=t_us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def clock(t_us: int) -> str:
    """Write a time for a person, in this machine's zone, to the second: `2026-01-31 15:00:00`."""
    return (EPOCH + timedelta(microseconds=t_us)).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def span(length_us: int) -> str:
    """Write a length of time in its largest unit that gives at least 1: `45 s`, `3 m`, `2 h`, `5 d`."""
    seconds = abs(length_us) // US["s"]
    for unit, size, below in (("s", 1, 60), ("m", 60, 60), ("h", 3600, 48)):
        if seconds < size * below:
            return f"{seconds // size} {unit}"
    return f"{seconds // 86_400} d"


def age(t_us: int | None, now: int) -> str:
    """Write how long ago something was, or how soon it will be: `3 m ago`, `in 2 h`, `now`, `never`."""
    if t_us is None:
        return "never"
    if abs(now - t_us) < US["s"]:
        return "now"
    return f"{span(now - t_us)} ago" if t_us < now else f"in {span(now - t_us)}"


class Time(click.ParamType[int]):
    """A time on the command line; relative ones are taken from the moment the command starts."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Turn what was typed into microseconds."""
        if isinstance(value, int):
            return value
        try:
            return parse_time(str(value), now_us())
        except ValueError as error:
            self.fail(str(error), param, ctx)


def in_order(from_us: int | None, to_us: int | None) -> None:
    """Raise a usage error where --from lies after --to: nothing would be found, and that would read as nothing was."""
    if from_us is not None and to_us is not None and from_us > to_us:
        raise click.UsageError(f"--from ({iso(from_us)}) lies after --to ({iso(to_us)}).")


class Span(click.ParamType[int]):
    """A length of time on the command line, in microseconds."""

    name = "span"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Turn what was typed into microseconds."""
        if isinstance(value, int):
            return value
        try:
            return parse_span(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
