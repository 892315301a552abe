"""The verdict: what the fleet has, held against what each device knows was acked.

The ledger of a device is its course and its mark. What was in flight when the run ended may have been stored or not;
everything else has one answer. The fleet tells what it has by `GET /api/v1/tally`, before the run and after it, so
that readings of older runs in the same span do not count.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from firmware_sim.scenarios.public import Fleet
from firmware_sim.swarm.course import MODULUS, Course, Tally
from firmware_sim.swarm.member import Member, acked_rows

Kept = Mapping[str, Mapping[str, Tally]]
"""Device → series → tally."""

EXAMPLES = 5
NOTHING: Tally = (0, 0)


@dataclass(slots=True)
class Verdict:
    """What the comparison found, in readings; `examples` name some devices where it is not as it should be."""

    acked: int = 0
    stored: int = 0
    lost: int = 0
    doubled: int = 0
    changed: int = 0  # series whose count is right and whose checksum is not
    refused: int = 0  # quarantined by the fleet
    waiting: int = 0  # measured and not acked when the run ended
    examples: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Tell whether what was acked is there, once and as it was."""
        return not (self.lost or self.doubled or self.changed)


def read(fleet: Fleet, from_us: int, to_us: int) -> Kept:
    """Return what the fleet has of that time."""
    return {
        line["device"]: {name: (int(told["count"]), int(told["checksum"], 16)) for name, told in line["series"].items()}
        for line in _lines(fleet, from_us, to_us)
    }


def _lines(fleet: Fleet, from_us: int, to_us: int) -> Iterator[dict[str, Any]]:
    yield from fleet.lines("/api/v1/tally", **{"from": from_us, "to": to_us})


def compare(course: Course, members: list[Member], before: Kept, after: Kept) -> Verdict:
    """Hold the fleet's tallies against the members' ledgers."""
    verdict = Verdict()
    for member in members:
        device = member.identity.device_id
        was, now = before.get(device, {}), after.get(device, {})
        verdict.waiting += member.unacked_rows * course.readings_a_row
        verdict.refused += sum(high - low + 1 for low, high in member.aside) * course.readings_a_row
        for number, series in enumerate(course.names):
            got = minus(now.get(series, NOTHING), was.get(series, NOTHING))
            least = acked(course, member, number)
            most = plus(least, _rows(course, member, number, member.mark + 1, member.in_flight))
            _judge(verdict, f"{device} {series}", got, least, most)
    return verdict


def acked(course: Course, member: Member, series: int) -> Tally:
    """Return the tally of what the fleet has acked of one series."""
    total = NOTHING
    for first, last in acked_rows(member):
        total = plus(total, _rows(course, member, series, first, last))
    return total


def _judge(verdict: Verdict, what: str, got: Tally, least: Tally, most: Tally) -> None:
    verdict.acked += least[0]
    verdict.stored += got[0]
    if got in (least, most):
        return
    lost, doubled = max(0, least[0] - got[0]), max(0, got[0] - most[0])
    verdict.lost += lost
    verdict.doubled += doubled
    verdict.changed += not lost and not doubled
    if len(verdict.examples) < EXAMPLES:
        verdict.examples += (f"{what}: acked {least[0]}, stored {got[0]}",)


def _rows(course: Course, member: Member, series: int, first: int, last: int) -> Tally:
    if last < first:
        return NOTHING
    number, start_us = member.identity.number, member.start_us
    until = course.tally(number, start_us, series, last)
    return until if first == 1 else minus(until, course.tally(number, start_us, series, first - 1))


def plus(one: Tally, other: Tally) -> Tally:
    """Return the tally of both."""
    return one[0] + other[0], (one[1] + other[1]) % MODULUS


def minus(one: Tally, other: Tally) -> Tally:
    """Return the tally of one without the other."""
    return one[0] - other[0], (one[1] - other[1]) % MODULUS
