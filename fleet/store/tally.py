"""The tally of what is kept, device by device and series by series: to hold against a ledger, an export or a copy."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter

from sqlalchemy import Connection, select

from fleet.core.tally import Tally
from fleet.store import body
from fleet.store.schema import batch

BODIES_AT_ONCE = 64  # in memory


@dataclass(slots=True)
class DeviceTally:
    """What is kept of one device, by series."""

    device_id: str
    series: dict[str, Tally] = field(default_factory=dict)


def tally(conn: Connection, from_us: int, to_us: int, device_id: str | None = None) -> Iterator[DeviceTally]:
    """Yield the tally of every device that has readings with `from_us` ≤ t < `to_us`, by id, in bounded memory.

    The iterator reads from `conn` while it is consumed (`Database.stream`, or a list made inside the work).
    """
    wanted = select(batch.c.device_id, batch.c.first_seq, batch.c.last_seq, batch.c.body).where(
        batch.c.to_us >= from_us, batch.c.from_us < to_us
    )
    if device_id is not None:
        wanted = wanted.where(batch.c.device_id == device_id)
    lazily = {"stream_results": True, "max_row_buffer": BODIES_AT_ONCE}
    with conn.execute(wanted.order_by(batch.c.device_id), execution_options=lazily) as rows:
        for device, kept in groupby(rows, attrgetter("device_id")):
            found = DeviceTally(device)
            for row in kept:
                for name, readings in body.each_series(row.body, row.first_seq, row.last_seq):
                    within = [(t_us, value) for t_us, value in readings if from_us <= t_us < to_us]
                    if within:
                        found.series.setdefault(name, Tally()).add(within)
            if found.series:
                yield found
