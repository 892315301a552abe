"""Makes the payloads of batches: rows from the buffer, compressed, then the head as of the moment it leaves.

While a backlog drains, the rows of the next batch are read and compressed while the one before waits for its ack
(`ahead`). That is work done early, not a second batch in flight: if the machine asks for anything but the rows that
are ready, they are dropped and read again.
"""

import asyncio
from dataclasses import dataclass

from agent.core.store import Store, Stored
from agent.core.uplink_events import Built, Send
from agent.errors import Unavailable
from agent.wire.codec import BACKLOG_GZIP_LEVEL, GZIP_LEVEL, Pack, batch_id
from agent.wire.limits import BACKLOG_BATCH_BYTES, STEADY_BATCH_BYTES
from agent.wire.messages import Batch, Lane


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows that are read and compressed; good for one batch."""

    store_id: str
    after_seq: int
    max_bytes: int
    pack: Pack
    last_seq: int | None
    more: bool


class Packer:
    """Makes the batches of one lane."""

    def __init__(self, store: Store, lane: Lane) -> None:
        self._store = store
        self._lane = lane
        self._ahead: _Rows | None = None

    async def rows(self, send: Send) -> _Rows:
        """Return the rows that `send` asks for; raises Unavailable or Damaged."""
        ahead, self._ahead = self._ahead, None
        wanted = (self._store.store_id, send.after_seq, send.max_bytes)
        if ahead is not None and (ahead.store_id, ahead.after_seq, ahead.max_bytes) == wanted:
            return ahead
        return await self._read(send.after_seq, send.max_bytes)

    async def ahead(self, built: Built) -> None:
        """Make the rows ready that follow a batch of a backlog, which has left."""
        if not built.more or built.last_seq is None:
            return
        try:
            self._ahead = await self._read(built.last_seq, BACKLOG_BATCH_BYTES)
        except Unavailable:
            return  # whoever asks for them reads again, and is told

    async def _read(self, after_seq: int, max_bytes: int) -> _Rows:
        store_id = self._store.store_id
        rows, more = await self._store.rows(self._lane, after_seq, max_bytes) if max_bytes else (list[Stored](), False)
        bodies = [row.body for row in rows]
        last_seq = rows[-1].seq if rows else None
        if sum(map(len, bodies)) > STEADY_BATCH_BYTES:  # gzip takes its time, and lets go of the GIL
            pack = await asyncio.to_thread(Pack, self._lane, bodies, BACKLOG_GZIP_LEVEL)
        else:
            pack = Pack(self._lane, bodies, GZIP_LEVEL)
        return _Rows(store_id, after_seq, max_bytes, pack, last_seq, more)


def finish(send: Send, rows: _Rows, head: Batch) -> tuple[bytes, Built]:
    """Put the head to the rows: the payload, and what is to be said of it before it leaves."""
    payload = rows.pack.finish(head)
    return payload, Built(send.lane, send.flight, batch_id(payload), rows.last_seq, rows.more)
