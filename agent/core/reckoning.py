"""What time it is, by dead reckoning: the machine's monotonic clock, and how far UTC is from it.

    witnesses ─▶ Reckoning ─▶ UTC = monotonic + offset

The wall clock of a machine without a battery says 1970, or when it was switched off last; once it is right, somebody
may still set it to tomorrow. So nothing is dated by it. The agent counts from one offset for the whole boot, and
believes *witnesses* of it: a wall clock that NTP keeps (SYNCED), a satellite receiver (GNSS), the server's time in an
ack (SERVER).

    nobody heard yet     the time is a guess: the wall clock, but later than all that was ever dated; what is dated by
                         it stays on the device (`agent.core.dating`)
    the first witness    is believed: the time is known from here on, and what was guessed is dated again
    within `STEP_US`     the offset is slewed towards the finest fresh witness, by at most `SLEW` of the time that
                         passes, so time never goes back and never stands still for long
    beyond               a dissent. The server's is believed if it lasts for `PERSIST_US`, or is the first word of the
                         server in this life, unless both others say as we do; another's if it lasts and no fresh
                         witness says as we do. Then time steps, which is told. Dates are compared in the fleet, so
                         the fleet's own clock decides where two disagree

Sans IO: monotonic microseconds come with each call.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from agent.wire.messages import Clock

BUILT_US = 1_735_689_600_000_000  # 2025-01-01: no clock that was ever set shows less
STEP_US = 2_000_000  # what lies further off than this is not drift
SLEW = 0.005  # of the time that passes: two seconds are made up for in seven minutes
PERSIST_US = 30_000_000  # a dissent that lasts for this long is no mistake of a moment
MARGIN_US = 1_000  # another thread may have read the clock this much later than the one that slews it back

FRESH_US: Mapping[Clock, int] = {
    Clock.SYNCED: 10_000_000,
    Clock.GNSS: 60_000_000,
    Clock.SERVER: 900_000_000,
}
"""For how long a witness counts after it was heard; the finest first."""


@dataclass(frozen=True, slots=True)
class Witness:
    """What somebody says of the time: at monotonic `at_us` it was `at_us + offset_us`, give or take `error_us`."""

    source: Clock  # SYNCED, GNSS or SERVER
    offset_us: int
    error_us: int
    at_us: int


@dataclass(frozen=True, slots=True)
class Move:
    """The offset is to change by `by_us` at once; `is_first`: until now it was a guess."""

    by_us: int
    source: Clock
    is_first: bool


class Reckoning:
    """UTC as it is reckoned. `floor_us`: it shows no less than this, once known."""

    def __init__(self, offset_us: int, *, is_known: bool = False, floor_us: int = 0) -> None:
        self.offset_us = offset_us
        self.is_known = is_known
        self._floor_us = floor_us
        self._heard: dict[Clock, Witness] = {}
        self._dissents: dict[Clock, tuple[int, int]] = {}  # since when (monotonic), and what it said then
        self._source = Clock.FREE
        self._source_until_us = 0
        self._slewed_at_us = 0

    def now_us(self, mono_us: int) -> int:
        """Return UTC; the hot path."""
        t_us = mono_us + self.offset_us
        return t_us if t_us >= self._floor_us else self._floor_us  # noqa: FURB136 - max() would cost more than all this

    def state(self, mono_us: int) -> Clock:
        """Return whose word it goes by; FREE if that is no longer fresh, UNKNOWN while the time is a guess."""
        if not self.is_known:
            return Clock.UNKNOWN
        return self._source if mono_us <= self._source_until_us else Clock.FREE

    def heard(self, mono_us: int) -> dict[Clock, int]:
        """Return how far off UTC each fresh witness says that this clock is, µs; positive: this clock is behind."""
        return {it.source: it.offset_us - self.offset_us for it in self._fresh(mono_us)}

    def hear(self, witness: Witness, mono_us: int) -> Move | None:
        """Take a witness; small errors are slewed away, a greater one is returned for the caller to `move` by."""
        is_new = witness.source not in self._heard
        self._heard[witness.source] = witness
        by_us = witness.offset_us - self.offset_us
        if not self.is_known:
            return Move(0 if abs(by_us) <= witness.error_us else by_us, witness.source, is_first=True)
        if self._is_near(witness):
            self._dissents.pop(witness.source, None)
            self._follow(witness, mono_us)
            return None
        lasts = self._lasts(witness) or (is_new and witness.source is Clock.SERVER)
        with_us = [it for it in self._fresh(mono_us) if it.source is not witness.source and self._is_near(it)]
        most = 1 if witness.source is Clock.SERVER else 0
        if not lasts or len(with_us) > most:
            return None
        return Move(by_us, witness.source, is_first=False)

    def move(self, move: Move, mono_us: int) -> None:
        """Change the offset as `hear` said."""
        self.offset_us += move.by_us
        self.is_known = True
        self._floor_us = 0
        self._dissents.clear()
        self._slewed_at_us = mono_us
        self._go_by(move.source, mono_us)

    def _fresh(self, mono_us: int) -> list[Witness]:
        return [it for it in self._heard.values() if mono_us - it.at_us <= FRESH_US[it.source]]

    def _is_near(self, witness: Witness) -> bool:
        return abs(witness.offset_us - self.offset_us) <= STEP_US + witness.error_us

    def _lasts(self, witness: Witness) -> bool:
        """Tell whether it has been saying the same for long enough."""
        since_us, said_us = self._dissents.get(witness.source, (witness.at_us, witness.offset_us))
        if abs(witness.offset_us - said_us) > STEP_US + witness.error_us:
            since_us = witness.at_us
        self._dissents[witness.source] = (since_us, witness.offset_us)
        return witness.at_us - since_us >= PERSIST_US

    def _follow(self, witness: Witness, mono_us: int) -> None:
        """Slew towards it, if no finer one is fresh."""
        rank = list(FRESH_US).index
        if any(rank(it.source) < rank(witness.source) and self._is_near(it) for it in self._fresh(mono_us)):
            return
        passed_us = min(mono_us - self._slewed_at_us, FRESH_US[witness.source]) if self._slewed_at_us else 0
        self._slewed_at_us = mono_us
        self._go_by(witness.source, mono_us)
        error_us = witness.offset_us - self.offset_us
        by_us = min(max(0, abs(error_us) - witness.error_us), int(passed_us * SLEW))
        if by_us and error_us < 0:
            self._floor_us = max(self._floor_us, mono_us + self.offset_us + MARGIN_US)
        self.offset_us += by_us if error_us > 0 else -by_us

    def _go_by(self, source: Clock, mono_us: int) -> None:
        self._source, self._source_until_us = source, mono_us + FRESH_US[source]


@dataclass(frozen=True, slots=True)
class Kept:
    """What the buffer keeps of the clock, so that a restart goes on by it."""

    boot_id: str
    offset_us: int
    is_known: bool
    by_wall: bool  # the guess is the wall clock's; else it is only later than all that was dated before
    from_us: int  # since when, by its own dates, the time was a guess without a break


def begin(  # noqa: PLR0913 - what is known at a start
    kept: Kept | None, boot_id: str, *, wall_us: int, mono_us: int, newest_us: int, has_undated: bool
) -> tuple[Reckoning, Kept]:
    """Return what the agent starts from: the offset of this boot where there is one, else the best guess.

    `newest_us` is the latest date on anything that is kept. What waits for its date (`has_undated`) from an earlier
    boot will move with this one, so where that was no more than a guess, this one goes on from it: then those rows
    end where this boot began.
    """
    if kept is not None and kept.boot_id == boot_id and boot_id != "unknown":
        floor_us = newest_us + 1 if kept.is_known and newest_us < mono_us + kept.offset_us + STEP_US else 0
        return Reckoning(kept.offset_us, is_known=kept.is_known, floor_us=floor_us), kept
    goes_on = has_undated and kept is not None and not kept.is_known
    by_wall = wall_us > max(newest_us, BUILT_US) and not (goes_on and kept is not None and not kept.by_wall)
    guess_us = wall_us if by_wall else max(newest_us + 1, BUILT_US)
    from_us = kept.from_us if goes_on and kept is not None else guess_us
    begun = Kept(boot_id, guess_us - mono_us, is_known=False, by_wall=by_wall, from_us=from_us)
    return Reckoning(begun.offset_us), begun
