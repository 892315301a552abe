"""The outbox on SQLite: all SQL of the running agent, in a thread of its own.

What a `commit` returned from is on the disk (WAL, synchronous=FULL); what it raised on is not, or is there whole, and
may be committed again: a row with the same seq takes the place of itself.

Rows stay until they are acked, and after that until their room is wanted, since a fleet that was restored from a
backup may ask for them again. When the budget is used up (`tight`), `relief` says what goes next by the policy of
`agent.core.shedding`, and the next `commit` takes it away in the same transaction as the gap record that tells of it.

The *mark* of a lane, up to which the fleet has acked, is written with the next commit of rows, not at once: a mark that
was lost with the power only makes the agent send rows that the fleet knows already. So an ack costs the flash nothing.

`python -m agent.adapters.migrate` describes the tables.
"""

import asyncio
import os
import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from agent.adapters import lots, undated
from agent.adapters.lots import TABLES
from agent.adapters.sqlite_file import DAMAGED_HINT, migrated, primary, transaction, translate
from agent.core.dating import Order
from agent.core.outbox import Row
from agent.core.shedding import Budget, Fill, Shed, drop, excess_bytes, thin
from agent.core.store import FORMER, Depth, Ends, Stored
from agent.errors import Damaged, Unavailable
from agent.wire.limits import MAX_EVENTS, MAX_SEGMENTS
from agent.wire.messages import Lane

T = TypeVar("T")

DEFAULT_BUDGET = Budget()

SCHEMA_VERSION = 2
KEEP_SLACK_BYTES = 1024 * 1024  # more than that over the limit, so that rows are deleted by the megabyte
KEEP_SLACK_S = 3600  # and of more than that over the age, by the hour
PAGE_BYTES = 1024  # a page in the log rarely lies on one page of the disk: of 4096 bytes it makes two be written
CHECKPOINT_BYTES = 4 * 1024 * 1024  # in the WAL before its pages are copied into the file: once in some 1,000 commits
CACHE_KIB = 512  # page cache; the agent appends and reads in order, so a larger one would only cost memory
THINNING_TRIES = 4  # to find rows worth thinning, before some are dropped: a step has to end soon
SENT_SLACK_BYTES = 4 * 1024 * 1024  # of rows that batches carry before it is written how far they have come
CHECK_S = 5.0  # for the look for damage at the start
BUSY_MS = 5_000  # wait for another process (an inspection, a backup) to let go of the file

_MOST_ROWS = {Lane.EVENTS: MAX_EVENTS, Lane.TELEMETRY: MAX_SEGMENTS}  # in one batch
_REOPEN = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
"""After these the file is opened anew: a disk that was mounted again is not the one that the old descriptors see."""


@dataclass(slots=True)
class _Totals:
    """Running totals of one lane, as of its newest row."""

    seq: int
    through_bytes: int
    through_readings: int


class Buffer:
    """One buffer file, open. Every method may raise Unavailable (disk full, locked, gone) or Damaged."""

    def __init__(self, path: Path, *, budget: Budget = DEFAULT_BUDGET, keep_acked_bytes: int | None = None) -> None:
        self.path = path
        self.store_id = ""
        self.tight = False  # the budget is used up: ask for `relief`
        self.budget = budget
        self._keep_acked_bytes = keep_acked_bytes
        self._must_reopen = False
        self._planned: Shed | None = None
        self._sent: dict[Lane, int] = {}  # rows up to here may be in the fleet
        self._sent_bytes: dict[Lane, int] = {}  # through_bytes of the last row that is known on disk to be sent
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="buffer")
        self._connection: sqlite3.Connection | None = None
        self._totals: dict[Lane, _Totals] = {}
        self._marks: dict[Lane, int] = {}
        self._bases: dict[Lane, int] = {}
        self._undated = undated.Undated(dict.fromkeys(Lane, 0))
        self._unwritten: dict[str, str] = {}  # values to be written with the next commit

    @classmethod
    @asynccontextmanager
    async def open(
        cls, path: Path, *, budget: Budget = DEFAULT_BUDGET, keep_acked_bytes: int | None = None
    ) -> "AsyncIterator[Buffer]":
        """Open the file, made or migrated where needed; closing writes what an ack has changed."""
        buffer = cls(path, budget=budget, keep_acked_bytes=keep_acked_bytes)
        try:
            if await buffer._call(buffer._version) < SCHEMA_VERSION:
                await migrated(path)
            await buffer._call(buffer._open)
            yield buffer
        finally:
            await asyncio.shield(asyncio.ensure_future(buffer._close()))

    async def commit(
        self,
        rows: Sequence[Row],
        values: Mapping[str, str],
        shed: Shed | None = None,
        order: Order | None = None,
    ) -> None:
        """Write rows of either lane and persisted values in one transaction; returns after it is on the disk.

        What `shed` says is taken away in the same transaction; `order` is kept until `date` has carried it out.
        """
        await self._call(lambda: self._commit(rows, values, shed, order=order))

    async def date(self) -> bool:
        """Date some of the rows that wait for it; tells whether there were any."""
        return await self._call(self._date)

    async def has_undated(self) -> bool:
        """Tell whether rows wait for their dates."""
        return await self._call(lambda: any(self._undated.first.values()))

    async def newest_us(self) -> int:
        """Return the latest date of what was written last; 0 if nothing was."""
        return await self._call(lambda: max(lots.newest_us(self._db, lane) for lane in Lane))

    async def relief(self) -> Shed | None:
        """Return what is to go next, as long as the budget is used up; it is held back until it is committed."""
        return await self._call(self._relief)

    async def prove(self) -> None:
        """Write that the fleet's marks are not above the bases; no row above them may leave before."""
        await self._call(lambda: self._commit((), {_key("base", lane): "" for lane in Lane}))

    async def renew(self, rows: Sequence[Row], bases: Mapping[Lane, int]) -> None:
        """Take a new store_id and write `rows`, in one transaction; rows up to the bases are deleted or set aside."""
        await self._call(lambda: self._renew(rows, bases))

    async def rows(self, lane: Lane, after_seq: int, max_bytes: int) -> tuple[list[Stored], bool]:
        """Read the rows after `after_seq`, at most `max_bytes` of them but at least one; and whether more follow."""
        return await self._call(lambda: self._rows(lane, after_seq, max_bytes))

    async def give_up(self, lane: Lane, through_seq: int) -> None:
        """Take note of an ack: rows up to `through_seq` may be deleted when their room is wanted."""
        await self._call(lambda: self._give_up(lane, through_seq))

    async def rewind(self, lane: Lane, to_seq: int) -> None:
        """Take note that the fleet's mark went back: rows after `to_seq` that are still kept wait for an ack again."""
        await self._call(lambda: self._set_mark(lane, to_seq))

    async def quarantine(self, lane: Lane, first_seq: int, through_seq: int) -> Depth:
        """Set rows aside that the fleet holds in quarantine; returns what they were."""
        return await self._call(lambda: self._quarantine(lane, first_seq, through_seq))

    async def ends(self, lane: Lane) -> Ends:
        """Return where the lane stands."""
        return await self._call(lambda: self._ends(lane))

    async def depth(self, lane: Lane) -> Depth:
        """Return what waits in the lane for an ack."""
        return await self._call(lambda: self._depth(lane))

    async def value(self, key: str) -> str | None:
        """Return a persisted value; None if there is none."""
        return (await self.values(key)).get(key)

    async def values(self, prefix: str) -> dict[str, str]:
        """Return the persisted values whose key starts with `prefix`."""
        return await self._call(lambda: self._values(prefix))

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._translated, work)

    async def _close(self) -> None:
        try:
            await self._call(self._shut)
        finally:
            self._thread.shutdown(wait=False)

    # From here on: in the buffer's thread.

    def _translated(self, work: Callable[[], T]) -> T:
        """Run `work`, with SQLite's errors as the agent's."""
        try:
            if self._must_reopen and self._connection is not None:
                self._connection.close()
                self._connect_on()
                self._must_reopen = False
            return work()
        except sqlite3.Error as error:
            self._must_reopen |= primary(error) in _REOPEN
            self.tight |= primary(error) == sqlite3.SQLITE_FULL
            raise translate(error, self.path) from error

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise Unavailable(f"The buffer {self.path} is not open.")
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=BUSY_MS / 1000, isolation_level=None, cached_statements=32)

    def _version(self) -> int:
        connection = self._connect()
        try:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])
        finally:
            connection.close()

    def _connect_on(self) -> None:
        self._connection = self._connect()
        page_bytes = int(self._db.execute("PRAGMA page_size").fetchone()[0])  # that of the release which made the file
        wal_pages = min(CHECKPOINT_BYTES, self.budget.log_bytes // 2) // page_bytes
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            f"wal_autocheckpoint = {wal_pages}",
            f"journal_size_limit = {self.budget.log_bytes}",
            f"cache_size = -{CACHE_KIB}",
            "temp_store = MEMORY",
        ):
            self._db.execute(f"PRAGMA {pragma}")

    def _open(self) -> None:
        self._connect_on()
        damage = lots.find_damage(self._db, CHECK_S)
        if damage:
            raise Damaged(f"The buffer {self.path} is damaged: {damage}.", hint=DAMAGED_HINT)
        self.store_id = self._values("store_id")["store_id"]
        for lane, table in TABLES.items():
            newest = self._db.execute(
                f"SELECT seq, through_bytes, through_readings FROM {table} ORDER BY seq DESC LIMIT 1"  # noqa: S608 - a constant
            ).fetchone()
            self._totals[lane] = _Totals(*(newest or (0, 0, 0)))
            self._marks[lane] = int(self._values(_key("mark", lane)).get(_key("mark", lane), 0))
            self._restore_sent(lane)
            base = self._values(_key("base", lane)).get(_key("base", lane)) or str(self._totals[lane].seq)
            self._bases[lane] = int(base)
            self._unwritten[_key("base", lane)] = base  # before the first row above it
        kept = {key: text for key in undated.KEYS for key, text in self._values(key).items()}
        self._undated = undated.load(kept, {lane: self._totals[lane].seq for lane in Lane})
        self._note_room()

    def _restore_sent(self, lane: Lane) -> None:
        """Find how far batches of earlier lives may have come: what is written, and the slack that need not be."""
        written = self._values(_key("sent", lane)).get(_key("sent", lane))
        most = self._totals[lane].through_bytes
        if written is not None:
            most = lots.through(self._db, lane, max(int(written), self._marks[lane])) + SENT_SLACK_BYTES
        self._sent[lane] = self._db.execute(
            f"SELECT coalesce(max(seq), 0) FROM {TABLES[lane]} WHERE through_bytes <= ?",  # noqa: S608 - a constant
            (most,),
        ).fetchone()[0]
        self._sent_bytes[lane] = most

    def _shut(self) -> None:
        if self._connection is None:
            return
        connection, self._connection = self._connection, None
        try:
            connection.executemany(_PUT_VALUE, self._unwritten.items())
        finally:
            connection.close()

    def _commit(
        self,
        rows: Sequence[Row],
        values: Mapping[str, str],
        shed: Shed | None = None,
        gone: Mapping[Lane, int] | None = None,
        order: Order | None = None,
    ) -> None:
        totals = {lane: _Totals(t.seq, t.through_bytes, t.through_readings) for lane, t in self._totals.items()}
        waiting = self._undated.having(rows, order)
        unwritten = {**self._unwritten, **values, **(waiting.values() if waiting is not self._undated else {})}
        with transaction(self._db):
            if shed is not None:
                lots.take_away(self._db, shed)
            for lane, through_seq in (gone or {}).items():
                lots.forget(self._db, lane, through_seq)
            for lane, table in TABLES.items():
                own = [_with_totals(row, totals[lane]) for row in rows if row.lane is lane]
                if own:
                    self._db.executemany(
                        f"INSERT OR REPLACE INTO {table}"  # noqa: S608 - a constant
                        " (seq, from_us, to_us, through_bytes, through_readings, body) VALUES (?, ?, ?, ?, ?, ?)",
                        own,
                    )
            if unwritten:
                self._db.executemany(_PUT_VALUE, unwritten.items())
        self._totals = totals
        self._undated = waiting
        self._unwritten = {}
        if shed is not None:
            self._planned = None
        self._note_room()

    def _renew(self, rows: Sequence[Row], bases: Mapping[Lane, int]) -> None:
        values = {key: text for lane in Lane for key, text in ((_key("base", lane), ""), (_key("mark", lane), "0"))}
        values |= {"store_id": uuid.uuid4().hex, FORMER: ""}
        self._commit(rows, values, gone=bases)
        self.store_id = values["store_id"]
        self._marks = dict.fromkeys(Lane, 0)
        self._bases = dict.fromkeys(Lane, 0)

    def _rows(self, lane: Lane, after_seq: int, max_bytes: int) -> tuple[list[Stored], bool]:
        found: list[Stored] = []
        size = 0
        cursor = self._db.execute(
            f"SELECT seq, body FROM {TABLES[lane]}"  # noqa: S608 - a constant
            " WHERE seq > ? AND quarantined = 0 ORDER BY seq LIMIT ?",
            (after_seq, _MOST_ROWS[lane]),
        )
        more = False
        planned = self._planned.first_seq if self._planned is not None and self._planned.lane is lane else None
        try:
            for seq, body in cursor:
                if (planned is not None and seq >= planned) or self._undated.holds_back(lane, seq, body):
                    break
                size += len(body)
                if found and size > max_bytes:
                    more = True
                    break
                found.append(Stored(seq, body))
        finally:
            cursor.close()
        if found:
            self._note_sent(lane, found[-1].seq)
        return found, more or len(found) == _MOST_ROWS[lane]

    def _date(self) -> bool:
        is_due = self._undated.is_due()
        if is_due and self._planned is None:  # which was made of rows as they are
            with transaction(self._db):
                left = undated.date(self._db, self._undated, {lane: self._totals[lane].seq for lane in Lane})
                self._db.executemany(_PUT_VALUE, left.values().items())
            self._undated = left
        return is_due

    def _note_sent(self, lane: Lane, seq: int) -> None:
        """Take note that a batch carries rows up to `seq`; written with the next commit, or when much has left."""
        if seq <= self._sent[lane]:
            return
        self._sent[lane] = seq
        self._unwritten[_key("sent", lane)] = str(seq)
        through_bytes = lots.through(self._db, lane, seq)
        if through_bytes > self._sent_bytes[lane]:
            self._db.execute(_PUT_VALUE, (_key("sent", lane), str(seq)))
            self._sent_bytes[lane] = through_bytes + SENT_SLACK_BYTES

    def _set_mark(self, lane: Lane, seq: int) -> None:
        self._marks[lane] = seq
        self._unwritten[_key("mark", lane)] = str(seq)

    def _give_up(self, lane: Lane, through_seq: int) -> None:
        if through_seq <= self._marks[lane]:
            return
        self._set_mark(lane, through_seq)
        keep_bytes = self.budget.keep_acked_bytes if self._keep_acked_bytes is None else self._keep_acked_bytes
        keep_from = lots.through(self._db, lane, through_seq) - keep_bytes
        oldest = self._db.execute(
            f"SELECT through_bytes, to_us FROM {TABLES[lane]} ORDER BY seq LIMIT 1"  # noqa: S608 - a constant
        ).fetchone()
        if oldest is None:
            return
        if oldest[0] <= keep_from - KEEP_SLACK_BYTES:
            self._delete_acked(lane, keep_from)
        newest_us = self._db.execute(
            f"SELECT to_us FROM {TABLES[lane]} WHERE seq = ?",  # noqa: S608 - a constant
            (self._totals[lane].seq,),
        ).fetchone()[0]
        too_old_us = newest_us - self.budget.keep_acked_s * 1_000_000
        if oldest[1] < too_old_us - KEEP_SLACK_S * 1_000_000:
            young = self._db.execute(
                f"SELECT min(seq) FROM {TABLES[lane]} WHERE to_us >= ?",  # noqa: S608 - a constant
                (too_old_us,),
            ).fetchone()[0]
            self._delete_acked(lane, lots.through(self._db, lane, (young or 1) - 1))

    def _delete_acked(self, lane: Lane, through_bytes: int) -> int:
        """Delete acked rows up to so many bytes of the lane; returns how many rows went.

        Never the newest row: its seq is the lane's counter.
        """
        return self._db.execute(
            f"DELETE FROM {TABLES[lane]} WHERE seq <= ? AND seq < ? AND through_bytes <= ?",  # noqa: S608 - a constant
            (self._marks[lane], self._totals[lane].seq, through_bytes),
        ).rowcount

    def _quarantine(self, lane: Lane, first_seq: int, through_seq: int) -> Depth:
        what = lots.lot(self._db, lane, first_seq, through_seq)
        self._db.execute(
            f"UPDATE {TABLES[lane]} SET quarantined = 1 WHERE seq BETWEEN ? AND ?",  # noqa: S608 - a constant
            (first_seq, through_seq),
        )
        return Depth(what.rows, what.bytes, what.readings, what.from_us, what.to_us)

    def _ends(self, lane: Lane) -> Ends:
        mark = self._marks[lane]
        top = self._db.execute(
            f"SELECT max(seq) FROM {TABLES[lane]} WHERE seq > ? AND quarantined = 0",  # noqa: S608 - a constant
            (mark,),
        ).fetchone()[0]
        return Ends(mark, top or mark, max(self._totals[lane].seq, mark) + 1, self._bases[lane])

    def _depth(self, lane: Lane) -> Depth:
        first = lots.first_after(self._db, lane, self._marks[lane])
        if first is None:
            return Depth(0, 0, 0, 0, 0)
        what = lots.lot(self._db, lane, first, self._totals[lane].seq)
        return Depth(what.rows, what.bytes, what.readings, what.from_us, what.to_us)

    # Shedding.

    def _note_room(self) -> None:
        self.tight = self._excess() > 0

    def _excess(self) -> int:
        pages, unused, size = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        try:
            disk = os.statvfs(self.path.parent)
        except OSError as error:
            raise Unavailable(f"The disk that holds the buffer {self.path} is gone: {error.strerror}.") from error
        return excess_bytes(self.budget, Fill(pages * size, unused * size, disk.f_bavail * disk.f_frsize))

    def _relief(self) -> Shed | None:
        if self._planned is not None:
            return self._planned
        excess = self._excess()
        for lane in (Lane.TELEMETRY, Lane.EVENTS):
            first = lots.first_after(self._db, lane, 0)
            if excess > 0 and first is not None and first <= self._marks[lane]:
                self._delete_acked(lane, lots.through(self._db, lane, first) + 2 * excess)
                excess = self._excess()
        self.tight = excess > 0
        if self.tight:
            self._planned = self._plan_thinning() or self._plan_dropping(2 * excess)
        return self._planned

    def _plan_thinning(self) -> Shed | None:
        """Thin the oldest rows that no batch has carried and that were not thinned yet."""
        lane = Lane.TELEMETRY
        after = max(self._marks[lane], self._sent[lane], int(self._values(_THINNED).get(_THINNED, 0)))
        for _ in range(THINNING_TRIES):
            found = lots.next_segments(self._db, after, self._totals[lane].seq)
            if not found:
                return None
            shed = thin(found)
            if shed is not None:
                self._unwritten[_THINNED] = str(shed.last_seq)
                return shed
            after = found[-1][0].seq
            self._unwritten[_THINNED] = str(after)
        return None

    def _plan_dropping(self, size: int) -> Shed | None:
        """Drop the oldest rows: of telemetry first, and of those first what no batch has carried."""
        for lane in (Lane.TELEMETRY, Lane.EVENTS):
            top = self._totals[lane].seq
            for after in (max(self._marks[lane], self._sent[lane]), self._marks[lane]):
                first = lots.first_after(self._db, lane, after)
                if first is not None and first < top:
                    until = lots.last_within(self._db, lane, first, top, size)
                    return drop(lane, first, until, lots.lot(self._db, lane, first, until))
        return None

    def _values(self, prefix: str) -> dict[str, str]:
        rows = self._db.execute("SELECT key, value FROM value WHERE substr(key, 1, ?) = ?", (len(prefix), prefix))
        found = dict(rows.fetchall())
        found.update((key, value) for key, value in self._unwritten.items() if key.startswith(prefix))
        return found


def _key(kind: str, lane: Lane) -> str:
    return f"{kind}.{lane}"


_PUT_VALUE = "INSERT OR REPLACE INTO value (key, value) VALUES (?, ?)"


_THINNED = "thinned.telemetry"  # key of the seq up to which rows were thinned, or found not worth it


def _with_totals(row: Row, totals: _Totals) -> tuple[int, int, int, int, int, bytes]:
    """Return the row as it is inserted, and move the lane's running totals on."""
    if row.seq > totals.seq:
        totals.seq = row.seq
        totals.through_bytes += len(row.body)
        totals.through_readings += row.count
    return row.seq, row.from_us, row.to_us, totals.through_bytes, totals.through_readings, row.body
