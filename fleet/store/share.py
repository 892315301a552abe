"""What of the usage of devices is whose: their tenures, and the usage in each of them (`fleet.core.share`)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import Connection

from fleet.core.meter import Usage
from fleet.core.ownership import UNOWNED, Tenure, within
from fleet.core.share import cut
from fleet.store import meter, ownership
from fleet.store.across import Newest


@dataclass(frozen=True, slots=True)
class Share:
    """A device in one tenure; `usages` are the parts of periods within it, and after them their whole."""

    device_id: str
    product_id: str
    tenure: Tenure
    usages: Sequence[Usage]


@dataclass(frozen=True, slots=True)
class Held:
    """What a customer (None: nobody) held, of devices whose counters have the same unit."""

    customer_id: str | None
    unit: str
    shares: Iterable[Share]  # read from the database as they are taken


def held(  # noqa: PLR0913 - which counters, which time, and how they count
    conn: Connection,
    series: str,
    devices: Sequence[Newest],
    edges: Sequence[int],
    *,
    customer_id: str | None,
    max_gap_us: int,
    rollover: float,
    now_us: int,
) -> Iterator[Held]:
    """Yield what each customer held between the edges, by id and unit, nobody last; only `customer_id` if said."""
    owned = ownership.of_many(conn, [one.device for one in devices])
    mine = [
        (tenure, one)
        for one in devices
        for tenure in within(owned.get(one.device, UNOWNED), edges[0], edges[-1])
        if customer_id is None or tenure.customer_id == customer_id
    ]
    mine.sort(key=lambda each: (_key(each), each[1].device, each[0].from_us))
    for (_, whose, unit), some in groupby(mine, key=_key):
        shares = (
            Share(
                one.device,
                one.product,
                tenure,
                meter.usage(
                    conn,
                    one.device,
                    series,
                    cut(edges, tenure),
                    max_gap_us=max_gap_us,
                    rollover=rollover,
                    now_us=now_us,
                    since_us=tenure.from_us,
                ),
            )
            for tenure, one in some
        )
        yield Held(whose or None, unit, shares)


def _key(each: tuple[Tenure, Newest]) -> tuple[bool, str, str]:
    tenure, one = each
    return tenure.customer_id is None, tenure.customer_id or "", one.unit
