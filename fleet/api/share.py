"""Usage by customer: each for the time in which a device was theirs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import Field
from sqlalchemy import Connection

from fleet.api.across import Select, parsed
from fleet.api.customer import CustomerId
from fleet.api.meter import Asked, PeriodItem, asking
from fleet.api.page import Model
from fleet.api.problem import responses
from fleet.api.reading import NDJSON, chunked
from fleet.api.times import iso
from fleet.core.chunk import UNSURE_CLOCKS
from fleet.core.period import By
from fleet.core.selector import Selector
from fleet.core.share import Sum, sums
from fleet.store import across, customer, share
from fleet.store.share import Held

router = APIRouter(tags=["meters"])

OfCustomer = Annotated[
    CustomerId | None, Query(alias="customer", description="Only this customer, with devices that were theirs once.")
]
Make = Callable[[Held, str], Iterator[Model]]


@dataclass(frozen=True, slots=True)
class Shares:
    """What both routes take, read: the counter, and whose usage of it."""

    asked: Asked
    selector: Selector
    customer_id: str | None

    async def answer(self, make: Make) -> StreamingResponse:
        """Answer with the lines that are made of what each customer held; raises NotFound for one that is unknown."""
        asked, customer_id = self.asked, self.customer_id
        if customer_id is not None:
            await asked.services.db.read(lambda conn: customer.get(conn, customer_id))

        def lines(conn: Connection) -> Iterator[str]:
            devices = list(across.newest(conn, asked.series, self.selector, shut_out=True))
            how = {"max_gap_us": asked.max_gap_us, "now_us": asked.now_us}
            for one in share.held(
                conn, asked.series, devices, asked.borders, customer_id=customer_id, rollover=asked.rollover, **how
            ):
                name = customer.names(conn, {one.customer_id})[one.customer_id]
                yield from (line.model_dump_json(by_alias=True) + "\n" for line in make(one, name))

        return StreamingResponse(await chunked(asked.services, lines), media_type=NDJSON)

    def about(self, one: Held, name: str) -> dict[str, object]:
        """Return what each line begins with."""
        return {"customer": one.customer_id, "name": name, **self.asked.about(one.unit)}


async def shares(
    asked: Annotated[Asked, Depends(asking(By.MONTH))], selector: Select = None, customer_: OfCustomer = None
) -> Shares:
    """Read what is asked; raises Invalid."""
    return Shares(asked, parsed(selector), customer_)


class SumItem(Model):
    """What a customer's devices have counted in one period together."""

    from_: str = Field(serialization_alias="from")
    from_us: int
    to: str
    to_us: int
    usage: float | None = Field(description="Null: no device was read in that time.")
    coverage: float | None = Field(description="Share of the devices' time with the customer that lies in no gap.")
    devices: int = Field(description="Those that were read.")
    readings: int
    fall_count: int
    gap_count: int
    unsure: bool
    exact: bool

    @classmethod
    def of(cls, one: Sum) -> "SumItem":
        """Make the item of a sum."""
        return cls(
            from_=iso(one.from_us),
            from_us=one.from_us,
            to=iso(one.to_us),
            to_us=one.to_us,
            usage=None if one.usage is None else float(one.usage),
            coverage=one.coverage,
            devices=one.devices,
            readings=one.readings,
            fall_count=one.fall_count,
            gap_count=one.gap_count,
            unsure=any(one.clocks >> clock & 1 for clock in UNSURE_CLOCKS),
            exact=one.exact,
        )


class UsageOfCustomer(Model):
    """What the devices of one customer have counted while they were theirs; `customer` null: while nobody's."""

    customer: str | None
    name: str
    series: str
    unit: str
    by: By
    zone: str
    total: SumItem
    periods: list[SumItem]


class UsageOfShare(Model):
    """What one device has counted while it was one customer's: periods are cut where it came to them or went."""

    customer: str | None
    name: str
    device: str
    product: str
    series: str
    unit: str
    by: By
    zone: str
    total: PeriodItem
    periods: list[PeriodItem]


def _lines(shape: str) -> dict[int | str, dict[str, object]]:
    said = {"description": shape, "content": {NDJSON: {"schema": {"type": "string"}}}}
    return {**responses(401, 403, 404, 422, 503), 200: said}


@router.get(
    "/fleet/usage/customers",
    response_class=StreamingResponse,
    responses=_lines("An object a line for every customer, and for every unit that their counters have."),
)
async def get_usage_of_customers(wanted: Annotated[Shares, Depends(shares)]) -> StreamingResponse:
    """Tell what a counter has counted for each customer: on all devices, while they were theirs.

    A device counts for a customer from the first reading of its time with them to the last. Devices that are shut out
    by now count too. The selector chooses devices as they stand now, `customer` by whose they were.
    """

    def make(one: Held, name: str) -> Iterator[Model]:
        usages = ((each.device_id, each.usages) for each in one.shares)
        *periods, total = map(SumItem.of, sums(wanted.asked.borders, usages, wanted.asked.now_us))
        yield UsageOfCustomer.model_validate({**wanted.about(one, name), "total": total, "periods": periods})

    return await wanted.answer(make)


@router.get(
    "/fleet/usage/shares",
    response_class=StreamingResponse,
    responses=_lines("An object a line for every time in which a device was one customer's."),
)
async def get_usage_of_shares(wanted: Annotated[Shares, Depends(shares)]) -> StreamingResponse:
    """Tell the same device by device, with the readings that each is counted from and to."""

    def make(one: Held, name: str) -> Iterator[Model]:
        for each in one.shares:
            *periods, total = map(PeriodItem.of, each.usages)
            which = {"device": each.device_id, "product": each.product_id, "total": total, "periods": periods}
            yield UsageOfShare.model_validate({**wanted.about(one, name), **which})

    return await wanted.answer(make)
