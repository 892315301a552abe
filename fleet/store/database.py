"""The database: one thread that writes with group commit, a few that read, and the events that were committed.

A *work* is a function of a connection. All works that wait at a moment share one transaction, so that one flush of
the disk serves them all; each is answered only after COMMIT. A work that fails takes no other down, nor does it cost
the others anything: beside others each is in a savepoint of its own. Where something else fails (a bulk, the events)
the group is rolled back and run again with each item in a savepoint. So a work may be run more than once and must
have no effect but through its connection.

Works of one kind can be done together: `submit` hands each as an item to a *bulk*, a function of a connection and of
all its items that wait side by side. Items stand behind works, so that what somebody waits for passes a backlog; one
transaction always takes some of both. Works begin a transaction at once; items gather for a moment after the one
before, unless as many wait as it took (docs/decisions/0258).

What works append to `event` (store/event.py) is written at the end of the transaction, and handed to subscribers after
COMMIT (store/follow.py).

Drivers are synchronous and live in threads: SQLite has no other kind, and one transaction for many calls needs one
thread to hold it (docs/decisions/0040).
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from fleet.errors import Busy
from fleet.store import after, event, migrate
from fleet.store.engine import may_retry, parse_url, reader_engine, sqlite_path, translate, was_ended, writer_engine
from fleet.store.follow import Follower, Subscription

T = TypeVar("T")

MAX_QUEUED_WORKS = 4096  # works that wait, and as many items; beyond it, Busy
MAX_GROUP_WORKS = 512  # works and items in one transaction: bounds how long its first one waits for the commit
LEAST_GROUP_ITEMS = 128  # of them, for items that wait behind works; so many begin a group at once …
ALL_AGAIN_ITEMS = 32  # … and so do as many as the last group held, from here on: more may not be under way
GATHER_S = 0.02  # after a transaction, in which fewer items gather: each costs milliseconds, whatever is in it
ANSWERED_AT_ONCE = 16  # of a group, then others have a turn: the first acks leave while the rest are made
RETRY_FOR_S = 8.0  # that a group is tried again, where nothing was committed: a database that restarts is waited for
RETRY_S = 0.05  # before the second attempt, doubled for each further one …
MAX_RETRY_S = 0.5  # … up to this
READERS = 4  # threads, and connections kept open
MAX_STREAMS = 16  # reads that are being streamed at once, each with a connection of its own
STREAM_ROWS = 2000  # rows handed over at once

Bulk = Callable[[Connection, Sequence[Any]], Sequence[Any]]
"""Does many items at once and returns their results, in order; an exception among these is that item's alone.

Doing an item twice must be as doing it once: where it is unknown whether a commit took place it is done again.
"""

Done = Callable[[Any, BaseException | None], None]
"""Gets the result or the error, on the loop of whoever asked."""


@dataclass(slots=True)
class _Waiting:
    """A work, or an item of a bulk."""

    work: Callable[[Connection], Any] | None
    bulk: Bulk | None
    item: Any
    done: Done
    loop: asyncio.AbstractEventLoop
    is_second: bool = False  # an item whose commit is unknown


_Outcome = tuple[Any, BaseException | None]
"""The result, or the error."""


class Works(Protocol):
    """Runs works: the database, or the database under a lease."""

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on one snapshot."""

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in the next transaction and return its result after COMMIT."""

    async def beside(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction of its own, which may wait for locks; PostgreSQL alone."""


Answered = Sequence[tuple[_Waiting, _Outcome]]


class _Stream(Generic[T]):
    """One long read: its connection and its iterator, used by one reader thread at a time."""

    def __init__(self, engine: Engine, work: Callable[[Connection], Iterator[T]], rows: int) -> None:
        self._engine = engine
        self._work = work
        self._at_once = rows
        self._conn: Connection | None = None
        self._rows: Iterator[T] = iter(())

    def step(self) -> list[T]:
        if self._conn is None:
            self._conn = self._engine.connect()
            self._rows = self._work(self._conn)
        return list(islice(self._rows, self._at_once))

    def close(self) -> None:
        if self._conn is not None:
            self._rows = iter(())  # a generator in it is closed before its connection
            self._conn.close()


class Database:
    """The fleet's database. `async with Database.open(url) as db`."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self._writer_engine: Engine = writer_engine(url, guards=True)
        self._reader_engine: Engine = reader_engine(url, size=READERS, overflow=MAX_STREAMS)
        self._works: deque[_Waiting] = deque()
        self._items: deque[_Waiting] = deque()
        self._enough = LEAST_GROUP_ITEMS  # items that need not gather any longer
        self._wake = threading.Condition()
        self._closing = False
        self._writer = threading.Thread(target=self._write_forever, name="database-writer")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="database-reader")
        self._streams = 0
        self._follower = Follower(self.read, alone=sqlite_path(url) is not None)
        self._told: list[Callable[[], None]] = []  # that events were committed

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator["Database"]:
        """Bring the schema up to date (a SQLite file is backed up first) and open; raises Misconfigured."""
        parsed = parse_url(url)
        await asyncio.to_thread(migrate.upgrade, parsed)
        db = cls(parsed)
        db._writer.start()
        following = asyncio.create_task(db._follower.run(), name="events")
        try:
            yield db
        finally:
            following.cancel()
            await asyncio.wait([following])
            await db.close()

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in the next transaction and return its result after COMMIT.

        Raises what `work` raises, and Busy when too much waits or the database cannot commit. A caller that is
        cancelled does not take its work back.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._queue(self._works, _Waiting(work, None, None, partial(settle, answer), loop))
        return await answer

    def submit(self, bulk: Bulk, item: object, done: Done, *, first: bool = False) -> None:
        """Have `bulk` do the item in one of the next transactions; `done` hears of it after COMMIT.

        `first` puts it among the works, which pass the items that wait. Raises Busy when too much waits.
        """
        queue = self._works if first else self._items
        self._queue(queue, _Waiting(None, bulk, item, done, asyncio.get_running_loop()))

    @property
    def fill(self) -> float:
        """How full the queue of items is, 0…1."""
        return len(self._items) / MAX_QUEUED_WORKS

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on one snapshot in a reader thread; it cannot write."""
        self._refuse_when_closing()
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    async def beside(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction of its own beside the writer: what may wait for a lock must not hold up ingest.

        For PostgreSQL alone: SQLite has one writer. Raises Busy where somebody is in the way.
        """
        self._refuse_when_closing()
        return await asyncio.to_thread(self._beside, work)

    async def stream(
        self, work: Callable[[Connection], Iterator[T]], *, rows: int = STREAM_ROWS
    ) -> AsyncGenerator[list[T], None]:
        """Yield what the iterator of `work` yields, in lists of `rows`, all of one snapshot; memory stays bounded.

        Raises Busy when too many streams are open. Close the generator (`contextlib.aclosing`) to give the
        connection back at once.
        """
        self._refuse_when_closing()
        if self._streams >= MAX_STREAMS:
            raise Busy(f"{MAX_STREAMS} long reads are running already", retry_after_s=2)
        self._streams += 1
        stream = _Stream(self._reader_engine, work, rows)
        step: Future[list[T]] | None = None
        try:
            while True:
                self._refuse_when_closing()
                step = self._readers.submit(stream.step)
                chunk = await asyncio.wrap_future(step)
                if not chunk:
                    return
                yield chunk
        except DBAPIError as error:
            raise translate(error) from error
        finally:
            self._streams -= 1
            if step is not None:  # a reader that goes away leaves a step behind, which still uses the connection
                step.add_done_callback(lambda _step: stream.close())

    def subscribe(self) -> AbstractAsyncContextManager[Subscription]:
        """Hear every event that any node commits from now on; raises Busy where the database does not answer."""
        return self._follower.subscribe()

    def hint(self) -> None:
        """Take note that another node has committed events."""
        self._follower.hint()

    def on_events(self, tell: Callable[[], None]) -> None:
        """Have `tell` called after each commit of this process that holds events."""
        self._told.append(tell)

    async def close(self) -> None:
        """Take no more works, finish those that wait, close all connections."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._writer.ident is not None:
            await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._readers.shutdown)
        self._reader_engine.dispose()
        self._writer_engine.dispose()

    def _queue(self, queue: deque[_Waiting], waiting: _Waiting) -> None:
        with self._wake:
            self._refuse_when_closing()
            if len(queue) >= MAX_QUEUED_WORKS:
                raise Busy(f"{MAX_QUEUED_WORKS} writes wait already", retry_after_s=1)
            queue.append(waiting)
            if queue is self._works or len(queue) in {1, self._enough}:
                self._wake.notify()

    def _refuse_when_closing(self) -> None:
        if self._closing:
            raise Busy("the server is stopping", retry_after_s=5)

    def _read(self, work: Callable[[Connection], T]) -> T:
        try:
            with self._reader_engine.connect() as conn:
                return work(conn)
        except DBAPIError as error:
            raise translate(error) from error

    def _beside(self, work: Callable[[Connection], T]) -> T:
        engine = writer_engine(self.url)
        try:
            with engine.begin() as conn:
                return work(conn)
        except DBAPIError as error:
            raise translate(error) from error
        finally:
            engine.dispose()

    # The writer thread.

    def _write_forever(self) -> None:
        ended_s = -GATHER_S
        while True:
            with self._wake:
                self._await_group(ended_s + GATHER_S)
                group = self._next_group()
            if not group:
                return
            answered, has_events = self._commit(group)
            ended_s = monotonic()
            for loop, its in groupby(answered, key=lambda each: each[0].loop):
                if not loop.is_closed():
                    loop.call_soon_threadsafe(self._deliver, list(its), has_events)

    def _await_group(self, items_from_s: float) -> None:
        """Wait for what begins a group: a work, many items, or, from a moment on (monotonic), any item."""
        while not self._works and not self._closing and len(self._items) < self._enough:
            left_s = items_from_s - monotonic() if self._items else None
            if left_s is not None and left_s <= 0:
                return
            self._wake.wait(left_s)

    def _next_group(self) -> list[_Waiting]:
        items = min(len(self._items), max(LEAST_GROUP_ITEMS, MAX_GROUP_WORKS - len(self._works)))
        works = min(len(self._works), MAX_GROUP_WORKS - items)
        group = [self._works.popleft() for _ in range(works)]
        group += [self._items.popleft() for _ in range(items)]
        if items:
            self._enough = min(max(items, ALL_AGAIN_ITEMS), LEAST_GROUP_ITEMS)
        return group

    def _commit(self, group: list[_Waiting]) -> tuple[Answered, bool]:
        """Run a group in one transaction; returns what each is answered after COMMIT, and whether there are events."""
        alone = False
        pause_s, until_s = RETRY_S, monotonic() + RETRY_FOR_S
        while True:
            committing = False
            try:
                with self._writer_engine.connect() as conn, conn.begin() as transaction:
                    waiting = conn.info[event.WAITING] = event.Waiting()
                    following = after.begin(conn)
                    outcomes = _run_each(conn, group) if alone else _run_together(conn, group)
                    committing = True
                    transaction.commit()
            except _WorkFailed as failed:
                if alone or len(group) == 1:
                    return _all(group, failed.error), False
                alone = True
            except DBAPIError as error:
                if committing and error.connection_invalidated and not was_ended(error):
                    return self._unknown(group, error)
                if not may_retry(error) or self._closing or monotonic() + pause_s > until_s:
                    return _all(group, translate(error)), False
                threading.Event().wait(pause_s)
                pause_s = min(pause_s * 2, MAX_RETRY_S)
            else:
                for then in following:
                    then()
                return list(zip(group, outcomes, strict=True)), waiting.has_written

    def _unknown(self, group: Sequence[_Waiting], error: DBAPIError) -> tuple[Answered, bool]:
        """Go on where a connection was lost in COMMIT: items are done again, a work's caller has to look by itself."""
        again = [waiting for waiting in group if waiting.bulk is not None and not waiting.is_second]
        for waiting in reversed(again):
            waiting.is_second = True
            self._works.appendleft(waiting)
        answered = [waiting for waiting in group if waiting not in again]
        return _all(answered, translate(error)), True

    def _deliver(self, answered: Answered, has_events: bool) -> None:  # noqa: FBT001 - called by name of the loop
        if has_events:
            self._follower.hint()
            for tell in self._told:
                tell()
        for waiting, (result, error) in answered[:ANSWERED_AT_ONCE]:
            waiting.done(result, error)
        if rest := answered[ANSWERED_AT_ONCE:]:
            asyncio.get_running_loop().call_soon(self._deliver, rest, False)  # noqa: FBT003 - as above


def _all(group: Sequence[_Waiting], error: BaseException) -> Answered:
    return [(waiting, (None, error)) for waiting in group]


def settle(answer: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    """Give a future its result or its error, unless whoever waited for it was cancelled."""
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(result)


class _WorkFailed(Exception):
    """A work, a bulk or the writing of events raised: what it did has to be rolled back."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def _run_together(conn: Connection, group: Sequence[_Waiting]) -> list[_Outcome]:
    outcomes = _run_all(conn, group)
    _run(conn, event.write_waiting)
    return outcomes


def _run_all(conn: Connection, group: Sequence[_Waiting]) -> list[_Outcome]:
    outcomes: list[_Outcome] = []
    for bulk, alike in groupby(group, key=lambda waiting: waiting.bulk):
        if bulk is not None:
            outcomes += _run_bulk(conn, bulk, [waiting.item for waiting in alike])
        else:
            runs = [partial(_run, conn, waiting.work) for waiting in alike if waiting.work is not None]
            outcomes += [run() if len(group) == 1 else _run_apart(conn, run) for run in runs]
    return outcomes


def _run_bulk(conn: Connection, bulk: Bulk, items: Sequence[object]) -> list[_Outcome]:
    results, _ = _run(conn, lambda conn: bulk(conn, items))
    return [(None, each) if isinstance(each, BaseException) else (each, None) for each in results]


def _run(conn: Connection, work: Callable[[Connection], Any]) -> _Outcome:
    try:
        result = work(conn)
    except DBAPIError as error:
        if may_retry(error):
            raise
        raise _WorkFailed(translate(error)) from error
    except Exception as error:
        raise _WorkFailed(error) from error
    return result, None


def _run_apart(conn: Connection, run: Callable[[], _Outcome]) -> _Outcome:
    """Run in a savepoint: what fails takes back what it did itself, and no more."""
    events = conn.info[event.WAITING]
    before = list(events)  # of others: a work that reads events writes them first, inside its savepoint
    following = list(after.following(conn))
    conn.exec_driver_sql("SAVEPOINT apart")  # as text: begin_nested() costs several times as much
    try:
        outcome = run()
    except _WorkFailed as failed:
        try:
            conn.exec_driver_sql("ROLLBACK TO SAVEPOINT apart")
        except DBAPIError:
            raise failed from None  # the database itself gave up the whole transaction, as on a full disk
        events[:] = before
        after.following(conn)[:] = following
        outcome = None, failed.error
    conn.exec_driver_sql("RELEASE SAVEPOINT apart")
    return outcome


def _run_each(conn: Connection, group: Sequence[_Waiting]) -> list[_Outcome]:
    """Run each in a savepoint, its events with it."""

    def run(waiting: _Waiting) -> _Outcome:
        return _run_together(conn, [waiting])[0]

    return [_run_apart(conn, partial(run, waiting)) for waiting in group]
