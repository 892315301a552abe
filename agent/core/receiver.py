"""What a satellite receiver says of the time: when it is believed, and how well.

A receiver tells a time over a serial line some while after it was so: the sentence is made, waits behind others, and
takes its time on the line. That is 0.05 … 0.5 s mostly, up to 1 s where the line is slow, so a sentence is taken to
tell of `DELAY_US` before its first byte came, give or take `ERROR_US`. That dates readings; it does not replace NTP.

    one sentence         is not believed: its checksum has 8 bits, and what waited in a port's buffer tells of long ago
    for `STEADY_US`      they went along with the monotonic clock, within `JITTER_US`: one witness, by the sentence that
                         came soonest after its second; then it begins anew
    outside `ERA_US`     never believed. Satellites count 1,024 weeks and begin again; a receiver that has lost count is
                         19.6 years off, mostly behind: before this release was made. Whoever runs this release for
                         longer than that is told no time by receivers any more

A receiver that has not heard of the leap seconds yet (up to 12.5 minutes after it was first switched on) is some
seconds off, and looks like any other; once it has heard, or another witness has, the clock is moved.

Sans IO.
"""

from agent.core.reckoning import BUILT_US, FRESH_US, Witness
from agent.wire.messages import Clock

DELAY_US = 250_000
ERROR_US = 750_000
STEADY_US = 5_000_000
JITTER_US = 1_000_000
ERA_US = range(BUILT_US, BUILT_US + 1024 * 7 * 86_400 * 1_000_000)


class Receiver:
    """One receiver, as far as the time goes."""

    def __init__(self) -> None:
        self._since_us = 0  # what follows is of the sentences since this one
        self._heard_us: int | None = None
        self._first_us = 0  # what the first said that the offset is
        self._most_us = 0  # and the one with the least delay

    def hear(self, utc_us: int, mono_us: int) -> Witness | None:
        """Take the time that it told in what began to come at monotonic `mono_us`."""
        if utc_us not in ERA_US:
            self._heard_us = None
            return None
        offset_us, before_us, self._heard_us = utc_us - mono_us, self._heard_us, mono_us
        is_on = before_us is not None and 0 <= mono_us - before_us <= FRESH_US[Clock.GNSS]
        if not is_on or abs(offset_us - self._first_us) > JITTER_US:
            self._begin(offset_us, mono_us)
            return None
        self._most_us = max(self._most_us, offset_us)
        if mono_us - self._since_us < STEADY_US:
            return None
        said = Witness(Clock.GNSS, self._most_us + DELAY_US, ERROR_US, mono_us)
        self._begin(offset_us, mono_us)
        return said

    def _begin(self, offset_us: int, mono_us: int) -> None:
        self._since_us, self._first_us, self._most_us = mono_us, offset_us, offset_us
