"""Telemetry outside the fleet: what an export says line by line, and an import takes line by line.

    readings   readings of one series in columns, of one unit and one state of the clock, within one UTC day
    gap        readings or events that existed and will not come
    sum        how many readings the lines since the last sum held, their checksum (`fleet.core.tally`), and from where
               on the rest follows: a place to go on from
    damage     a chunk that cannot be read; the rest is not affected
    end        the answer is whole; what is left, if anything, is asked for anew

Columns are those of the wire (`agent.wire.messages.Series`): reading `i` has the value `v[i]` and the event time
`t0_us + dt[0] + … + dt[i]`. So a line is exact, small, and needs no library but JSON.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from agent.wire import messages as wire
from agent.wire.codec import check_batch
from agent.wire.errors import WireError
from agent.wire.limits import MAX_DEVICE_CHARS, MAX_TIME_US
from agent.wire.messages import Value
from agent.wire.topics import DEVICE_ID
from fleet.core.chunk import CLOCKS, Rows
from fleet.core.column import MAX_ROWS
from fleet.core.sealing import by_day


@dataclass(frozen=True, slots=True)
class Readings:
    """Readings of one series of a device."""

    device: str
    series: str
    unit: str  # UCUM
    clock: str  # of `agent.wire.messages.Clock`
    t0_us: int
    dt: Sequence[int]
    v: Sequence[Value]


@dataclass(frozen=True, slots=True)
class Gap:
    """A gap of a device, with what tells it apart: store, lane and seqs of the buffer that it was in."""

    device: str
    lane: str
    store_id: str
    from_seq: int
    to_seq: int
    from_us: int
    to_us: int
    count: int | None  # None: nobody knows
    reason: str
    received_us: int


@dataclass(frozen=True, slots=True)
class Damage:
    """A chunk that cannot be read."""

    device: str
    sensor: str
    from_us: int
    problem: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where an export stands: all before the time `t_us` was said, and of its day the devices up to `after`."""

    t_us: int
    after: str | None = None


def readings_of(device: str, rows: Rows) -> Iterator[Readings]:
    """Yield the rows of a series, which are by time, as lines: a new one where day, unit or clock change."""
    for _, some in by_day(rows):
        marks = some.clock * len(some.units) + some.unit
        cuts = {0, len(some), *range(0, len(some), MAX_ROWS), *(np.flatnonzero(marks[1:] != marks[:-1]) + 1).tolist()}
        for start, end in pairwise(sorted(cuts)):
            part = some.span(start, end)
            yield Readings(
                device=device,
                series=rows.name,
                unit=some.units[int(part.unit[0])],
                clock=CLOCKS[int(part.clock[0])].value,
                t0_us=int(part.t_us[0]),
                dt=[0, *np.diff(part.t_us).tolist()],
                v=part.values(),
            )


def check(line: Readings | Gap) -> None:
    """Raise WireError where a line says what no device could: files keep to the limits of the wire, too."""
    if DEVICE_ID.fullmatch(line.device) is None:
        raise WireError("$.device", f"{line.device[:MAX_DEVICE_CHARS]!r} is no device's id")
    if isinstance(line, Readings):
        series = wire.Series(line.series, line.unit, line.t0_us, tuple(line.dt), tuple(line.v))
        segment = wire.Segment(1, _NOBODY, 0, wire.Clock(line.clock), (series,))
        check_batch(replace(_HEAD, lane=wire.Lane.TELEMETRY, segments=(segment,)))
        return
    spans = (line.from_seq, line.to_seq, line.from_us, line.to_us, line.count or 0)
    gap = wire.Gap(wire.Lane(line.lane), *spans, line.reason)
    said = wire.DeviceEvent(1, 0, _NOBODY, 0, wire.Clock.UNKNOWN, "gap.made", "", "", gap=gap)
    check_batch(replace(_HEAD, store_id=line.store_id, events=(said,)))
    if line.from_us > line.to_us or not 0 <= line.received_us <= MAX_TIME_US:
        raise WireError("$.from_us", "its times make no sense")


_NOBODY = "import"
_RUNS_NOTHING = wire.Reported(0, wire.ConfigOutcome.SEEDED, 0, "", "")
_HEAD = wire.Batch(wire.VERSION, _NOBODY, wire.Lane.EVENTS, 0, 0, _NOBODY, "", wire.Clock.UNKNOWN, _RUNS_NOTHING)
