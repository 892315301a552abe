"""The tally of what is kept, device by device and series by series: to hold against a ledger, an export or a copy."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import Connection, select

from fleet.core.column import values_of
from fleet.core.tally import Tally
from fleet.store import body, chunk
from fleet.store.batch import bodies
from fleet.store.query import touching
from fleet.store.schema import device

DEVICES_AT_ONCE = 1000  # named by one round trip
MANY = 32  # readings of a series in a row, from which on a column is the cheaper way


@dataclass(slots=True)
class DeviceTally:
    """What is kept of one device, by series."""

    device_id: str
    series: dict[str, Tally] = field(default_factory=dict)

    def of(self, name: str) -> Tally:
        """Return the tally of one series."""
        return self.series.setdefault(name, Tally())


def tally(conn: Connection, from_us: int, to_us: int, device_id: str | None = None) -> Iterator[DeviceTally]:
    """Yield the tally of every device that has readings with `from_us` ≤ t < `to_us`, by id, in bounded memory.

    Sealed or not, a reading counts the same. The iterator reads from `conn` while it is consumed (`Database.stream`,
    or a list made inside the work).
    """
    for one in _devices(conn) if device_id is None else [device_id]:
        found = DeviceTally(one)
        _add_chunks(conn, found, from_us, to_us)
        _add_batches(conn, found, from_us, to_us)
        if found.series:
            yield found


def _devices(conn: Connection) -> Iterator[str]:
    last = ""
    while some := list(
        conn.execute(
            select(device.c.id).where(device.c.id > last).order_by(device.c.id).limit(DEVICES_AT_ONCE)
        ).scalars()
    ):
        yield from some
        last = some[-1]


def _add_chunks(conn: Connection, found: DeviceTally, from_us: int, to_us: int) -> None:
    for entry in chunk.of_device(conn, found.device_id, from_us, to_us):
        for rows in chunk.rows(conn, found.device_id, entry):
            start, end = (int(at) for at in rows.t_us.searchsorted([from_us, to_us]))
            if start < end:
                found.of(rows.name).add_columns(rows.t_us[start:end], rows.v[start:end])


def _add_batches(conn: Connection, found: DeviceTally, from_us: int, to_us: int) -> None:
    for kept in bodies(conn, touching(conn, found.device_id, from_us, to_us)):
        for name, times, values in body.each_columns(kept.body, kept.first_seq, kept.last_seq):
            if len(times) >= MANY and from_us <= times[0] and times[-1] < to_us:
                found.of(name).add_columns(np.array(times, np.int64), values_of(values))
                continue
            within = [(t_us, value) for t_us, value in zip(times, values, strict=True) if from_us <= t_us < to_us]
            if within:
                found.of(name).add(within)
