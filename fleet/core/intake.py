"""What one batch does to its device: decided here, from how the device stands, without the database.

    standing, batch ─▶ decide ─▶ effects: the new rows, the holes before them, the mark and the latest values after them

Ingest writes effects in one of two ways (docs/decisions/0185): those of many ordinary batches together, in a few
statements for all of them; all else batch by batch. Both ways follow the same effects, so they cannot disagree on what
is a duplicate, a hole, or a value that is newer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from agent.wire.errors import WireError
from agent.wire.limits import MAX_AHEAD_S
from agent.wire.messages import Batch, Lane, Reported
from agent.wire.units import US_PER_S
from fleet.core.hole import Hole, Row, find_holes
from fleet.core.latest import Entry, Known, merge
from fleet.core.presence import Facts


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a store and lane is committed; `t_us` is the newest event time below it, None before the first row."""

    seq: int = 0
    t_us: int | None = None


START = Mark()
"""Of a store that was never heard of."""


@dataclass(frozen=True, slots=True)
class Span:
    """What a batch adds to its store: its new rows' seqs, event times (both inclusive), and number of readings."""

    first_seq: int
    last_seq: int
    from_us: int
    to_us: int
    readings: int


@dataclass(slots=True)
class Standing:
    """A device as it stands in the transaction; whoever writes effects of a batch keeps it true for the next one."""

    device_id: str
    product_id: str
    is_revoked: bool
    agent_version: str
    facts: Facts | None  # None: never heard
    reported: Reported | None  # None: it never said
    desired: int  # revision of the config that it shall run; 0: none
    desired_hash: str  # of that document
    latest: Known
    marks: dict[tuple[str, Lane], Mark] = field(default_factory=dict)  # by store and lane, those that were asked for
    gaps_ahead: set[tuple[str, Lane]] = field(default_factory=set)  # of these, with a gap that begins above the mark


@dataclass(frozen=True, slots=True)
class Effects:
    """What a batch changes, and what its ack says."""

    acked_seq: int  # the mark after it
    rows: Sequence[Row] = ()  # that are new, in order of seq
    holes: Sequence[Hole] = ()  # before and between them
    mark: Mark | None = None  # None: it stays
    latest: dict[str, Entry] | None = None  # None: it stays
    problem: WireError | None = None  # it goes to quarantine: nothing above counts but `rows`, which lie there
    is_level: bool = True  # the batch follows on the mark; else the server is behind, and stored nothing


def span_of(rows: Sequence[Row]) -> Span:
    """Return where rows lie, of which there must be some."""
    return Span(
        first_seq=rows[0].seq,
        last_seq=rows[-1].seq,
        from_us=min([row.from_us for row in rows]),
        to_us=max([row.to_us for row in rows]),
        readings=sum([row.readings for row in rows]),
    )


def decide(standing: Standing, batch: Batch, rows: Sequence[Row], *, received_us: int) -> Effects:
    """Return what a batch does to its device; `rows` are all of the batch's, in order of seq."""
    mark = standing.marks.get((batch.store_id, batch.lane), START)
    until_us = received_us + MAX_AHEAD_S * US_PER_S
    heard = [(new.name, [new.t_us, new.v, new.unit]) for new in batch.newest if new.t_us <= until_us]
    if batch.prev_seq > mark.seq:
        return Effects(mark.seq, latest=merge(standing.latest, heard) if heard else None, is_level=False)
    new_rows = rows if rows and rows[0].seq > mark.seq else [row for row in rows if row.seq > mark.seq]
    if not new_rows:
        return Effects(mark.seq, latest=merge(standing.latest, heard) if heard else None)
    newest_us = max(row.to_us for row in new_rows)
    try:
        find_ahead(batch, rows, until_us)
    except WireError as problem:
        return Effects(mark.seq, rows=new_rows, problem=problem)
    for row in new_rows:
        heard += row.newest
    after = Mark(new_rows[-1].seq, newest_us if mark.t_us is None else max(newest_us, mark.t_us))
    is_whole = after.seq - mark.seq == len(new_rows)
    holes = () if is_whole else find_holes(mark.seq, mark.t_us, new_rows)
    latest = merge(standing.latest, heard) if heard else None
    return Effects(after.seq, rows=new_rows, holes=holes, mark=after, latest=latest)


def is_ordinary(standing: Standing, batch: Batch, effects: Effects) -> bool:
    """Tell whether all that a batch changes is rows, their mark, latest values and what is known of the device.

    Everything else has more to say: an alarm, a gap, a new config. Fleet rules are the caller's question.
    """
    return (
        effects.problem is None
        and all(row.alarm is None and row.gap is None for row in batch.events)
        and not effects.holes
        and (batch.store_id, batch.lane) not in standing.gaps_ahead
        and standing.desired in (0, batch.reported.handled)
    )


def find_ahead(batch: Batch, rows: Sequence[Row], until_us: int) -> None:
    """Raise WireError at the first row that lies too far in the server's future, beyond `until_us`."""
    for i, row in enumerate(rows):
        if row.to_us > until_us:
            place = f"$.{'events' if batch.events else 'segments'}[{i}]"
            raise WireError(place, f"lies more than {MAX_AHEAD_S} s in the future; is the device's clock set?")
