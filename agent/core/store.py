"""What the agent's services ask of the buffer: the values they exchange with it, and the port.

The one implementation is `agent.adapters.buffer.Buffer`; the port is here because services do not import adapters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.core.dating import Order
from agent.core.outbox import Row
from agent.core.shedding import Shed
from agent.wire.messages import Lane

FORMER = "former"
"""Key of the value that is "1" while the store_id is that of a damaged file, whose rows were carried over here: the
fleet is asked once more under that name what it has, and then the buffer takes a name of its own."""


@dataclass(frozen=True, slots=True)
class Depth:
    """What waits in one lane for an ack, or was set aside."""

    rows: int
    bytes: int
    readings: int  # readings, or events
    oldest_us: int  # event time of the oldest row; 0 if none
    newest_us: int  # event time of the newest row; 0 if none


@dataclass(frozen=True, slots=True)
class Stored:
    """A row as it lies in the buffer."""

    seq: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Ends:
    """The ends of one lane."""

    mark: int  # up to here the fleet has acked, as far as the device knows
    top: int  # greatest seq that is still to be sent; the mark if there is none
    next_seq: int  # of the next row that is written
    base: int = 0  # top when the lane was last known to be in step with the fleet; see `Store.prove`


class Store(Protocol):
    """The buffer. Every method may raise Unavailable (disk full, locked, gone) or Damaged."""

    store_id: str
    tight: bool
    """The room that the buffer may take is used up: ask for `relief`."""

    async def commit(
        self,
        rows: Sequence[Row],
        values: Mapping[str, str],
        shed: Shed | None = None,
        order: Order | None = None,
    ) -> None:
        """Write rows of either lane and persisted values in one transaction; returns after it is on the disk.

        What `shed` says is taken away in the same transaction; among the rows is the event that tells of it. `order`
        is kept until `date` has carried it out. Rows that are not dated do not leave before.
        """

    async def date(self) -> bool:
        """Date some of the rows that wait for it; tells whether there were any."""

    async def has_undated(self) -> bool:
        """Tell whether rows wait for their dates."""

    async def newest_us(self) -> int:
        """Return the latest date of what was written last; 0 if nothing was."""

    async def relief(self) -> Shed | None:
        """Return what is to go next, as long as room is wanted; it is held back until a commit takes it away."""

    async def prove(self) -> None:
        """Write that the fleet's marks are not above the bases; no row above them may leave before."""

    async def renew(self, rows: Sequence[Row], bases: Mapping[Lane, int]) -> None:
        """Take a new store_id and write `rows`, in one transaction; rows up to the bases are deleted or set aside."""

    async def rows(self, lane: Lane, after_seq: int, max_bytes: int) -> tuple[list[Stored], bool]:
        """Read the rows after `after_seq`, at most `max_bytes` of them but at least one; and whether more follow."""

    async def give_up(self, lane: Lane, through_seq: int) -> None:
        """Take note of an ack: rows up to `through_seq` may be deleted when their room is wanted."""

    async def rewind(self, lane: Lane, to_seq: int) -> None:
        """Take note that the fleet's mark went back: rows after `to_seq` that are still kept wait for an ack again."""

    async def quarantine(self, lane: Lane, first_seq: int, through_seq: int) -> Depth:
        """Set rows aside that the fleet holds in quarantine; returns what they were."""

    async def ends(self, lane: Lane) -> Ends:
        """Return where the lane stands."""

    async def depth(self, lane: Lane) -> Depth:
        """Return what waits in the lane for an ack."""

    async def value(self, key: str) -> str | None:
        """Return a persisted value; None if there is none."""

    async def values(self, prefix: str) -> dict[str, str]:
        """Return the persisted values whose key starts with `prefix`."""
