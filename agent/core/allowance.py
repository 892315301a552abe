"""Metered links: so many bytes a day, hours that are quiet, and what may leave now.

    Allowance.spend(bytes)          whatever goes over either road, in either direction
    Allowance.gate(now) → Gate      open: everything may leave; closed: alarms and a call now and then

What counts are bytes on the wire as best they are known from here: each payload as sent or heard, and an estimate of
what carries it (TLS, TCP, MQTT or HTTP, connecting, keeping the link alive). What a network provider bills may differ
by some per cent. A day is one of UTC, and so are the quiet hours, since few devices know where they are.

An even line is drawn over the day: three quarters of the allowance are for readings and events, two hours of it at once
(`AHEAD`); a quarter is for calls that show the fleet that the device lives, freed as the day goes by. What was
left over in the morning may be spent at noon. Whoever is above the line waits until it has come up again, so that a
backlog is spread over the day, and today's readings still arrive in the evening. Alarms always leave, and are counted.

While the clock is not known no hour is quiet, and no day begins.

What was spent outlives a restart: it is written ahead by steps, so that a crash forgets nothing of it and costs a
step. A day that lies before the present one does not begin anew; nor does the present one, when the clock comes back.
"""

from dataclasses import dataclass

from agent.core.uplink_events import Gate
from agent.wire.document import Table
from agent.wire.messages import MeteringHealth
from agent.wire.units import US_PER_S

DAY_S = 86_400
LEAST_BYTES_PER_DAY = 500_000  # below, the calls alone would take it
MOST_BYTES_PER_DAY = 10**12
MAX_QUIET_HOURS = 8  # spans

FOR_CALLS = 1 / 4  # of the allowance
AHEAD = 1 / 12  # of a day's readings may leave at once
NEAR = 1 / 32  # of the allowance: with less room than that, the fleet is told that the device may fall silent
REOPEN = 1 / 64  # of the allowance, or REOPEN_BYTES: room to wait for, so that batches are worth their envelope
REOPEN_BYTES = 16 * 1024
WRITTEN_AHEAD = 1 / 64  # of the allowance

CALL_BYTES = 1_700  # of a batch without rows and its ack, over the link
LEAST_CALL_S = 900  # between calls while it saves
MOST_CALL_S = 6 * 3600
KEEPALIVE_S = 240  # of a link that is metered: shorter than what mobile networks let idle connections live
PING_BYTES = 280  # keeping the link alive once
CONNECT_BYTES = 6_500  # TCP, TLS with both certificates, MQTT, birth
HTTP_BYTES = 700  # headers of a call over the gateway and of its answer
MESSAGE_BYTES = 160  # TLS, TCP/IP and MQTT around a message, and its acknowledgement
PER_BYTE = 1.06  # for headers of further segments, and theirs


@dataclass(frozen=True, slots=True)
class Quiet:
    """A span of each day in which only alarms leave: seconds since midnight UTC; it may go over midnight."""

    from_s: int
    to_s: int

    def holds(self, second: int) -> bool:
        """Tell whether a second of the day lies in it."""
        if self.from_s < self.to_s:
            return self.from_s <= second < self.to_s
        return second >= self.from_s or second < self.to_s


@dataclass(frozen=True, slots=True)
class Metering:
    """What a link is allowed to carry."""

    bytes_per_day: int = 0  # 0: as much as it likes
    quiet_hours: tuple[Quiet, ...] = ()

    @property
    def is_on(self) -> bool:
        """Tell whether there is anything to save."""
        return bool(self.bytes_per_day or self.quiet_hours)


UNMETERED = Metering()


def read_metering(agent: Table) -> Metering:
    """Read the keys of the config's `[agent]`; raises DocumentError."""
    size = agent.integer("bytes_per_day", 0, least=0, most=MOST_BYTES_PER_DAY)
    if 0 < size < LEAST_BYTES_PER_DAY:
        raise agent.error("bytes_per_day", f"{size} is less than {LEAST_BYTES_PER_DAY}; 0 is for no limit")
    spans = agent.texts("quiet_hours")
    if len(spans) > MAX_QUIET_HOURS:
        raise agent.error("quiet_hours", f"{len(spans)} spans, more than {MAX_QUIET_HOURS}")
    return Metering(size, tuple(_read_quiet(agent, span) for span in spans))


def on_wire(payload_bytes: int) -> int:
    """Estimate what a message takes on the wire."""
    return MESSAGE_BYTES + round(payload_bytes * PER_BYTE)


class Allowance:
    """What was spent of the day's allowance. `spent_bytes` is 0 as long as there is none."""

    def __init__(self) -> None:
        self.metering = UNMETERED
        self.spent_bytes = 0
        self.why = ""  # only alarms leave now, in words; "" if everything may
        self.is_saving = False  # … or the fleet was told that this may come
        self._day: int | None = None  # since 1970; None before the clock was ever known
        self._kept_bytes = 0  # what is on the disk
        self._kept_day: int | None = None
        self._is_open = True

    def restore(self, kept: str | None) -> None:
        """Go on from what an earlier life kept, if it was told anything."""
        day, _, spent = (kept or "").partition(" ")
        if spent.isdecimal() and day.isdecimal():
            self._day = self._kept_day = int(day)
            self._kept_bytes = int(spent)
            self.spent_bytes += self._kept_bytes

    def to_keep(self, *, at_end: bool = False) -> str | None:
        """Return what is to be on the disk now, ahead of what is spent but at the end; None if it is there already."""
        if not self.metering.bytes_per_day:
            return None
        is_due = self.spent_bytes > self._kept_bytes or self._day != self._kept_day
        if not is_due and not (at_end and self.spent_bytes != self._kept_bytes):
            return None
        ahead = 0 if at_end else round(self.metering.bytes_per_day * WRITTEN_AHEAD)
        self._kept_bytes, self._kept_day = self.spent_bytes + ahead, self._day
        return f"{self._day or 0} {self._kept_bytes}"

    def spend(self, size: int) -> None:
        """Count bytes on the wire."""
        if self.metering.bytes_per_day:
            self.spent_bytes += size

    def gate(self, now_us: int | None) -> Gate:
        """Return what may leave at a moment of UTC; None while that is not known."""
        if not self.metering.is_on:
            self._is_open, self.why, self.is_saving = True, "", False
            return Gate()
        if now_us is not None:
            self._turn(now_us // US_PER_S // DAY_S)
        second = None if now_us is None else now_us // US_PER_S % DAY_S
        room = self._room(second)
        size = self.metering.bytes_per_day
        if second is not None and any(quiet.holds(second) for quiet in self.metering.quiet_hours):
            self.why = "quiet hours"
        elif size and room < (1 if self._is_open else self._reopen_bytes()):
            self.why = "the day's bytes are spent" if self.spent_bytes >= size else "ahead of the day's even pace"
        else:
            self.why = ""
        self._is_open = not self.why
        self.is_saving = bool(self.why) or (size > 0 and room < size * NEAR)
        return Gate(self._is_open, self.call_s if self.is_saving else 0, is_metered=size > 0)

    @property
    def call_s(self) -> int:
        """Time between calls while only alarms leave, seconds: what the share for calls pays for."""
        size = self.metering.bytes_per_day * FOR_CALLS
        if not size:
            return LEAST_CALL_S
        for_calls = max(size - PING_BYTES * DAY_S / KEEPALIVE_S, size / 4)
        return round(min(max(DAY_S * CALL_BYTES / for_calls, LEAST_CALL_S), MOST_CALL_S))

    def told(self) -> MeteringHealth | None:
        """Return what the fleet and a person are told; None where nothing is metered."""
        if not self.metering.is_on:
            return None
        saving = self.why or ("about to be ahead of the day's even pace" if self.is_saving else "")
        return MeteringHealth(self.metering.bytes_per_day, self.spent_bytes, saving)

    def _turn(self, day: int) -> None:
        """Begin a new day. The clock coming back by one is the same day; by more, it goes on with what was spent."""
        if self._day is not None and day > self._day:
            self.spent_bytes = 0
        if self._day is None or day > self._day or day < self._day - 1:
            self._day = day

    def _room(self, second: int | None) -> int:
        """Return what the line is above what was spent, bytes."""
        size = self.metering.bytes_per_day
        if second is None:
            return round(size * (1 - FOR_CALLS)) - self.spent_bytes
        share = second / DAY_S
        return int(size * ((1 - FOR_CALLS) * min(1.0, share + AHEAD) + FOR_CALLS * share)) - self.spent_bytes

    def _reopen_bytes(self) -> int:
        return max(1, min(REOPEN_BYTES, int(self.metering.bytes_per_day * REOPEN)))


def _read_quiet(agent: Table, span: str) -> Quiet:
    start, _, end = span.partition("-")
    try:
        quiet = Quiet(_seconds(start), _seconds(end))
    except ValueError:
        raise agent.error("quiet_hours", f"{span!r} is no span of the day in UTC, as in '22:00-05:30'") from None
    if quiet.from_s == quiet.to_s:
        raise agent.error("quiet_hours", f"{span!r} is empty")
    return quiet


def _seconds(text: str) -> int:
    """Read "HH:MM"; raises ValueError."""
    hours, _, minutes = text.partition(":")
    if len(hours) != 2 or len(minutes) != 2 or not (hours + minutes).isdecimal():  # noqa: PLR2004 - digits
        raise ValueError(text)
    if int(minutes) > 59 or int(hours) > 23:  # noqa: PLR2004 - of a day
        raise ValueError(text)
    return (int(hours) * 60 + int(minutes)) * 60
