"""How devices stand, remembered from one transaction of ingest to the next (docs/decisions/0259).

On SQLite this process alone writes. What ingest knows of a device when it commits is still so when the device's next
batch comes, unless something else has written meanwhile; so those that call often need not be read again. Anything
that writes to the database, whatever and wherever, makes all of it be forgotten: SQLite counts the rows that a
connection changes and the commits of all others. On PostgreSQL other nodes write, and every device is read and locked.

    of      what is remembered, and the rest from the database; from here on nothing is remembered …
    keep    … until COMMIT: a transaction that is rolled back leaves nothing behind. One `keep` follows on each `of`
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection

from fleet.core.intake import Standing
from fleet.store import after, intake
from fleet.store.intake import Wanted

MAX_DEVICES = 256  # remembered, those that called last …
MAX_SERIES = 32  # … and none with more series: some 2 MB of numbers, 12 MB where all are the longest of texts

_State = tuple[Any, int, int]
"""A connection, how many rows it has changed, and SQLite's number for the commits of others."""


class Standings:
    """The standings of devices. For the thread that writes."""

    def __init__(self) -> None:
        self._known: dict[str, Standing] = {}  # as of `_state`, those that called last at the end
        self._state: _State | None = None
        self._rest: dict[str, Standing] = {}  # what was remembered, of other devices than the transaction's

    def of(self, conn: Connection, wanted: Sequence[Wanted]) -> dict[str, Standing]:
        """Return how the devices stand, as `intake.standings` does. Whoever changes how one stands says so to it."""
        if conn.dialect.name != "sqlite":
            return intake.standings(conn, wanted)
        self._rest, self._known = (self._known if self._state == _state(conn) else {}), {}
        found, missing = {}, set()
        for device_id, store_id, lane in wanted:
            one = self._rest.get(device_id)
            if one is None or (store_id and (store_id, lane) not in one.marks):
                missing.add(device_id)
            else:
                found[device_id] = one
        for device_id in missing | found.keys():
            self._rest.pop(device_id, None)
        if missing:
            found |= intake.standings(conn, [one for one in wanted if one[0] in missing])
        return found

    def keep(self, conn: Connection, standings: Mapping[str, Standing]) -> None:
        """Remember how the devices of the last `of` stand now, if the transaction is committed."""
        if conn.dialect.name != "sqlite":
            return
        known, self._rest = self._rest, {}
        known |= {name: one for name, one in standings.items() if len(one.latest) <= MAX_SERIES}
        for name in list(known)[: max(0, len(known) - MAX_DEVICES)]:
            del known[name]
        after.commit(conn, partial(self._remember, known, _state(conn)))

    def _remember(self, known: dict[str, Standing], state: _State) -> None:
        self._known, self._state = known, state


def _state(conn: Connection) -> _State:
    """Return what tells whether anything was written: as long as it is as it was, no row has been changed."""
    driver: Any = conn.connection.driver_connection
    version: int = driver.execute("PRAGMA data_version").fetchone()[0]
    return driver, driver.total_changes, version
