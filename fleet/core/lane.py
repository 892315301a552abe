"""What must be true of a store's telemetry beside its mark; pure, for `fleet doctor`.

    kept batches        |1…4|   |5…9|          |14…20|
    gaps                               |10…13|
    mark                                             20

Batches do not overlap, none reaches above the mark, and what lies between them was told as a gap. Sealing takes batches
in the order in which they came, so what is left of a store is its newest rows without a hole; only a batch out of
quarantine comes later than its seqs say, and where there was one, a hole may be what was sealed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fleet.core.hole import Hole, uncovered


@dataclass(frozen=True, slots=True)
class Run:
    """The seqs of one batch, both inclusive."""

    first_seq: int
    last_seq: int


def troubles(kept: Sequence[Run], mark: int | None) -> list[str]:
    """Return what is wrong with a store's batches, in order of seq; `mark` is None where it has none."""
    found = [f"a batch ends at {one.last_seq}, before its first row {one.first_seq}" for one in kept if _is_odd(one)]
    highest = 0
    for one in kept:
        if one.first_seq <= highest:
            found.append(f"rows {one.first_seq}…{min(one.last_seq, highest)} are there twice")
        highest = max(highest, one.last_seq)
    if kept and mark is None:
        found.append(f"rows up to {highest} are there and no mark says so: they would be taken again")
    elif mark is not None and highest > mark:
        found.append(f"rows up to {highest} are there and the mark is {mark}: they would be taken again")
    return found


def unexplained(kept: Sequence[Run], mark: int, gaps: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the holes between a store's batches, and up to the mark, that lie in no gap."""
    ends = [*(run.first_seq for run in kept[1:]), mark + 1][: len(kept)]
    holes = [
        Hole(one.last_seq + 1, end - 1, 0, 0) for one, end in zip(kept, ends, strict=True) if end > one.last_seq + 1
    ]
    return [(hole.from_seq, hole.to_seq) for hole in uncovered(holes, sorted(gaps))]


def _is_odd(one: Run) -> bool:
    return one.last_seq < one.first_seq
