"""Meters: what a counter has counted in each period, and how well that is known."""

from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, Field, StringConstraints
from sqlalchemy import Connection

from agent.wire.limits import MIN_TIME_US
from agent.wire.units import US_PER_S
from fleet.api.access import Given, Reader
from fleet.api.across import Select, parsed
from fleet.api.page import NO_NUL, DeviceId, FromTime, Model, SeriesName, ToTime
from fleet.api.problem import responses
from fleet.api.reading import NDJSON, chunked, span
from fleet.api.times import iso
from fleet.core import meter as core
from fleet.core import period
from fleet.core.chunk import UNSURE_CLOCKS
from fleet.core.period import By
from fleet.errors import Invalid
from fleet.services import Services
from fleet.store import across, device, latest, meter

router = APIRouter(tags=["meters"])

DAY_US = 86_400 * US_PER_S
MAX_PERIODS = 10_000
DEFAULT_GAP_S = 3600
MIN_GAP_S = 900  # a window of 15 minutes is not looked into
MAX_GAP_S = 366 * 86_400
DEFAULT_SPAN_US = {By.HOUR: DAY_US, By.DAY: 30 * DAY_US, By.MONTH: 365 * DAY_US, By.YEAR: 5 * 365 * DAY_US}


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        msg = f"there is no time zone {name!r}; say one such as Europe/Berlin, or UTC"
        raise ValueError(msg) from None
    return name


Series = Annotated[SeriesName, Query(description="The counter.", examples=["meter.energy"])]
ByWhat = Annotated[By, Query(description="How long a period is.")]
Zone = Annotated[
    Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=NO_NUL), AfterValidator(_known_zone)],
    Query(description="Where days begin: a name of the IANA time zone database.", examples=["Europe/Berlin"]),
]
Rollover = Annotated[
    float,
    Query(ge=0, le=2**64, description="One more than the counter's greatest value; 0: it does not roll over."),
]
MaxGap = Annotated[
    int,
    Query(ge=MIN_GAP_S, le=MAX_GAP_S, description="Readings farther apart leave a gap between them, seconds."),
]


@dataclass(frozen=True, slots=True)
class Asked:
    """What every route of a counter takes, read."""

    services: Services
    series: str
    borders: Sequence[int]
    by: By
    zone: str
    rollover: float
    max_gap_us: int
    now_us: int

    def usages(self, conn: Connection, device_id: str) -> list[core.Usage]:
        """Return what the counter of a device has counted in each period, and in all of them."""
        how = {"max_gap_us": self.max_gap_us, "now_us": self.now_us}
        return meter.usage(conn, device_id, self.series, self.borders, rollover=self.rollover, **how)

    def about(self, unit: str) -> dict[str, object]:
        """Return what an answer says of the question."""
        return {"series": self.series, "unit": unit, "by": self.by, "zone": self.zone}


def asking(usually: By) -> Callable[..., Coroutine[Any, Any, Asked]]:
    """Return what reads a question of a counter: by which period, if it does not say, is the route's to choose."""

    async def asked(  # noqa: PLR0913 - one argument a fact
        services: Given,
        _caller: Reader,
        *,
        series: Series,
        from_: FromTime = None,
        to: ToTime = None,
        by: ByWhat = usually,
        zone: Zone = "UTC",
        rollover: Rollover = 0,
        max_gap_s: MaxGap = DEFAULT_GAP_S,
    ) -> Asked:
        borders = _edges(services, from_, to, by, zone)
        return Asked(services, series, borders, by, zone, rollover, max_gap_s * US_PER_S, services.now_us())

    return asked


class MarkItem(Model):
    """A reading of the counter."""

    t: str
    t_us: int
    v: float


class FallItem(Model):
    """The counter went back: it was reset and has counted from 0, or has rolled over."""

    t: str
    t_us: int
    before: float
    after: float
    rolled_over: bool


class GapSpan(Model):
    """A time without readings."""

    from_: str = Field(serialization_alias="from")
    from_us: int
    to: str
    to_us: int


class PeriodItem(Model):
    """What was counted in one period, from which reading to which."""

    from_: str = Field(serialization_alias="from")
    from_us: int
    to: str
    to_us: int
    usage: float | None = Field(description="In the counter's unit; null: it was not read in that time.")
    coverage: float | None = Field(description="Share of the time, up to now, without gaps; null: it is to come.")
    opening: MarkItem | None = Field(
        description="What it is counted from: the last reading before it, if there is one."
    )
    closing: MarkItem | None = Field(description="What it is counted to: its own last reading.")
    readings: int
    falls: list[FallItem] = Field(description="The earliest 100.")
    fall_count: int
    gaps: list[GapSpan] = Field(description="The earliest 100.")
    gap_count: int
    unsure: bool = Field(description="Some readings were dated by a clock that was never set, or not lately.")
    exact: bool = Field(description="False: readings that would say more are no longer kept; it is at least this.")

    @classmethod
    def of(cls, one: core.Usage) -> "PeriodItem":
        """Make the item of a period."""
        return cls(
            from_=iso(one.from_us),
            from_us=one.from_us,
            to=iso(one.to_us),
            to_us=one.to_us,
            usage=None if one.usage is None else float(one.usage),
            coverage=one.coverage,
            opening=_mark(one.opening),
            closing=_mark(one.closing),
            readings=one.readings,
            falls=[
                FallItem(
                    t=iso(fall.t_us), t_us=fall.t_us, before=fall.before, after=fall.after, rolled_over=fall.rolled
                )
                for fall in one.falls
            ],
            fall_count=one.fall_count,
            gaps=[
                GapSpan(from_=iso(from_us), from_us=from_us, to=iso(to_us), to_us=to_us) for from_us, to_us in one.gaps
            ],
            gap_count=one.gap_count,
            unsure=any(one.clocks >> clock & 1 for clock in UNSURE_CLOCKS),
            exact=one.exact,
        )


class UsageOfDevice(Model):
    """What one counter has counted, period by period and in all."""

    device: str
    series: str
    unit: str
    by: By
    zone: str
    total: PeriodItem
    periods: list[PeriodItem]

    @classmethod
    def of(cls, wanted: Asked, conn: Connection, device_id: str, unit: str) -> "UsageOfDevice":
        """Read what the counter of a device has counted."""
        *periods, total = map(PeriodItem.of, wanted.usages(conn, device_id))
        return cls.model_validate({"device": device_id, **wanted.about(unit), "total": total, "periods": periods})


@router.get("/devices/{device_id}/usage", responses=responses(401, 403, 404, 422))
async def get_usage(wanted: Annotated[Asked, Depends(asking(By.DAY))], device_id: DeviceId) -> UsageOfDevice:
    """Tell what a counter has counted, period by period: usage, from which reading to which, and how well covered.

    A step between two readings belongs to the period in which the later one lies, so periods add up. A counter that
    goes back was reset, or has rolled over if `rollover` is given and that makes a step of at most half of it. Without
    `from` it begins 1 day, 30 days, 1 year or 5 years ago, by what is asked for.
    """

    def work(conn: Connection) -> UsageOfDevice:
        device.get(conn, device_id)
        known = latest.get(conn, device_id).get(wanted.series)
        return UsageOfDevice.of(wanted, conn, device_id, known.unit if known else "")

    return await wanted.services.db.read(work)


@router.get(
    "/fleet/usage",
    response_class=StreamingResponse,
    responses={
        **responses(401, 403, 422, 503),
        200: {
            "description": "An object a line for every device that has the counter, as for one device.",
            "content": {NDJSON: {"schema": {"type": "string"}}},
        },
    },
)
async def get_usage_of_all(
    wanted: Annotated[Asked, Depends(asking(By.MONTH))], selector: Select = None
) -> StreamingResponse:
    """Tell what a counter has counted on every device that has it, a line each as `/devices/{id}/usage` answers it."""
    chosen = parsed(selector)

    def lines(conn: Connection) -> Iterator[str]:
        for one in list(across.newest(conn, wanted.series, chosen)):
            yield UsageOfDevice.of(wanted, conn, one.device, one.unit).model_dump_json(by_alias=True) + "\n"

    return StreamingResponse(await chunked(wanted.services, lines), media_type=NDJSON)


def _edges(services: Services, from_: str | None, to: str | None, by: By, zone: str) -> Sequence[int]:
    """Return the borders of the periods that are asked for, µs; raises Invalid."""
    place = ZoneInfo(zone)
    from_us, to_us = span(services, from_, to or str(services.now_us()))
    if from_ is None:
        from_us = max(MIN_TIME_US, period.begin_of(max(MIN_TIME_US, to_us - DEFAULT_SPAN_US[by]), by, place))
    if from_us == to_us:
        raise Invalid("from and to are the same time", hint="Give a span of time.")
    try:
        return period.edges(from_us, to_us, by, place, most=MAX_PERIODS)
    except ValueError as error:
        raise Invalid(f"by {by}: {error}", hint="Ask for longer periods, or for a shorter time.") from error


def _mark(mark: core.Mark | None) -> MarkItem | None:
    return None if mark is None else MarkItem(t=iso(mark.t_us), t_us=mark.t_us, v=mark.v)
