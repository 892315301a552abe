"""The outbox on SQLite: all SQL of the running agent, in a thread of its own.

What a `commit` returned from is on the disk (WAL, synchronous=FULL); what it raised on is not, or is there whole, and
may be committed again: a row with the same seq takes the place of itself.

Rows stay until they are acked, and after that until their room is wanted, since a fleet that was restored from a
backup may ask for them again. The *mark* of a lane, up to which the fleet has acked, is written with the next commit
of rows, not at once: a mark that was lost with the power only makes the agent send rows that the fleet knows
already. So an ack costs the flash nothing.

`python -m agent.adapters.migrate` describes the tables.
"""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from agent.core.outbox import Row
from agent.core.store import Depth, Ends, Stored
from agent.errors import AgentError, Damaged, Unavailable
from agent.wire.limits import MAX_EVENTS, MAX_SEGMENTS
from agent.wire.messages import Lane

T = TypeVar("T")

SCHEMA_VERSION = 1
KEEP_ACKED_BYTES = 64 * 1024 * 1024  # bytes of acked rows that are kept, a lane, for a fleet restored from a backup
KEEP_SLACK_BYTES = 1024 * 1024  # more than that over the limit, so that rows are deleted by the megabyte
WAL_PAGES = 1000  # pages in the WAL before a checkpoint: the hot page is copied into the file once in ~300 commits
CACHE_KIB = 512  # page cache; the agent appends and reads in order, so a larger one would only cost memory
BUSY_MS = 5_000  # wait for another process (an inspection, a backup) to let go of the file

_TABLES = {Lane.EVENTS: "event", Lane.TELEMETRY: "segment"}
_MOST_ROWS = {Lane.EVENTS: MAX_EVENTS, Lane.TELEMETRY: MAX_SEGMENTS}  # in one batch
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@dataclass(slots=True)
class _Totals:
    """Running totals of one lane, as of its newest row."""

    seq: int
    through_bytes: int
    through_readings: int


class Buffer:
    """One buffer file, open. Every method may raise Unavailable (disk full, locked, gone) or Damaged."""

    def __init__(self, path: Path, *, keep_acked_bytes: int = KEEP_ACKED_BYTES) -> None:
        self.path = path
        self.store_id = ""
        self._keep_acked_bytes = keep_acked_bytes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="buffer")
        self._connection: sqlite3.Connection | None = None
        self._totals: dict[Lane, _Totals] = {}
        self._marks: dict[Lane, int] = {}
        self._unwritten: dict[str, str] = {}  # values to be written with the next commit

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, *, keep_acked_bytes: int = KEEP_ACKED_BYTES) -> "AsyncIterator[Buffer]":
        """Open the file, made or migrated where needed; closing writes what an ack has changed."""
        buffer = cls(path, keep_acked_bytes=keep_acked_bytes)
        try:
            if await buffer._call(buffer._version) < SCHEMA_VERSION:
                await _migrate(path)
            await buffer._call(buffer._open)
            yield buffer
        finally:
            await asyncio.shield(asyncio.ensure_future(buffer._close()))

    async def commit(self, rows: Sequence[Row], values: Mapping[str, str]) -> None:
        """Write rows of either lane and persisted values in one transaction; returns after it is on the disk."""
        await self._call(lambda: self._commit(rows, values))

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
        return await asyncio.get_running_loop().run_in_executor(self._thread, _translated, work, self.path)

    async def _close(self) -> None:
        try:
            await self._call(self._shut)
        finally:
            self._thread.shutdown(wait=False)

    # From here on: in the buffer's thread.

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

    def _open(self) -> None:
        self._connection = self._connect()
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            f"wal_autocheckpoint = {WAL_PAGES}",
            f"journal_size_limit = {2 * WAL_PAGES * 4096}",
            f"cache_size = -{CACHE_KIB}",
            "temp_store = MEMORY",
        ):
            self._db.execute(f"PRAGMA {pragma}")
        self.store_id = self._values("store_id")["store_id"]
        for lane, table in _TABLES.items():
            newest = self._db.execute(
                f"SELECT seq, through_bytes, through_readings FROM {table} ORDER BY seq DESC LIMIT 1"  # noqa: S608 - a constant
            ).fetchone()
            self._totals[lane] = _Totals(*(newest or (0, 0, 0)))
            self._marks[lane] = int(self._values(_mark_key(lane)).get(_mark_key(lane), 0))

    def _shut(self) -> None:
        if self._connection is None:
            return
        connection, self._connection = self._connection, None
        try:
            connection.executemany(_PUT_VALUE, self._unwritten.items())
        finally:
            connection.close()

    def _commit(self, rows: Sequence[Row], values: Mapping[str, str]) -> None:
        totals = {lane: _Totals(t.seq, t.through_bytes, t.through_readings) for lane, t in self._totals.items()}
        unwritten = {**self._unwritten, **values}
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for lane, table in _TABLES.items():
                own = [_with_totals(row, totals[lane]) for row in rows if row.lane is lane]
                if own:
                    self._db.executemany(
                        f"INSERT OR REPLACE INTO {table}"  # noqa: S608 - a constant
                        " (seq, from_us, to_us, through_bytes, through_readings, body) VALUES (?, ?, ?, ?, ?, ?)",
                        own,
                    )
            if unwritten:
                self._db.executemany(_PUT_VALUE, unwritten.items())
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._totals = totals
        self._unwritten = {}

    def _rows(self, lane: Lane, after_seq: int, max_bytes: int) -> tuple[list[Stored], bool]:
        found: list[Stored] = []
        size = 0
        cursor = self._db.execute(
            f"SELECT seq, body FROM {_TABLES[lane]}"  # noqa: S608 - a constant
            " WHERE seq > ? AND quarantined = 0 ORDER BY seq LIMIT ?",
            (after_seq, _MOST_ROWS[lane]),
        )
        try:
            for seq, body in cursor:
                size += len(body)
                if found and size > max_bytes:
                    return found, True
                found.append(Stored(seq, body))
        finally:
            cursor.close()
        return found, len(found) == _MOST_ROWS[lane]

    def _set_mark(self, lane: Lane, seq: int) -> None:
        self._marks[lane] = seq
        self._unwritten[_mark_key(lane)] = str(seq)

    def _give_up(self, lane: Lane, through_seq: int) -> None:
        if through_seq <= self._marks[lane]:
            return
        self._set_mark(lane, through_seq)
        keep_from = self._through(lane, through_seq)[0] - self._keep_acked_bytes
        oldest = self._db.execute(
            f"SELECT through_bytes FROM {_TABLES[lane]} ORDER BY seq LIMIT 1"  # noqa: S608 - a constant
        ).fetchone()
        if oldest is None or oldest[0] > keep_from - KEEP_SLACK_BYTES:
            return
        # Never the newest row: its seq is the lane's counter.
        self._db.execute(
            f"DELETE FROM {_TABLES[lane]} WHERE seq <= ? AND seq < ? AND through_bytes <= ?",  # noqa: S608 - a constant
            (through_seq, self._totals[lane].seq, keep_from),
        )

    def _quarantine(self, lane: Lane, first_seq: int, through_seq: int) -> Depth:
        before = self._through(lane, first_seq - 1)
        after = self._through(lane, through_seq)
        table = _TABLES[lane]
        rows, oldest_us, newest_us = self._db.execute(
            f"SELECT count(*), min(from_us), max(to_us) FROM {table} WHERE seq BETWEEN ? AND ?",  # noqa: S608 - a constant
            (first_seq, through_seq),
        ).fetchone()
        self._db.execute(
            f"UPDATE {table} SET quarantined = 1 WHERE seq BETWEEN ? AND ?",  # noqa: S608 - a constant
            (first_seq, through_seq),
        )
        return Depth(rows, after[0] - before[0], after[1] - before[1], oldest_us or 0, newest_us or 0)

    def _ends(self, lane: Lane) -> Ends:
        mark = self._marks[lane]
        top = self._db.execute(
            f"SELECT max(seq) FROM {_TABLES[lane]} WHERE seq > ? AND quarantined = 0",  # noqa: S608 - a constant
            (mark,),
        ).fetchone()[0]
        return Ends(mark, top or mark, max(self._totals[lane].seq, mark) + 1)

    def _depth(self, lane: Lane) -> Depth:
        table, totals = _TABLES[lane], self._totals[lane]
        oldest = self._db.execute(
            f"SELECT seq, from_us FROM {table} WHERE seq > ? ORDER BY seq LIMIT 1",  # noqa: S608 - a constant
            (self._marks[lane],),
        ).fetchone()
        if oldest is None:
            return Depth(0, 0, 0, 0, 0)
        newest = self._db.execute(
            f"SELECT to_us FROM {table} WHERE seq = ?",  # noqa: S608 - a constant
            (totals.seq,),
        ).fetchone()
        through_bytes, through_readings = self._through(lane, oldest[0] - 1)
        return Depth(
            rows=totals.seq - oldest[0] + 1,
            bytes=totals.through_bytes - through_bytes,
            readings=totals.through_readings - through_readings,
            oldest_us=oldest[1],
            newest_us=newest[0],
        )

    def _through(self, lane: Lane, seq: int) -> tuple[int, int]:
        """Return the running totals of bytes and readings as of row `seq`, or of the nearest one before it."""
        found = self._db.execute(
            f"SELECT through_bytes, through_readings FROM {_TABLES[lane]}"  # noqa: S608 - a constant
            " WHERE seq <= ? ORDER BY seq DESC LIMIT 1",
            (seq,),
        ).fetchone()
        return (found[0], found[1]) if found else (0, 0)

    def _values(self, prefix: str) -> dict[str, str]:
        rows = self._db.execute("SELECT key, value FROM value WHERE substr(key, 1, ?) = ?", (len(prefix), prefix))
        found = dict(rows.fetchall())
        found.update((key, value) for key, value in self._unwritten.items() if key.startswith(prefix))
        return found


_PUT_VALUE = "INSERT OR REPLACE INTO value (key, value) VALUES (?, ?)"


def _mark_key(lane: Lane) -> str:
    return f"mark.{lane}"


def _with_totals(row: Row, totals: _Totals) -> tuple[int, int, int, int, int, bytes]:
    """Return the row as it is inserted, and move the lane's running totals on."""
    if row.seq > totals.seq:
        totals.seq = row.seq
        totals.through_bytes += len(row.body)
        totals.through_readings += row.count
    return row.seq, row.from_us, row.to_us, totals.through_bytes, totals.through_readings, row.body


def _translated(work: Callable[[], T], path: Path) -> T:
    """Run `work`, with SQLite's errors as the agent's."""
    try:
        return work()
    except sqlite3.Error as error:
        raise _translate(error, path) from error


def _translate(error: sqlite3.Error, path: Path) -> AgentError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code, without SQLite's extension
    if code in _DAMAGED:
        return Damaged(
            f"The buffer {path} is damaged: {error}.", hint="Set the file aside; the agent starts a new one."
        )
    if code == sqlite3.SQLITE_FULL:
        return Unavailable(f"The disk that holds the buffer {path} is full.", hint="Make room on it.")
    return Unavailable(f"The buffer {path} cannot be written or read: {error}.", hint="Check the disk and its rights.")


async def _migrate(path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "agent.adapters.migrate",
        str(path),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, stderr = await process.communicate()
    if process.returncode != 0:
        lines = stderr.decode(errors="replace").strip().splitlines()
        raise Unavailable(
            f"The buffer {path} could not be made ready: {lines[-1] if lines else 'no message'}.",
            hint="Check that the state directory exists, is writable and has room.",
        )
