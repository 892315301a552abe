"""The ledger: every sample that a board emitted, in a SQLite file; the truth that tests compare a fleet against.

    sample(n INTEGER PRIMARY KEY, board TEXT, quantity TEXT, t_us INTEGER, value, lost_on_wire INTEGER)

`n` grows by one a row. `value` is what a correct reader of the wire decodes, down to the last decimal. `t_us` is when
it was handed to the wire. `lost_on_wire` says what became of it:

    0  handed to a port that a reader held open
    1  no reader can have had it: port closed or unplugged, buffer full, left unread when the reader closed the port,
       or damaged on purpose (garbage, half frames)
    2  a reader discarded its input buffer (tcflush) with this possibly in it: it may or may not have been read

Rows are committed in groups, each COMMIT_S; the flag of a row may still rise from 0 when its reader closes the port.
The file is in WAL mode, so other processes read it while the board runs. Nobody syncs it to disk: what is committed
survives the death of the board, not that of the machine. Several boards may share one file.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from firmware_sim.errors import Unavailable

COMMIT_S = 0.1
BUSY_S = 10.0

CREATE = """
CREATE TABLE IF NOT EXISTS sample (
    n INTEGER PRIMARY KEY,
    board TEXT NOT NULL,
    quantity TEXT NOT NULL,
    t_us INTEGER NOT NULL,
    value NOT NULL,
    lost_on_wire INTEGER NOT NULL CHECK (lost_on_wire IN (0, 1, 2))
)
"""

ON_WIRE, LOST, DOUBTFUL = 0, 1, 2

Number = int | float


@dataclass(slots=True, eq=False)
class Row:
    """One sample. `n` is 0 until it is committed."""

    board: str
    quantity: str
    t_us: int
    value: Number
    lost_on_wire: int
    n: int = 0


class Ledger:
    """The writing end. Without a path it keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._fresh: list[Row] = []
        self._changed: list[Row] = []
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        if self._path is not None:
            try:
                self._connection = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
                self._connection.execute("PRAGMA journal_mode=WAL")
                self._connection.execute("PRAGMA synchronous=OFF")
                self._connection.execute(CREATE)
            except sqlite3.Error as error:
                self.__exit__(None, None, None)
                raise Unavailable(
                    f"The ledger {self._path} cannot be opened: {error}.", hint="Name a file that can be written."
                ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self.commit()
            self._connection.close()
            self._connection = None

    def add(self, rows: Iterable[Row]) -> None:
        """Take rows in, in the order in which they are to be numbered."""
        if self._connection is not None:
            self._fresh += rows

    def mark(self, rows: Iterable[Row], flag: int) -> None:
        """Set the flag of rows that were taken in before."""
        for row in rows:
            row.lost_on_wire = flag
            if row.n:
                self._changed.append(row)

    def commit(self) -> None:
        """Write what is new, in one transaction; raises Unavailable."""
        if self._connection is None or not (self._fresh or self._changed):
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            (last,) = self._connection.execute("SELECT coalesce(max(n), 0) FROM sample").fetchone()
            for n, row in enumerate(self._fresh, last + 1):
                row.n = n
            self._connection.executemany(
                "INSERT INTO sample VALUES (?, ?, ?, ?, ?, ?)",
                [(row.n, row.board, row.quantity, row.t_us, row.value, row.lost_on_wire) for row in self._fresh],
            )
            self._connection.executemany(
                "UPDATE sample SET lost_on_wire = ? WHERE n = ?", [(row.lost_on_wire, row.n) for row in self._changed]
            )
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise Unavailable(f"The ledger {self._path} cannot be written: {error}.") from error
        self._fresh = []
        self._changed = []


def read(path: Path | str, *, quantity: str | None = None, board: str | None = None, lost: bool = True) -> list[Row]:
    """Read the rows of a ledger in order, of one quantity or board if named; `lost=False` leaves out flags 1 and 2.

    Works while a board writes; raises Unavailable if there is no ledger there.
    """
    where: list[str] = [] if lost else ["lost_on_wire = 0"]
    values: list[str] = []
    for column, wanted in (("quantity", quantity), ("board", board)):
        if wanted is not None:
            where.append(f"{column} = ?")
            values.append(wanted)
    return _select(Path(path), " AND ".join(where) or "1", values)


def _select(path: Path, where: str, values: Sequence[str]) -> list[Row]:
    if not path.exists():
        raise Unavailable(f"There is no ledger at {path}.", hint="Start the board with --ledger.")
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=BUSY_S)) as connection:
            rows = connection.execute(
                "SELECT board, quantity, t_us, value, lost_on_wire, n FROM sample"  # noqa: S608 - fixed words only
                f" WHERE {where} ORDER BY n",
                values,
            )
            return [Row(*row) for row in rows]
    except sqlite3.Error as error:
        raise Unavailable(f"The ledger {path} cannot be read: {error}.") from error
