"""Times as the API takes and gives them: taken in three spellings, given twice (`seen_us` and `seen`)."""

import re
from datetime import UTC, datetime, timedelta

from agent.wire.limits import MAX_TIME_US, MIN_TIME_US
from fleet.errors import Invalid

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SPELLINGS = (
    "Say 2026-01-31T14:00:00Z (or with an offset), whole microseconds since 1970, `now`, or `-15m`, `-2h`, `-7d`."
)
_UNIT_US = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000, "w": 604_800_000_000}
_AGO = re.compile(r"-(?P<amount>\d{1,9}(?:\.\d{1,6})?)(?P<unit>ms|s|m|h|d|w)")
_SECONDS = range(10**9, 10**10)  # as microseconds this would be the first hours of 1970: surely a slip
_MILLISECONDS = range(10**12, 10**13)


def iso(t_us: int) -> str:
    """Write a time as ISO-8601 in UTC, with microseconds."""
    return (EPOCH + timedelta(microseconds=t_us)).isoformat(timespec="microseconds")[:-6] + "Z"  # 4 times strftime


def iso_or_none(t_us: int | None) -> str | None:
    """Write a time, or none."""
    return None if t_us is None else iso(t_us)


def parse_time(said: str, *, now_us: int, name: str) -> int:
    """Read a time in any of its spellings, as UTC microseconds; `name` is the parameter's. Raises Invalid."""
    found = _AGO.fullmatch(said)
    if said == "now":
        t_us = now_us
    elif found is not None:
        t_us = now_us - int(float(found["amount"]) * _UNIT_US[found["unit"]])
    elif said.isascii() and said.isdecimal():
        t_us = _epoch(int(said), name)
    else:
        t_us = _iso(said, name)
    if not MIN_TIME_US <= t_us <= MAX_TIME_US:
        raise Invalid(f"{name}: {said!r} lies outside 1970 to 2100", hint=SPELLINGS)
    return t_us


def _iso(said: str, name: str) -> int:
    try:
        moment = datetime.fromisoformat(said)
    except ValueError:
        raise Invalid(f"{name}: {said[:64]!r} is not a time", hint=SPELLINGS) from None
    if moment.tzinfo is None:
        raise Invalid(f"{name}: {said!r} does not say its zone", hint="End it with Z for UTC, or an offset: +01:00.")
    return (moment - EPOCH) // timedelta(microseconds=1)


def _epoch(value: int, name: str) -> int:
    for unit, likes, zeros in (("seconds", _SECONDS, "000000"), ("milliseconds", _MILLISECONDS, "000")):
        if value in likes:
            raise Invalid(f"{name}: {value} looks like {unit}", hint=f"Times are in microseconds: {value}{zeros}.")
    return value
