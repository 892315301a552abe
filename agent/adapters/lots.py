"""SQL over ranges of the buffer's rows: what they sum up to, which ones may go, and taking them away.

The running totals in each row (`agent.adapters.migrate`) make a sum two look-ups, however many rows it is over; what
was shed in the middle is in the table `shed`, and left out. Called in the buffer's thread, within its transactions.
"""

import sqlite3
import time
from typing import cast

from agent.core.shedding import Lot, Shed
from agent.wire.codec import decode
from agent.wire.messages import Lane, Segment

TABLES = {Lane.EVENTS: "event", Lane.TELEMETRY: "segment"}
STEP_BYTES = 1024 * 1024  # of rows that one step of shedding looks at
STEP_ROWS = 3600  # likewise


def lot(db: sqlite3.Connection, lane: Lane, first_seq: int, last_seq: int) -> Lot:
    """Sum the rows of a range up; the times are those of its ends."""
    table = TABLES[lane]
    first = db.execute(
        f"SELECT seq, from_us, through_bytes, through_readings, body FROM {table}"  # noqa: S608 - a constant
        " WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT 1",
        (first_seq, last_seq),
    ).fetchone()
    if first is None:
        return Lot(0, 0, 0, 0, 0)
    seq, from_us, first_bytes, first_readings, body = first
    last, to_us, through_bytes, through_readings = db.execute(
        f"SELECT seq, to_us, through_bytes, through_readings FROM {table}"  # noqa: S608 - a constant
        " WHERE seq <= ? ORDER BY seq DESC LIMIT 1",
        (last_seq,),
    ).fetchone()
    rows, size, readings = db.execute(
        "SELECT coalesce(sum(rows), 0), coalesce(sum(bytes), 0), coalesce(sum(readings), 0)"
        " FROM shed WHERE lane = ? AND seq > ? AND seq <= ?",
        (lane, seq, last),
    ).fetchone()
    return Lot(
        rows=last - seq + 1 - rows,
        bytes=through_bytes - first_bytes + len(body) - size,
        readings=through_readings - first_readings + _count(db, lane, seq, first_readings, body) - readings,
        from_us=from_us,
        to_us=to_us,
    )


def through(db: sqlite3.Connection, lane: Lane, seq: int) -> int:
    """Return the running total of bytes as of row `seq`, or of the nearest one before it."""
    found = db.execute(
        f"SELECT through_bytes FROM {TABLES[lane]} WHERE seq <= ? ORDER BY seq DESC LIMIT 1",  # noqa: S608 - a constant
        (seq,),
    ).fetchone()
    return found[0] if found else 0


def newest_us(db: sqlite3.Connection, lane: Lane) -> int:
    """Return the end of the newest row, as event time; 0 if there is none."""
    found = db.execute(f"SELECT to_us FROM {TABLES[lane]} ORDER BY seq DESC LIMIT 1").fetchone()  # noqa: S608 - a constant
    return int(found[0]) if found else 0


def first_after(db: sqlite3.Connection, lane: Lane, seq: int) -> int | None:
    """Return the first row's seq above `seq`; None if there is none."""
    found = db.execute(f"SELECT min(seq) FROM {TABLES[lane]} WHERE seq > ?", (seq,))  # noqa: S608 - a constant
    return cast("int | None", found.fetchone()[0])


def next_segments(db: sqlite3.Connection, after_seq: int, before_seq: int) -> list[tuple[Segment, int]]:
    """Decode one step's rows of telemetry between two seqs, both exclusive, with the bytes of each."""
    found: list[tuple[Segment, int]] = []
    size = 0
    rows = db.execute(
        "SELECT body FROM segment WHERE seq > ? AND seq < ? AND quarantined = 0 ORDER BY seq LIMIT ?",
        (after_seq, before_seq, STEP_ROWS),
    )
    for (body,) in rows:
        size += len(body)
        if found and size > STEP_BYTES:
            break
        found.append((decode(Segment, body), len(body)))
    rows.close()
    return found


def last_within(db: sqlite3.Connection, lane: Lane, first_seq: int, before_seq: int, size: int) -> int:
    """Return the last seq of one step's rows from `first_seq` on, of about `size` bytes."""
    found = db.execute(
        f"SELECT max(seq) FROM (SELECT seq FROM {TABLES[lane]} WHERE seq >= ? AND seq < ?"  # noqa: S608 - a constant
        " AND through_bytes <= ? ORDER BY seq LIMIT ?)",
        (first_seq, before_seq, through(db, lane, first_seq) + size, STEP_ROWS),
    )
    return int(found.fetchone()[0])


def take_away(db: sqlite3.Connection, shed: Shed) -> None:
    """Delete rows, put what takes their place, and note how much less there is."""
    table, put = TABLES[shed.lane], shed.put
    db.execute(
        f"DELETE FROM {table} WHERE seq BETWEEN ? AND ?",  # noqa: S608 - a constant
        (shed.first_seq, shed.last_seq if put is None else shed.last_seq - 1),
    )
    if put is not None:
        db.execute(
            "UPDATE segment SET from_us = ?, to_us = ?, body = ? WHERE seq = ?",
            (put.from_us, put.to_us, put.body, put.seq),
        )
    db.execute(
        f"DELETE FROM shed WHERE lane = ? AND seq < (SELECT min(seq) FROM {table})",  # noqa: S608 - a constant
        (shed.lane,),
    )
    db.execute(
        "INSERT OR REPLACE INTO shed (lane, seq, rows, bytes, readings) VALUES (?, ?, ?, ?, ?)",
        (shed.lane, shed.last_seq, shed.rows, shed.bytes, shed.readings),
    )


def forget(db: sqlite3.Connection, lane: Lane, through_seq: int) -> None:
    """Delete rows that shall not be sent again; of the newest one, which is the lane's counter, keep the number."""
    table = TABLES[lane]
    db.execute(
        f"DELETE FROM {table} WHERE seq <= ? AND seq < (SELECT max(seq) FROM {table})",  # noqa: S608 - a constant
        (through_seq,),
    )
    db.execute(f"UPDATE {table} SET quarantined = 1 WHERE seq <= ?", (through_seq,))  # noqa: S608 - a constant


def find_damage(db: sqlite3.Connection, for_s: float) -> str:
    """Look for damage in the whole file, for a bounded time; "" if none was found. Raises SQLite's error, too."""
    deadline = time.monotonic() + for_s
    db.set_progress_handler(lambda: time.monotonic() > deadline, 1000)
    try:
        found = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError:  # interrupted: the rest is found damaged when it is read, or not at all
        return ""
    finally:
        db.set_progress_handler(None, 0)
    return "" if found == "ok" else found


def _count(db: sqlite3.Connection, lane: Lane, seq: int, through_readings: int, body: bytes) -> int:
    """Return the readings of one row: from the row before, where there is one, else by looking into it."""
    if lane is Lane.EVENTS:
        return 1
    before = db.execute("SELECT through_readings FROM segment WHERE seq = ?", (seq - 1,)).fetchone()
    thinned = db.execute("SELECT 1 FROM shed WHERE lane = ? AND seq = ?", (lane, seq)).fetchone()
    if seq == 1 or (before and not thinned):
        return int(through_readings - (before[0] if before else 0))
    return sum(len(series.v) for series in decode(Segment, body).series)
