"""Export: telemetry line by line, exact, of one device or of the whole fleet.

    POST /export            what there is to take out: the devices, and the span with both ends fixed; told as an event
    GET  /export/gaps       their gaps
    GET  /export/readings   their readings, a bounded part of them; `end` names the place from which to ask for the rest

What each line holds: docs/reference/export.md.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import Field, StringConstraints
from sqlalchemy import Connection

from agent.wire.limits import MAX_DEVICE_CHARS, MAX_NAME_CHARS
from agent.wire.topics import DEVICE_ID
from fleet.api.access import Given, Reader
from fleet.api.across import parsed
from fleet.api.page import NO_NUL, DeviceFilter, FromTime, Model, SeriesName, TimeText, ToTime
from fleet.api.problem import responses
from fleet.api.reading import NDJSON, span
from fleet.api.times import iso
from fleet.core import selector as core
from fleet.core.event import Event
from fleet.core.line import Damage, Place, Readings
from fleet.core.names import MAX_NAMES, Names
from fleet.errors import Invalid
from fleet.services import Services
from fleet.store import event, export
from fleet.store.export import MAX_DEVICES, Source, Sum, Wanted

router = APIRouter(tags=["export"])

PIECE_BYTES = 256 * 1024  # handed on at once, about
MAX_TEXT_CHARS = 300  # of a selector, in the sentence of the event

_encoder = msgspec.json.Encoder()

_LINES = {
    **responses(401, 403, 422, 503),
    200: {
        "description": "An object a line; `end` is the last.",
        "content": {NDJSON: {"schema": {"type": "string"}}},
    },
}

Devices = Annotated[
    Annotated[str, StringConstraints(min_length=1, max_length=MAX_DEVICES * (MAX_DEVICE_CHARS + 1), pattern=NO_NUL)],
    Query(description=f"Devices, separated by commas; at most {MAX_DEVICES}.", examples=["freezer-7k3m2q"]),
]
SeriesNames = Annotated[
    Annotated[str, StringConstraints(max_length=MAX_NAMES * (MAX_NAME_CHARS + 1), pattern=NO_NUL)] | None,
    Query(
        description="Series, separated by commas, `*` for any characters; all of them if not said.",
        examples=["board.temp,meter.*"],
    ),
]


class NewExport(Model):
    """What is to be taken out."""

    selector: Annotated[str, StringConstraints(max_length=core.MAX_CHARS, pattern=NO_NUL)] = Field(
        "", description="Which devices; all if empty.", examples=["product:freezer"]
    )
    series: list[SeriesName] = Field(
        default=[], max_length=MAX_NAMES, description="All if empty.", examples=[["board.temp", "meter.*"]]
    )
    from_: TimeText | None = Field(None, alias="from", examples=["-7d"], description="All that is kept if null.")
    to: TimeText | None = Field(None, examples=["now"], description="Up to now if null.")


class SourceItem(Model):
    """One device that may hold something of that time."""

    device: str
    product: str
    serial: str
    site: str


class ExportPlan(Model):
    """What there is to take out: ask for it device by device, or up to 100 at a time."""

    from_us: int
    to_us: int
    devices: list[SourceItem] = Field(description="By product, then by id.")


@router.post("/export", response_model=ExportPlan, responses=responses(401, 403, 422, 503))
async def begin_export(services: Given, caller: Reader, new: NewExport) -> Response:
    """Say what there is to take out, and note in an event who takes it. Nothing else is begun: asking is all there is.

    The end of the span is fixed here, so that what is asked for in many parts is of one span.
    """
    chosen = parsed(new.selector)
    now_us = services.now_us()
    from_us, to_us = span(services, new.from_, new.to or str(now_us))

    def work(conn: Connection) -> list[Source]:
        found = export.sources(conn, chosen, from_us, to_us)
        only = found[0].device if len(found) == 1 else None
        which = only or f"{len(found)} devices ({new.selector[:MAX_TEXT_CHARS] or 'the whole fleet'})"
        text = f"{caller.actor.id.removeprefix('user:')} takes out the readings of {which} before {iso(to_us)}."
        data = {"selector": new.selector, "series": new.series, "from_us": from_us, "to_us": to_us}
        about = ("export", only or "fleet", caller.actor.id, caller.actor.origin, text, only)
        event.append(conn, Event(now_us, now_us, "export.begun", *about, data | {"devices": len(found)}))
        return found

    found = await services.db.write(work)
    plan = {"from_us": from_us, "to_us": to_us, "devices": found}
    return Response(msgspec.json.encode(plan), media_type="application/json")


@router.get("/export/gaps", response_class=StreamingResponse, responses=_LINES)
async def export_gaps(
    services: Given, _caller: Reader, *, devices: Devices, from_: FromTime = None, to: ToTime = None
) -> StreamingResponse:
    """Say the gaps of some devices, a line each: readings and events that existed and will not come."""
    ids = _ids(devices)
    from_us, to_us = span(services, from_, to)

    def lines(conn: Connection) -> Iterator[bytes]:
        count = 0
        for one in export.gaps(conn, ids, from_us, to_us):
            count += 1
            yield _said("gap", one)
        yield _said("end", {"gaps": count})

    return StreamingResponse(await streamed(services, lines), media_type=NDJSON)


@router.get("/export/readings", response_class=StreamingResponse, responses=_LINES)
async def export_readings(  # noqa: PLR0913 - one argument a filter
    services: Given,
    _caller: Reader,
    *,
    devices: Devices,
    series: SeriesNames = None,
    from_: FromTime = None,
    to: ToTime = None,
    after: DeviceFilter = None,
) -> StreamingResponse:
    """Say readings of some devices in columns: by day, then by device in the order asked for, by series, by time.

    An answer is of one snapshot and bounded. It is whole if its last line is `end`; where that has a `next_us`,
    there is more: ask again with it as `from`, and with its `after`. What an answer said is not said by the next one.
    """
    ids = _ids(devices)
    if after is not None and after not in ids:
        raise Invalid(f"after: {after} is none of the devices asked for", hint="Ask as the `end` line has it.")
    names = [one for one in (series or "").split(",") if one]
    if len(names) > MAX_NAMES:
        raise Invalid(f"series: {len(names)} are named, at most {MAX_NAMES}", hint="Use `*`, or leave it out.")
    from_us, to_us = span(services, from_, to)
    wanted = Wanted(ids, Names(names), from_us, to_us, after)
    return StreamingResponse(
        await streamed(services, lambda conn: _lines(export.readings(conn, wanted))), media_type=NDJSON
    )


def _lines(answer: Iterator[Readings | Damage | Sum]) -> Iterator[bytes]:
    place: Place | None = None
    for one in answer:
        if isinstance(one, Sum):
            place = one.place
            sums = {"readings": one.tally.count, "checksum": f"{one.tally.checksum:016x}"}
            yield _said("sum", _place(place) | sums)
        else:
            yield _said("readings" if isinstance(one, Readings) else "damage", one)
    yield _said("end", _place(place))


def _place(place: Place | None) -> dict[str, object]:
    return {"next_us": place and place.t_us, "after": place and place.after}


def _said(kind: str, line: object) -> bytes:
    """Return one line: an object whose first key is its kind."""
    return b'{"kind":"%s",%s\n' % (kind.encode(), _encoder.encode(line)[1:])


def _ids(said: str) -> list[str]:
    """Return the ids of devices in the order said, each once; raises Invalid."""
    ids = list(dict.fromkeys(one for one in said.split(",") if one))
    for one in ids:
        if DEVICE_ID.fullmatch(one) is None:
            raise Invalid(f"devices: {one[:MAX_DEVICE_CHARS]!r} is no device's id", hint="Separate ids by commas.")
    if not 0 < len(ids) <= MAX_DEVICES:
        raise Invalid(f"devices: {len(ids)} are named, 1 to {MAX_DEVICES} may be", hint="Ask again for the others.")
    return ids


async def streamed(services: Services, lines: Callable[[Connection], Iterator[bytes]]) -> AsyncIterator[bytes]:
    """Return the lines as they are read, in pieces of bounded size; an overload is told (Busy) before the first."""
    pieces = _pieces(services, lines)
    first = await anext(pieces, b"")

    async def all_of_them() -> AsyncIterator[bytes]:
        async with aclosing(pieces):
            yield first
            async for piece in pieces:
                yield piece

    return all_of_them()


async def _pieces(services: Services, lines: Callable[[Connection], Iterator[bytes]]) -> AsyncGenerator[bytes, None]:
    async with aclosing(services.db.stream(lambda conn: _joined(lines(conn)), rows=1)) as pieces:
        async for (piece,) in pieces:
            yield piece


def _joined(lines: Iterator[bytes]) -> Iterator[bytes]:
    held: list[bytes] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= PIECE_BYTES:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)
