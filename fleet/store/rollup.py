"""Rollups in the database: 96 windows of one series a row; what a window is, is `fleet.core.rollup`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, bindparam, select

from agent.wire.units import US_PER_S
from fleet.core import rollup as core
from fleet.core.rollup import Envelope, Windows, part_of
from fleet.store.schema import rollup as table
from fleet.store.upsert import upsert_each

_SPAN = (
    select(table.c.from_us, table.c.body)
    .where(table.c.device_id == bindparam("device_id"), table.c.series == bindparam("series"))
    .where(table.c.step_s == bindparam("step_s"))
    .where(table.c.from_us >= bindparam("from_us"), table.c.from_us < bindparam("to_us"))
    .order_by(table.c.from_us)
)


@dataclass(frozen=True, slots=True)
class Made:
    """One row to be kept."""

    series: str
    step_s: int
    from_us: int
    body: bytes


def windows(  # noqa: PLR0913, PLR0917 - which, of what length, from, to
    conn: Connection, device_id: str, series: str, step_s: int, from_us: int, to_us: int
) -> Iterator[Windows]:
    """Yield the windows of a series that begin at `from_us` ≤ t < `to_us`, at most 96 at a time, by time."""
    for body in _bodies(conn, device_id, series, step_s, from_us, to_us):
        found = core.decode(body, step_s)
        if found.start_us[0] < from_us or found.start_us[-1] >= to_us:
            found = found.between(from_us, to_us)
        if len(found):
            yield found


def parts(  # noqa: PLR0913, PLR0917 - which, of what length, from, to
    conn: Connection, device_id: str, series: str, step_s: int, from_us: int, to_us: int
) -> Iterator[tuple[int, bytes]]:
    """Yield the rows that touch the span, by time: where the 96 windows begin, and their bytes."""
    key = {"device_id": device_id, "series": series, "step_s": step_s}
    span = {"from_us": part_of(max(0, from_us), step_s), "to_us": to_us}
    for row in conn.execute(_SPAN, key | span):
        yield row.from_us, row.body


def envelopes(  # noqa: PLR0913, PLR0917 - which, of what length, from, to
    conn: Connection, device_id: str, series: str, step_s: int, from_us: int, to_us: int
) -> Iterator[Envelope]:
    """Yield what a chart needs of the rows that touch the span, by time; some windows may lie outside of it."""
    for body in _bodies(conn, device_id, series, step_s, from_us, to_us):
        yield core.decode_envelope(body, step_s)


def _bodies(  # noqa: PLR0913, PLR0917 - which, of what length, from, to
    conn: Connection, device_id: str, series: str, step_s: int, from_us: int, to_us: int
) -> Iterator[bytes]:
    return (body for _, body in parts(conn, device_id, series, step_s, from_us, to_us))


def part(conn: Connection, device_id: str, series: str, step_s: int, from_us: int) -> Windows | None:
    """Return the windows of one row, which begins at `from_us`; None if there is none."""
    return next(windows(conn, device_id, series, step_s, from_us, from_us + 1 + US_PER_S * step_s * 95), None)


def put(conn: Connection, device_id: str, made: Sequence[Made]) -> None:
    """Keep rows, in the place of those that were there."""
    key = ("device_id", "series", "step_s", "from_us")
    upsert_each(conn, table, key, [{"device_id": device_id, **asdict(one)} for one in made])
