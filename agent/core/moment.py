"""Moments as people type them: a date, or how long ago."""

import re
from datetime import UTC, datetime

from agent.wire.units import US_PER_S

UNITS_S = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h|d|w)")


def parse_moment(text: str, now_us: int) -> int:
    """Return UTC microseconds of `2h` (ago) or of ISO 8601, UTC unless it says otherwise; raises ValueError."""
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return max(0, now_us - int(float(ago[1]) * UNITS_S[ago[2]] * US_PER_S))
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is no moment; write 2h (ago), 3d, or 2026-03-01T12:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    whole = moment.astimezone(UTC).replace(microsecond=0)
    return max(0, int(whole.timestamp()) * US_PER_S + moment.microsecond)
