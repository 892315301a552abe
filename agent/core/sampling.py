"""Sampling: which readings of a series go into the outbox, after the rules have seen them all.

    every      each reading; what a series gets that no sampling names
    change     a reading that lies further than `deadband` from the one kept last, or has another kind of value, or
               comes when nothing was kept for `at_least_every_s`
    aggregate  the figures of each window of event time, as series of their own: `<series>.min`, `.mean`, …

Invariants:

- Within the deadband of what was kept last lies every reading that was not kept: the kept ones tell the series to
  that accuracy.
- Each reading counts in exactly one window. Windows begin at whole multiples of their length since 1970; a reading
  of another window than the open one, be it later or earlier, closes that one.
- What is given out is dated by a reading, never by the end of a window, which may lie in the future.

The open window is in memory only: a power cut costs at most that.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from agent.ports import Reading
from agent.wire.document import Table
from agent.wire.messages import Value
from agent.wire.units import US_PER_S

GRACE_US = 2 * US_PER_S  # a window is closed this long after its end where no reading closes it
MAX_S = 7 * 86_400.0
MAX_SAMPLINGS = 256  # of one source


class Keep(StrEnum):
    """What is kept of a series."""

    EVERY = "every"
    CHANGE = "change"
    AGGREGATE = "aggregate"


class Figure(StrEnum):
    """What is told of a window."""

    MIN = "min"
    MEAN = "mean"
    MAX = "max"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the series that match are sampled."""

    series: str  # "<source>.<quantity>"; `*` stands for anything
    keep: Keep
    deadband: float = 0.0  # in the unit of the series
    at_least_every_us: int = 0  # 0: never for the sake of time
    window_us: int = 0
    figures: tuple[Figure, ...] = tuple(Figure)


def read_sampling(source: Table) -> tuple[Sampling, ...]:
    """Read the `[[source.sampling]]` tables of a source; raises DocumentError."""
    tables = source.tables("sampling")
    if len(tables) > MAX_SAMPLINGS:
        raise source.error("sampling", f"{len(tables)} tables, more than {MAX_SAMPLINGS}")
    return tuple(_read(table, source.name("name")) for table in tables)


def _read(table: Table, source: str) -> Sampling:
    series = f"{source}.{table.text('series')}"
    keep = table.choice("keep", Keep)
    match keep:
        case Keep.EVERY:
            sampling = Sampling(series, keep)
        case Keep.CHANGE:
            deadband = table.number("deadband", 0, least=0)
            beat_s = table.number("at_least_every_s", 0, least=0, most=MAX_S)
            sampling = Sampling(series, keep, deadband, round(beat_s * US_PER_S))
        case Keep.AGGREGATE:
            window_s = table.number("window_s", least=0.1, most=MAX_S)
            figures = table.choices("figures", Figure, tuple(Figure))
            sampling = Sampling(series, keep, window_us=round(window_s * US_PER_S), figures=figures)
    table.done()
    return sampling


class _Change:
    """A series of which changes are kept."""

    def __init__(self, sampling: Sampling) -> None:
        self._deadband = sampling.deadband
        self._beat_us = sampling.at_least_every_us
        self._kept: Reading | None = None

    def take(self, reading: Reading) -> Sequence[Reading]:
        kept = self._kept
        if kept is not None and self._is_near(reading.v, kept.v) and reading.unit == kept.unit:
            since_us = reading.t_us - kept.t_us
            if since_us >= 0 and not 0 < self._beat_us <= since_us:
                return ()
        self._kept = reading
        return (reading,)

    def close(self, _before_us: int | None) -> Sequence[Reading]:
        return ()

    def _is_near(self, value: Value, kept: Value) -> bool:
        if value is None or kept is None or isinstance(value, str) or isinstance(kept, str):
            return value == kept
        return abs(value - kept) <= self._deadband


class _Aggregate:
    """A series of which windows are told."""

    def __init__(self, sampling: Sampling) -> None:
        self._window_us = sampling.window_us
        self._figures = sampling.figures
        self._index = 0
        self._last: Reading | None = None  # of the open window; None: none is open
        self._least: float | None = None
        self._greatest: float | None = None
        self._sum = 0.0
        self._count = 0  # of numbers

    def take(self, reading: Reading) -> Sequence[Reading]:
        index = reading.t_us // self._window_us
        last = self._last
        told: Sequence[Reading] = ()
        if last is not None and (index != self._index or last.unit != reading.unit):
            told = self._tell(last)
        if self._last is None:
            self._index, self._least, self._greatest, self._sum, self._count = index, None, None, 0.0, 0
        self._last = reading
        value = reading.v
        if isinstance(value, int | float) and value == value:  # noqa: PLR0124 - NaN alone is not itself
            self._least = value if self._least is None else min(self._least, value)
            self._greatest = value if self._greatest is None else max(self._greatest, value)
            self._sum += value
            self._count += 1
        return told

    def close(self, before_us: int | None) -> Sequence[Reading]:
        """Close the window if it ended before this; None closes it at once."""
        if self._last is None or (before_us is not None and before_us < (self._index + 1) * self._window_us):
            return ()
        return self._tell(self._last)

    def _tell(self, last: Reading) -> Sequence[Reading]:
        self._last = None
        figures: dict[Figure, Value] = {
            Figure.MIN: self._least,
            Figure.MEAN: self._sum / self._count if self._count else None,
            Figure.MAX: self._greatest,
            Figure.LAST: last.v,
        }
        return [Reading(f"{last.name}.{figure}", last.unit, last.t_us, figures[figure]) for figure in self._figures]


class Sampler:
    """All series of the device; the first sampling that matches a series is the one it gets."""

    def __init__(self, samplings: Iterable[Sampling]) -> None:
        self._samplings = tuple(samplings)
        self._gates: dict[str, _Change | _Aggregate | None] = {}

    def take(self, readings: Iterable[Reading]) -> list[Reading]:
        """Take readings as they come; returns what is to be kept."""
        kept: list[Reading] = []
        for reading in readings:
            try:
                gate = self._gates[reading.name]
            except KeyError:
                gate = self._gates[reading.name] = self._gate(reading.name)
            if gate is None:
                kept.append(reading)
            else:
                kept.extend(gate.take(reading))
        return kept

    def tick(self, now_us: int) -> list[Reading]:
        """Close the windows that are over at `now_us`; returns what they tell."""
        return self._close(now_us - GRACE_US)

    def finish(self) -> list[Reading]:
        """Close all windows; returns what they tell."""
        return self._close(None)

    def _close(self, before_us: int | None) -> list[Reading]:
        return [reading for gate in self._gates.values() if gate is not None for reading in gate.close(before_us)]

    def _gate(self, series: str) -> _Change | _Aggregate | None:
        for sampling in self._samplings:
            if fnmatchcase(series, sampling.series):
                if sampling.keep is Keep.EVERY:
                    return None
                return _Change(sampling) if sampling.keep is Keep.CHANGE else _Aggregate(sampling)
        return None
