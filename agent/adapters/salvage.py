"""Carry over what can still be read of a damaged buffer file: rows that the fleet has not acked, and the small values.

Rows are walked by seq; where SQLite says that a page is damaged, the walk goes on behind it, by steps that double until
something can be read again. So the cost is bounded by the damage, not by what seqs there could be. Rows keep their
seqs in the new file, and what is missing between them becomes gap records.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from agent.adapters.buffer import Buffer
from agent.adapters.lots import TABLES
from agent.core.dating import UNDATED
from agent.core.outbox import Row
from agent.core.store import FORMER
from agent.wire.codec import decode
from agent.wire.errors import WireError
from agent.wire.messages import DeviceEvent, Gap, Lane, Segment

MAX_STEP = 1 << 20  # seqs passed over at once at most
MAX_FRUITLESS = 64  # steps without a row before the walk ends
MAX_GAPS = 64  # gap records of one salvage; beyond, the last one spans the rest
SALVAGING = "salvaging"  # key of the value that is not empty until the salvage is done, and told
CHUNK_ROWS = 500  # in one transaction
OWN_VALUES = (
    "store_id",
    "mark.",
    "base.",
    "sent.",
    "thinned.",
    "undated.",
    "dating",
    FORMER,
)  # of the file itself, and not of what is in it
ACKED = "nothing is missing: the rows up to here came under the buffer's former store_id"
LOST = "the buffer's file was damaged, and these rows could not be read any more"


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What was carried over, and what was not."""

    rows: int
    gaps: tuple[Gap, ...]

    def __str__(self) -> str:
        """Return it in a sentence."""
        lost = sum(gap.count for gap in self.gaps)
        return f"{self.rows} rows that had not reached the fleet were carried over, about {lost} readings were lost."


async def salvage(path: Path, buffer: Buffer) -> Salvaged:
    """Carry over what can be read of the file at `path`; raises Unavailable if the new buffer cannot be written.

    The buffer is to be opened anew then: where the damaged file's name can be read, it goes by that until the fleet,
    asked under it, has said which rows it has.
    """
    wreck = _Wreck(path)
    try:
        values = await asyncio.to_thread(wreck.read_values)
        await buffer.commit([], {SALVAGING: "1"})
        rows = 0
        for lane in Lane:
            walk = wreck.walk(lane)
            while chunk := await asyncio.to_thread(_take, walk):
                await buffer.commit(chunk, {})
                rows += len(chunk)
        if wreck.store_id and await buffer.value(FORMER) is None:
            tops = {lane: (await buffer.ends(lane)).next_seq - 1 for lane in Lane}
            values |= {"store_id": wreck.store_id, FORMER: "1"} | {
                f"base.{lane}": str(top) for lane, top in tops.items()
            }
        await buffer.commit([], values)
    finally:
        wreck.close()
    return Salvaged(rows, tuple(wreck.gaps))


def _take(walk: Iterator[Row]) -> list[Row]:
    return list(islice(walk, CHUNK_ROWS))


class _Wreck:
    """A damaged file; reading never raises for what it holds."""

    def __init__(self, path: Path) -> None:
        self.gaps: list[Gap] = []
        self.store_id = ""  # "" if it cannot be read
        self._marks = dict.fromkeys(Lane, 0)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def read_values(self) -> dict[str, str]:
        """Return the values that go on in the new file."""
        values: dict[str, str] = {}
        with contextlib.suppress(sqlite3.Error):
            values.update(self._db.execute("SELECT key, value FROM value"))
        self.store_id = values.get("store_id", "")
        for lane in Lane:
            self._marks[lane] = int(values.get(f"mark.{lane}") or 0)
        return {key: value for key, value in values.items() if not key.startswith(OWN_VALUES)}

    def walk(self, lane: Lane) -> Iterator[Row]:
        """Yield the rows that the fleet has not acked, as far as they can be read; holes become gap records."""
        before: tuple[Row, int] | None = None
        for row, through in self._readable(lane):
            if before is None and row.seq > 1 and not self.store_id:
                self._note(lane, 1, row.seq - 1, row.from_us, row.from_us, 0, ACKED)
            elif before is not None and row.seq > before[0].seq + 1:
                last, last_through = before
                count = max(0, through - row.count - last_through)
                self._note(lane, last.seq + 1, row.seq - 1, last.to_us, row.from_us, count, LOST)
            before = (row, through)
            yield row

    def _readable(self, lane: Lane) -> Iterator[tuple[Row, int]]:
        seq, step, fruitless = self._marks[lane], 1, 0
        while fruitless < MAX_FRUITLESS:
            try:
                found = self._db.execute(
                    f"SELECT seq, from_us, to_us, through_readings, body FROM {TABLES[lane]}"  # noqa: S608 - a constant
                    " WHERE seq > ? AND quarantined = 0 ORDER BY seq",
                    (seq,),
                )
                for seq, from_us, to_us, through, body in found:
                    count = _count(lane, seq, body)
                    if count:
                        step, fruitless = 1, 0
                        yield Row(lane, seq, body, from_us, to_us, count, UNDATED not in body), through
            except sqlite3.Error:
                seq, step, fruitless = seq + step, min(2 * step, MAX_STEP), fruitless + 1
            else:
                return

    def _note(self, lane: Lane, first: int, last: int, from_us: int, to_us: int, count: int, reason: str) -> None:  # noqa: PLR0913, PLR0917 - a gap
        if len(self.gaps) == MAX_GAPS:
            gap = self.gaps.pop()
            if gap.lane is lane:
                first, from_us, count = gap.from_seq, gap.from_us, count + gap.count
        self.gaps.append(Gap(lane, first, last, from_us, to_us, count, reason))


def _count(lane: Lane, seq: int, body: bytes) -> int:
    """Return the readings or events in a row; 0 if it is not what it says."""
    try:
        if lane is Lane.EVENTS:
            return int(decode(DeviceEvent, body).seq == seq)
        segment = decode(Segment, body)
    except (WireError, TypeError, AttributeError):
        return 0
    return sum(len(series.v) for series in segment.series) if segment.seq == seq else 0
