"""Readings: what a series measured, as a stream of all of it, as pages, or as points for a chart."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import Field, StringConstraints
from sqlalchemy import Connection

from agent.wire.limits import MAX_NAME_CHARS, MAX_TIME_US, MIN_TIME_US
from agent.wire.messages import Value
from fleet.api.access import Given, Reader
from fleet.api.page import (
    MAX_LIMIT,
    NO_NUL,
    Cursor,
    DeviceId,
    FromTime,
    Model,
    Page,
    SeriesName,
    ToTime,
    decode_cursor,
    encode_cursor,
)
from fleet.api.problem import responses
from fleet.api.times import iso, parse_time
from fleet.core.rollup import DAY_S, QUARTER_S
from fleet.errors import Invalid
from fleet.services import Services
from fleet.store import chart, device, query
from fleet.store.chart import Points
from fleet.store.query import Reading

router = APIRouter(tags=["readings"])

NDJSON = "application/x-ndjson"
DEFAULT_POINTS = 600
MAX_NAMES = 20  # series drawn at once
MAX_NAMES_CHARS = MAX_NAMES * (MAX_NAME_CHARS + 1)
MAX_POINTS = 5000
MAX_STREAM_LIMIT = 2**63 - 1
DEFAULT_CHART_US = 3600 * 1_000_000


Resolution = Literal["readings", "15min", "1day"]
MADE_OF: dict[int, Resolution] = {0: "readings", QUARTER_S: "15min", DAY_S: "1day"}


class ReadingItem(Model):
    """One reading; `v` is null where the sensor answered and had no valid value."""

    t_us: int
    t: str
    v: Value


class ChartSeries(Model):
    """One series: readings (`v`), or the least and greatest of each bucket (`min`, `max`), by its start."""

    name: str
    unit: str
    bucket_s: float = Field(description="Seconds; 0: the points are single readings.")
    made_of: Resolution = Field(description="What the points were made of.")
    t: list[float] = Field(description="Seconds since 1970.")
    t_us: list[int]
    v: list[Value] | None
    min: list[float] | None
    max: list[float] | None
    unsure: list[list[float]] = Field(
        description="From, to (seconds since 1970): the device's clock was not set, or not lately, when it dated these."
    )
    silences: list[list[float]] = Field(
        description="From, to (seconds since 1970): nothing for over 10 times the usual distance; draw no line over it."
    )


class Chart(Model):
    """Series of one device over the same time, and what is missing of it."""

    device: str
    from_us: int
    to_us: int
    series: list[ChartSeries]
    gaps: list[list[float | str]] = Field(
        description="From, to (seconds since 1970), and why: readings that existed and will not come."
    )


@router.get(
    "/devices/{device_id}/readings",
    response_model=Page[ReadingItem],
    responses={
        **responses(401, 403, 404, 422, 503),
        200: {
            "description": "A page; or, with `Accept: application/x-ndjson`, all of them, one object a line.",
            "content": {NDJSON: {"schema": {"type": "string"}}},
        },
    },
)
async def list_readings(  # noqa: PLR0913 - one argument a filter
    request: Request,
    services: Given,
    _caller: Reader,
    *,
    device_id: DeviceId,
    series: Annotated[SeriesName, Query(examples=["board.temp"])],
    from_: FromTime = None,
    to: ToTime = None,
    limit: Annotated[
        int | None,
        Query(
            ge=1, le=MAX_STREAM_LIMIT, description="A page holds at most 1000, 100 if not said; NDJSON has no limit."
        ),
    ] = None,
    cursor: Cursor = None,
) -> Response:
    """List readings of one series in order of event time.

    A page by default. With `Accept: application/x-ndjson` a stream of all of them, which ends when they end; memory
    stays bounded however many there are.
    """
    from_us, to_us = span(services, from_, to)
    await services.db.read(lambda conn: device.get(conn, device_id))
    after = _cursor(cursor)
    if NDJSON in request.headers.get("accept", ""):

        def lines(conn: Connection) -> Iterator[str]:
            return map(_line, query.readings(conn, device_id, series, from_us, to_us, after=after, limit=limit))

        return StreamingResponse(await chunked(services, lines), media_type=NDJSON)
    size = min(limit or 100, MAX_LIMIT)
    found = await services.db.read(
        lambda conn: list(query.readings(conn, device_id, series, from_us, to_us, after=after, limit=size))
    )
    following = query.cursor_after(found, after) if len(found) == size else None
    items = [{"t_us": t_us, "t": iso(t_us), "v": value} for t_us, value in found]
    return JSONResponse({"items": items, "next": encode_cursor(str(following)) if following else None})


@router.get("/devices/{device_id}/series", responses=responses(401, 403, 404, 422))
async def get_series(  # noqa: PLR0913 - one argument a filter
    services: Given,
    _caller: Reader,
    *,
    device_id: DeviceId,
    names: Annotated[
        Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAMES_CHARS, pattern=NO_NUL)],
        Query(description=f"Series, separated by commas; at most {MAX_NAMES}.", examples=["board.temp,board.hum"]),
    ],
    from_: FromTime = None,
    to: ToTime = None,
    points: Annotated[int, Query(ge=2, le=MAX_POINTS, description="Points a series, at most.")] = DEFAULT_POINTS,
) -> Chart:
    """Give series for a chart: the last hour if not said otherwise. No peak is lost, nothing is interpolated.

    Each is made of what is coarse enough to be quick and fine enough to be right, and says of what (`made_of`).
    """
    from_us, to_us = span(services, from_, to or str(services.now_us()))
    if from_ is None:
        from_us = max(MIN_TIME_US, to_us - DEFAULT_CHART_US)
    wanted = list(dict.fromkeys(name for name in names.split(",") if name))
    if not 0 < len(wanted) <= MAX_NAMES or any(len(name) > MAX_NAME_CHARS for name in wanted):
        raise Invalid(f"names: 1 to {MAX_NAMES} series are drawn at once", hint="Say names=board.temp,board.hum.")

    def work(conn: Connection) -> Chart:
        device.get(conn, device_id)
        units = {one.name: one.unit for one in query.series_of(conn, device_id)}
        found = [
            _series(name, units.get(name, ""), chart.points(conn, device_id, name, from_us, to_us, points=points))
            for name in wanted
        ]
        gaps = query.gaps(conn, device_id, from_us, to_us)
        spans: list[list[float | str]] = [[gap.from_us / 1e6, gap.to_us / 1e6, gap.reason] for gap in gaps]
        return Chart(device=device_id, from_us=from_us, to_us=to_us, series=found, gaps=spans)

    return await services.db.read(work)


def _series(name: str, unit: str, found: Points) -> ChartSeries:
    return ChartSeries(
        name=name,
        unit=unit,
        bucket_s=found.bucket_us / 1e6,
        made_of=MADE_OF[found.step_s],
        t=[t_us / 1e6 for t_us in found.t_us],
        t_us=found.t_us,
        v=None if found.bucket_us else found.v,
        min=found.low if found.bucket_us else None,
        max=found.high if found.bucket_us else None,
        unsure=[[start / 1e6, end / 1e6] for start, end in found.unsure],
        silences=[[start / 1e6, end / 1e6] for start, end in found.silences()],
    )


def span(services: Services, from_: str | None, to: str | None) -> tuple[int, int]:
    """Return the times that a request names, µs; all of time where it names none. Raises Invalid."""
    now_us = services.now_us()
    from_us = MIN_TIME_US if from_ is None else parse_time(from_, now_us=now_us, name="from")
    to_us = MAX_TIME_US if to is None else parse_time(to, now_us=now_us, name="to")
    if from_us > to_us:
        raise Invalid("from lies after to", hint="Swap them.")
    return from_us, to_us


def _cursor(cursor: str | None) -> query.Cursor | None:
    key = decode_cursor(cursor)
    if key is None:
        return None
    try:
        return query.Cursor.parse(key)
    except ValueError as error:
        raise Invalid("the cursor is none of this server's", hint="Take `next` of the page before.") from error


def _line(reading: Reading) -> str:
    t_us, value = reading
    text = json.dumps(value, ensure_ascii=False)
    return f'{{"t_us":{t_us},"t":"{iso(t_us)}","v":{text}}}\n'


async def chunked(services: Services, lines: Callable[[Connection], Iterator[str]]) -> AsyncIterator[str]:
    """Return the lines as they are read, many at a time; an overload is told (Busy) before the first."""
    return await _begun(_chunks(services, lines))


async def _chunks(services: Services, lines: Callable[[Connection], Iterator[str]]) -> AsyncGenerator[str, None]:
    """Yield lines, many at a time; a client that goes away closes this and gives the connection back."""
    async with aclosing(services.db.stream(lines)) as chunks:
        async for chunk in chunks:
            yield "".join(chunk)


async def _begun(chunks: AsyncGenerator[str, None]) -> AsyncIterator[str]:
    """Fetch the first chunk before the answer begins, so that an overload is still answered as one (503)."""
    first = await anext(chunks, "")

    async def all_of_them() -> AsyncIterator[str]:
        async with aclosing(chunks):
            yield first
            async for chunk in chunks:
                yield chunk

    return all_of_them()
