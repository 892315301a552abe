"""Telemetry as it came, one row a batch: what a device sent is what is kept, until it is sealed into chunks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, select

from fleet.core.intake import Span
from fleet.store.schema import batch as table

BODIES_AT_ONCE = 16  # fetched by one query

_ADD = insert(table).inline()  # nobody asks for the id
_BODIES = select(table.c.id, table.c.first_seq, table.c.last_seq, table.c.body).where(
    table.c.id.in_(bindparam("ids", expanding=True))
)


@dataclass(frozen=True, slots=True)
class Kept:
    """A batch's body; its rows outside `first_seq`…`last_seq` are duplicates to be skipped."""

    first_seq: int
    last_seq: int
    body: bytes


def add(  # noqa: PLR0913 - one row
    conn: Connection, device_id: str, store_id: str, span: Span, body: bytes, *, received_us: int
) -> None:
    """Keep a batch; rows of `body` outside the span's seqs are duplicates, and whoever reads it skips them."""
    conn.execute(
        _ADD,
        {
            "device_id": device_id,
            "store_id": store_id,
            "first_seq": span.first_seq,
            "last_seq": span.last_seq,
            "from_us": span.from_us,
            "to_us": span.to_us,
            "readings": span.readings,
            "received_us": received_us,
            "body": body,
        },
    )


def bodies(conn: Connection, ids: Sequence[int]) -> Iterator[Kept]:
    """Yield batches, in the order of `ids`; a few are in memory at a time."""
    for at in range(0, len(ids), BODIES_AT_ONCE):
        some = ids[at : at + BODIES_AT_ONCE]
        by_id = {number: Kept(*kept) for number, *kept in conn.execute(_BODIES, {"ids": some})}
        yield from (by_id[one] for one in some)
