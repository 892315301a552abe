"""One series over many devices: newest values, the highest and lowest, and how they are spread."""

from collections.abc import Iterator
from heapq import nlargest, nsmallest
from itertools import islice
from operator import attrgetter
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Query, Response
from pydantic import Field, StringConstraints
from sqlalchemy import Connection

from agent.wire.limits import MIN_TIME_US
from agent.wire.messages import Value
from fleet.api.access import Given, Reader
from fleet.api.page import NO_NUL, FromTime, Model, SeriesName
from fleet.api.problem import responses
from fleet.api.times import iso, parse_time
from fleet.core import selector as core
from fleet.core.selector import Selector
from fleet.core.spread import spread
from fleet.errors import Invalid
from fleet.services import Services
from fleet.store import across
from fleet.store.across import Newest

router = APIRouter(tags=["fleet"])

MAX_DEVICES = 100_000  # in one answer
MAX_BARS = 100

Series = Annotated[SeriesName, Query(description="The series.", examples=["board.temp"])]
Select = Annotated[
    Annotated[str, StringConstraints(max_length=core.MAX_CHARS, pattern=NO_NUL)] | None,
    Query(
        alias="selector",
        description="Which devices: `product:freezer site:Berlin*,Hamburg -device:freezer-1 word`; all if not said.",
        examples=["product:freezer"],
    ),
]
Order = Literal["device", "highest", "lowest"]


class NewestItem(Model):
    """What one device last said of a series."""

    device: str
    product: str
    site: str
    t: str
    t_us: int
    v: Value
    unit: str


class _Item(msgspec.Struct, frozen=True, gc=False):
    """The same, as it is written: ten thousand of them in a moment."""

    device: str
    product: str
    site: str
    t: str
    t_us: int
    v: Value
    unit: str


class NewestOfAll(Model):
    """The newest reading of a series, device by device."""

    items: list[NewestItem]


class BarItem(Model):
    """So many devices lie between `from` and `to`, which belongs to the next bar."""

    from_: float = Field(serialization_alias="from")
    to: float
    count: int


class TextCount(Model):
    """So many devices say this."""

    text: str
    count: int


class SpreadItem(Model):
    """How the newest values of a series are spread over devices; percentiles are values of devices."""

    series: str
    unit: str = Field(description='"" where devices disagree.')
    devices: int
    numbers: int
    empty: int = Field(description="Devices whose newest reading has no value.")
    min: float | None
    max: float | None
    mean: float | None
    percentiles: dict[str, float]
    histogram: list[BarItem]
    texts: list[TextCount] = Field(description="The 20 most frequent.")


@router.get(
    "/fleet/latest",
    response_model=NewestOfAll,
    responses=responses(401, 403, 422),
)
async def get_newest_of_all(  # noqa: PLR0913 - one argument a filter
    services: Given,
    _caller: Reader,
    *,
    series: Series,
    selector: Select = None,
    from_: FromTime = None,
    order: Annotated[Order, Query(description="By device, or by value; then only numbers.")] = "device",
    limit: Annotated[int, Query(ge=1, le=MAX_DEVICES, description="Devices at most.")] = MAX_DEVICES,
) -> Response:
    """Show the newest reading of one series of every device that has one; devices shut out are left out."""
    chosen, since_us = parsed(selector), _since(services, from_)

    def work(conn: Connection) -> bytes:
        found: Iterator[Newest] | list[Newest] = across.newest(conn, series, chosen, since_us=since_us)
        if order != "device":
            pick = nlargest if order == "highest" else nsmallest
            found = pick(limit, (one for one in found if isinstance(one.v, int | float)), key=attrgetter("v"))
        return msgspec.json.encode(
            {"items": [_Item(*one[:3], iso(one.t_us), *one[3:]) for one in islice(found, limit)]}
        )

    return Response(await services.db.read(work), media_type="application/json")


@router.get("/fleet/spread", responses=responses(401, 403, 422))
async def get_spread(
    services: Given,
    _caller: Reader,
    *,
    series: Series,
    selector: Select = None,
    from_: FromTime = None,
    bars: Annotated[int, Query(ge=1, le=MAX_BARS, description="Bars of the histogram.")] = 10,
) -> SpreadItem:
    """Tell how the newest values of one series are spread over devices: percentiles, histogram, texts."""
    chosen, since_us = parsed(selector), _since(services, from_)

    def work(conn: Connection) -> SpreadItem:
        found = list(across.newest(conn, series, chosen, since_us=since_us))
        told = spread([one.v for one in found], bars=bars)
        units = {one.unit for one in found}
        return SpreadItem(
            series=series,
            unit=units.pop() if len(units) == 1 else "",
            devices=len(found),
            numbers=told.count,
            empty=told.empty,
            min=told.low,
            max=told.high,
            mean=told.mean,
            percentiles={f"p{rank}": value for rank, value in told.percentiles.items()},
            histogram=[BarItem(from_=bar.low, to=bar.high, count=bar.count) for bar in told.bars],
            texts=[TextCount(text=text, count=count) for text, count in told.texts],
        )

    return await services.db.read(work)


def parsed(selector: str | None) -> Selector:
    """Read a selector; raises Invalid."""
    try:
        return core.parse(selector or "")
    except ValueError as error:
        raise Invalid(f"selector: {error}", hint="Say product:freezer site:Berlin*, or a part of an id.") from error


def _since(services: Services, from_: str | None) -> int:
    return MIN_TIME_US if from_ is None else parse_time(from_, now_us=services.now_us(), name="from")
