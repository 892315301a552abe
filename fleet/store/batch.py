"""Telemetry as it came, one row a batch: what a device sent is what is kept, until it is sealed into chunks."""

from dataclasses import dataclass

from sqlalchemy import Connection, insert

from fleet.store.schema import batch as table

_ADD = insert(table).inline()  # nobody asks for the id


@dataclass(frozen=True, slots=True)
class Span:
    """What a batch adds to its store: its new rows' seqs, event times (both inclusive), and number of readings."""

    first_seq: int
    last_seq: int
    from_us: int
    to_us: int
    readings: int


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
