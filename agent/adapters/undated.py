"""The buffer's rows that wait for their dates (`agent.core.dating`): which they are, and a step of dating them.

    undated.<lane>   no row before this seq is undated; absent or 0: none is. Written with the first that is
    dating           orders that are not carried out yet, the oldest first

Called in the buffer's thread.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from agent.adapters.lots import TABLES
from agent.core.dating import UNDATED, Order, date_row, load_order
from agent.core.outbox import Row
from agent.wire.messages import Lane

STEP_ROWS = 500  # that one transaction dates at most
STEP_BYTES = 512 * 1024  # likewise
KEYS = (*(f"undated.{lane}" for lane in Lane), "dating")


@dataclass(frozen=True, slots=True)
class Undated:
    """Where undated rows begin, a lane, and the orders to date them by."""

    first: Mapping[Lane, int]  # 0: there are none
    orders: tuple[Order, ...] = ()

    def holds_back(self, lane: Lane, seq: int, body: bytes) -> bool:
        """Tell whether a row may not leave, nor any after it: it has no date yet."""
        return 0 < self.first[lane] <= seq and UNDATED in body

    def is_due(self) -> bool:
        """Tell whether there is something to date, and an order to do it by."""
        return any(0 < self.first[lane] <= order.through[lane] for order in self.orders for lane in Lane)

    def having(self, rows: Sequence[Row], order: Order | None) -> "Undated":
        """Return it as it is with these rows, and by this order, too."""
        found = self
        for row in rows:
            if not row.is_dated and not found.first[row.lane]:
                found = replace(found, first={**found.first, row.lane: row.seq})
        return found if order is None else replace(found, orders=(*found.orders, order))

    def values(self) -> dict[str, str]:
        """Return it as the values that are kept."""
        firsts = {f"undated.{lane}": str(self.first[lane]) for lane in Lane}
        return {**firsts, "dating": json.dumps([order.dump() for order in self.orders])}


def load(values: Mapping[str, str], tops: Mapping[Lane, int]) -> Undated:
    """Return what was kept; an order ends with the rows that came to the disk, `tops`."""
    orders = [load_order(text) for text in json.loads(values.get("dating") or "[]")]
    return Undated(
        {lane: int(values.get(f"undated.{lane}") or 0) for lane in Lane},
        tuple(replace(it, through={lane: min(it.through[lane], tops[lane]) for lane in Lane}) for it in orders),
    )


def date(db: sqlite3.Connection, undated: Undated, tops: Mapping[Lane, int]) -> Undated:
    """Date one step's rows of each lane, within a transaction; returns what is left."""
    first = {lane: _date_lane(db, lane, undated) for lane in Lane}
    orders = tuple(
        it
        for it in undated.orders
        if any(0 < first[lane] <= it.through[lane] or tops[lane] < it.through[lane] for lane in Lane)
    )
    return Undated(first, orders)


def _date_lane(db: sqlite3.Connection, lane: Lane, undated: Undated) -> int:
    first = undated.first[lane]
    if not first:
        return 0
    rows = db.execute(
        f"SELECT seq, body FROM {TABLES[lane]} WHERE seq >= ? ORDER BY seq LIMIT ?",  # noqa: S608 - a constant
        (first, STEP_ROWS),
    )
    done: list[tuple[int, int, bytes, int]] = []
    size = 0
    for seq, body in rows:
        if size > STEP_BYTES:
            first = seq
            break
        if UNDATED in body:
            order = next((it for it in undated.orders if seq <= it.through[lane]), None)
            if order is None:
                first = seq
                break
            dated = date_row(lane, body, order)
            done.append((dated.by_us, dated.by_us, dated.body, seq))
        size += len(body)
        first = seq + 1
    else:
        more = db.execute(f"SELECT 1 FROM {TABLES[lane]} WHERE seq >= ?", (first,)).fetchone()  # noqa: S608 - a constant
        first = first if more else 0
    rows.close()
    db.executemany(
        f"UPDATE {TABLES[lane]} SET from_us = from_us + ?, to_us = to_us + ?, body = ? WHERE seq = ?",  # noqa: S608 - a constant
        done,
    )
    return first
