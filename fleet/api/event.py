"""Events: all that happened, the one history that timeline, audit and stream read."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from fleet.api import page
from fleet.api.access import Given, Reader
from fleet.api.page import Cursor, DeviceFilter, DeviceId, FromTime, Limit, Model, Page, ToTime
from fleet.api.problem import responses
from fleet.api.times import iso, parse_time
from fleet.core.event import Event
from fleet.errors import Invalid
from fleet.services import Services
from fleet.store import device, event

router = APIRouter(tags=["events"])

MAX_AFTER = 2**63 - 1

After = Annotated[int, Query(ge=0, le=MAX_AFTER, description="Only events written after the one of this id.")]
Kinds = Annotated[
    str | None,
    Query(
        max_length=512,
        pattern=r"^[a-z0-9_.,]*$",
        description="Whole kinds, or a noun with a dot at its end for all of it; several joined by commas.",
        examples=["alarm.,ticket.opened"],
    ),
]
Order = Annotated[
    Literal["oldest", "newest"], Query(description="Which come first; `newest` goes back from the newest there is.")
]
Noun = Annotated[str | None, Query(max_length=32, pattern=r"^[a-z_]*$", examples=["ticket"])]


class EventItem(Model):
    """One thing that happened."""

    id: int
    t: str
    t_us: int
    received: str
    received_us: int
    kind: str
    device: str | None
    noun: str
    noun_id: str
    actor: str
    origin: str
    text: str
    data: dict[str, Any]  # by kind

    @classmethod
    def of(cls, one: Event) -> "EventItem":
        """Make the item of an event."""
        return cls(
            id=one.id,
            t=iso(one.t_us),
            t_us=one.t_us,
            received=iso(one.received_us),
            received_us=one.received_us,
            kind=one.kind,
            device=one.device_id,
            noun=one.noun,
            noun_id=one.noun_id,
            actor=one.actor,
            origin=one.origin.value,
            text=one.text,
            data=dict(one.data),
        )


def kinds_of(kind: str | None) -> tuple[str, ...]:
    """Return the kinds that a filter names."""
    return tuple(part for part in (kind or "").split(",") if part)


@router.get("/events", responses=responses(401, 403, 422))
async def list_events(  # noqa: PLR0913 - one argument a filter
    services: Given,
    _caller: Reader,
    *,
    after: After = 0,
    kind: Kinds = None,
    device_id: Annotated[DeviceFilter, Query(alias="device")] = None,
    noun: Noun = None,
    from_: FromTime = None,
    to: ToTime = None,
    order: Order = "oldest",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[EventItem]:
    """List events in the order in which they were written, from `after` on; or the newest first."""
    wanted = {"device_id": device_id, "kinds": kinds_of(kind), "noun": noun or None, **_place(order, after, cursor)}
    return await _page(services, wanted, (from_, to), limit)


@router.get("/devices/{device_id}/events", responses=responses(401, 403, 404, 422))
async def list_device_events(  # noqa: PLR0913 - one argument a filter
    services: Given,
    _caller: Reader,
    *,
    device_id: DeviceId,
    after: After = 0,
    kind: Kinds = None,
    from_: FromTime = None,
    to: ToTime = None,
    order: Order = "oldest",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[EventItem]:
    """List what happened to one device, in the order in which it was written; or the newest first."""
    await services.db.read(lambda conn: device.get(conn, device_id))
    wanted = {"device_id": device_id, "kinds": kinds_of(kind), **_place(order, after, cursor)}
    return await _page(services, wanted, (from_, to), limit)


def _place(order: str, after: int, cursor: str | None) -> dict[str, int | None]:
    begin = page.decode_number(cursor)
    if order == "newest":
        if after:
            raise Invalid("`after` goes forward, `order=newest` goes back", hint="Leave one of them out.")
        return {"before": begin}
    return {"after": after if begin is None else begin}


async def _page(
    services: Services, wanted: dict[str, Any], times: tuple[str | None, str | None], limit: int
) -> Page[EventItem]:
    now_us = services.now_us()
    span: dict[str, Any] = {
        f"{name}_us": parse_time(said, now_us=now_us, name=name)
        for name, said in zip(("from", "to"), times, strict=True)
        if said is not None
    }
    found = await services.db.read(lambda conn: event.page(conn, limit=limit, **wanted, **span))
    return page.page_of([EventItem.of(one) for one in found], limit, found[-1].id if found else None)
