"""Marks against data: what exactly-once and no-silent-loss stand on, store by store; and `latest` beside it."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import msgspec
from sqlalchemy import Connection, func, select

from agent.wire.errors import WireError
from agent.wire.messages import Lane
from fleet.core.finding import Finding, fail
from fleet.core.lane import Run, troubles, unexplained
from fleet.store import body
from fleet.store import latest as store_latest
from fleet.store.examine.check import Ask, Check, Part, devices, following
from fleet.store.schema import batch, event, gap, latest, mark

SAMPLED_BATCHES = 4  # the newest of a device
REPLAYED = "batch.replayed"

REPORT = "Keep a copy of the database, and report it: this must not be. The device's data are read as they are."
RESTORE = "Restore a backup from before the damage: the device sends again what it still has."


def marks(conn: Connection, _ask: Ask, after: str) -> Part:
    """Look at the stores of the next devices."""
    ids = devices(conn, after)
    if not ids:
        return Part(0)
    here = (mark.c.device_id > after) & (mark.c.device_id <= ids[-1])
    known = {tuple(row[:3]): row.seq for row in conn.execute(select(mark).where(here))}
    found: list[Finding] = []
    kept = select(batch.c.device_id, batch.c.store_id, batch.c.first_seq, batch.c.last_seq)
    kept = kept.where(batch.c.device_id > after, batch.c.device_id <= ids[-1])
    rows = conn.execute(kept.order_by(batch.c.device_id, batch.c.store_id, batch.c.first_seq))
    for (device_id, store_id), some in groupby(rows, key=lambda row: (row.device_id, row.store_id)):
        runs = [Run(row.first_seq, row.last_seq) for row in some]
        seq = known.get((device_id, store_id, Lane.TELEMETRY.value))
        found += _of_store(conn, device_id, store_id, runs, seq)
    return Part(len(known), found, following(ids))


def _of_store(
    conn: Connection, device_id: str, store_id: str, runs: Sequence[Run], seq: int | None
) -> Iterator[Finding]:
    for said in troubles(runs, seq):
        yield fail("marks", f"{device_id}, store {store_id}: {said}.", REPORT, device_id)
    if seq is None or _was_replayed(conn, device_id):
        return
    mine = (gap.c.device_id == device_id) & (gap.c.store_id == store_id) & (gap.c.lane == Lane.TELEMETRY.value)
    told = conn.execute(select(gap.c.from_seq, gap.c.to_seq).where(mine))
    for first, last in unexplained(runs, seq, [(row.from_seq, row.to_seq) for row in told]):
        said = f"{device_id}, store {store_id}: rows {first}…{last} are missing and no gap says so."
        yield fail("marks", said, RESTORE, device_id)


def _was_replayed(conn: Connection, device_id: str) -> bool:
    replayed = select(event.c.id).where(event.c.device_id == device_id, event.c.kind == REPLAYED).limit(1)
    return conn.execute(replayed).first() is not None


def batches(conn: Connection, ask: Ask, after: str) -> Part:
    """Look into batches that are not sealed yet: those of all devices, or the newest of a sample."""
    ids = devices(conn, after, stride=1 if ask.deep else ask.stride)
    looked, found = 0, []
    for device_id in ids:
        mine = select(batch).where(batch.c.device_id == device_id).order_by(batch.c.to_us.desc())
        lazily = {"stream_results": True, "max_row_buffer": SAMPLED_BATCHES}
        for row in conn.execute(mine if ask.deep else mine.limit(SAMPLED_BATCHES), execution_options=lazily):
            looked += 1
            problem = _of_body(row.body, row.first_seq, row.last_seq, (row.readings, row.from_us, row.to_us))
            if problem:
                said = f"{device_id}: the batch {row.id} of rows {row.first_seq}…{row.last_seq} {problem}."
                found.append(fail("batches", said, RESTORE, device_id))
    return Part(looked, found, following(ids))


def _of_body(data: bytes, first_seq: int, last_seq: int, promised: tuple[int, int, int]) -> str:
    """Return what is wrong with a batch's bytes beside what its row says of them, "" if nothing is."""
    readings, first_us, last_us = 0, [], []
    try:
        for segment in body.segments(data, first_seq, last_seq):
            for one in segment.series:
                readings += len(one.v)
                first_us.append(one.t0_us)
                last_us.append(one.t0_us + sum(one.dt))
    except (WireError, msgspec.MsgspecError, OSError, EOFError, ValueError) as error:
        return f"cannot be read: {error}"
    counted = (readings, min(first_us, default=0), max(last_us, default=0))
    return "" if counted == promised else f"holds {readings} readings, or times, other than its row says"


def newest(conn: Connection, _ask: Ask, after: str) -> Part:
    """Look whether `latest` of the next devices is behind what they have sent."""
    ids = devices(conn, after)
    if not ids:
        return Part(0)
    span = (batch.c.device_id > after) & (batch.c.device_id <= ids[-1])
    newest_of = (
        select(batch.c.device_id, func.max(batch.c.to_us).label("to_us")).where(span).group_by(batch.c.device_id)
    )
    sent: dict[str, int] = {row.device_id: row.to_us for row in conn.execute(newest_of)}
    kept = select(latest).where(latest.c.device_id > after, latest.c.device_id <= ids[-1])
    known = {row.device_id: store_latest.parse(row.body) for row in conn.execute(kept)}
    found = []
    for device_id, to_us in sent.items():
        told_us = max((entry[0] for entry in known.get(device_id, {}).values()), default=0)
        if told_us < to_us:
            said = f"{device_id}: its newest value is {(to_us - told_us) / 1e6:.0f} s older than its newest reading."
            found.append(fail("latest", said, "Its next batch puts that right; report it if it does not.", device_id))
    return Part(len(known), found, following(ids))


MARKS = Check("marks", "{} marks: batches do not overlap, none lies above its mark, what is missing is told.", marks)
BATCHES = Check("batches", "{} batches were read and hold what their rows say.", batches)
LATEST = Check("latest", "{} devices: no newest value is behind the readings.", newest)
