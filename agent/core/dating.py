"""Rows that were dated by a guess, and how they get their dates once the time is known.

What is written while nobody has said what time it is carries `clock = unknown` and a guess, and stays on the device.
The guess runs evenly from before the first such row: within a boot it is the monotonic clock, and each later boot
begins after all that was dated before. So one shift dates them all: exactly those of the boot that came to know the
time, and those of earlier boots, which never knew it, as if this boot had begun right after them. The latter keep
`clock = unknown`, as nobody will ever know.

An `Order` says so, and is on the disk with the last of the rows that it is for. The rows are then rewritten in steps of
one transaction each: a row that has its date is no longer found, so a power cut anywhere in between costs nothing, and
nothing is shifted twice.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from agent.wire.codec import decode, encode
from agent.wire.limits import MAX_TIME_US, MIN_TIME_US
from agent.wire.messages import Clock, DeviceEvent, Lane

UNDATED = b'"clock":"unknown"'
"""What an undated row holds. A quotation mark within a text is escaped in JSON, so no text holds this."""

_T0 = re.compile(rb'"t0_us":(\d+)')


@dataclass(frozen=True, slots=True)
class Order:
    """Shift undated rows by `by_us`; what lies before `from_us`, by its own date, was dated rightly."""

    through: Mapping[Lane, int]  # seq of the last row that it is for
    by_us: int
    from_us: int
    boot_id: str
    clock: Clock  # of the rows of that boot

    def dump(self) -> str:
        """Return it as text."""
        ends = [self.through.get(lane, 0) for lane in Lane]
        return json.dumps([ends, self.by_us, self.from_us, self.boot_id, self.clock])


def load_order(text: str) -> Order:
    """Return what `dump` made a text of."""
    ends, by_us, from_us, boot_id, clock = json.loads(text)
    return Order(dict(zip(Lane, ends, strict=True)), by_us, from_us, boot_id, Clock(clock))


@dataclass(frozen=True, slots=True)
class Dated:
    """A row with its date."""

    body: bytes
    by_us: int  # how far it was shifted


def date_row(lane: Lane, body: bytes, order: Order) -> Dated:
    """Return an undated row with its date, as many bytes long as before: the buffer's running totals stay true."""
    is_own = b'"boot_id":' + encode(order.boot_id) in body
    if lane is Lane.TELEMETRY:
        dated = _T0.sub(lambda found: b'"t0_us":%d' % _clamp(int(found[1]) + order.by_us), body)
        dated = dated.replace(UNDATED, b'"clock":"%s"' % order.clock.encode(), 1) if is_own else dated
        return Dated(dated.ljust(len(body)), order.by_us)
    event = decode(DeviceEvent, body)
    t_us = moved(event.t_us, order.by_us, order.from_us)
    alarm, gap = event.alarm, event.gap
    if alarm is not None:
        alarm = replace(alarm, first_bad_us=moved(alarm.first_bad_us, order.by_us, order.from_us))
    if gap is not None:
        from_us, to_us = (moved(it, order.by_us, order.from_us) for it in (gap.from_us, gap.to_us))
        gap = replace(gap, from_us=min(from_us, to_us), to_us=to_us)
    clock = order.clock if is_own else event.clock
    dated = encode(replace(event, t_us=t_us, clock=clock, alarm=alarm, gap=gap))
    return Dated(dated.ljust(len(body)), t_us - event.t_us)


def moved(t_us: int, by_us: int, from_us: int) -> int:
    """Return a time as it is once the guesses from `from_us` on have moved."""
    return _clamp(t_us + by_us) if t_us >= from_us else t_us


def _clamp(t_us: int) -> int:
    return min(max(t_us, MIN_TIME_US), MAX_TIME_US)
