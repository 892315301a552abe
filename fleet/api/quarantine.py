"""Quarantine: what devices sent that could not be read, bytes and all."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from fleet.api import page
from fleet.api.access import Admin, Given, Reader
from fleet.api.page import Cursor, DeviceFilter, Limit, Model, Page
from fleet.api.problem import responses
from fleet.api.times import iso
from fleet.store import quarantine

router = APIRouter(tags=["quarantine"])

QuarantineId = Annotated[int, Path(ge=1, le=2**63 - 1, examples=[3])]


class QuarantineItem(Model):
    """One batch that could not be read."""

    id: int
    device: str
    received: str
    received_us: int
    road: str
    place: str
    problem: str
    batch: str
    size_bytes: int = Field(description="Of the bytes that are kept; 0: they were let go, or discarded.")


@router.get("/quarantine", responses=responses(401, 403, 422))
async def list_quarantine(
    services: Given,
    _caller: Reader,
    device_id: Annotated[DeviceFilter, Query(alias="device")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[QuarantineItem]:
    """List batches that could not be read, newest first."""
    before = page.decode_number(cursor)
    found = await services.db.read(lambda conn: quarantine.page(conn, device_id=device_id, before=before, limit=limit))
    return page.page_of([_item(one) for one in found], limit, found[-1].id if found else None)


@router.get("/quarantine/{quarantine_id}", responses=responses(401, 403, 404, 422))
async def get_quarantined(services: Given, _caller: Reader, quarantine_id: QuarantineId) -> QuarantineItem:
    """Show one batch: what of it could not be read, and where."""
    return _item(await services.db.read(lambda conn: quarantine.find(conn, quarantine_id)))


@router.post("/quarantine/{quarantine_id}/discard", responses=responses(401, 403, 404, 422))
async def discard_quarantined(services: Given, caller: Admin, quarantine_id: QuarantineId) -> QuarantineItem:
    """Drop the bytes of one batch for good; what it was, when and why it could not be read is kept."""
    now_us = services.now_us()
    done = await services.db.write(lambda conn: quarantine.discard(conn, quarantine_id, now_us=now_us, by=caller.actor))
    return _item(done)


class ReplayedItem(QuarantineItem):
    """One batch that was taken out of quarantine."""

    rows: int = Field(description="Of it that were missing, and are stored now.")
    readings: int


@router.post("/quarantine/{quarantine_id}/replay", responses=responses(401, 403, 404, 409, 422))
async def replay_quarantined(services: Given, caller: Admin, quarantine_id: QuarantineId) -> ReplayedItem:
    """Read one batch again and store what of it is missing, once; its gap ends. Refused if it still cannot be read."""
    one, rows, readings = await services.replay(quarantine_id, caller.actor)
    return ReplayedItem(**_item(one).model_dump(), rows=rows, readings=readings)


@router.get(
    "/quarantine/{quarantine_id}/body",
    response_class=Response,
    responses={
        **responses(401, 403, 404, 422),
        200: {"description": "The bytes as they came.", "content": {"application/octet-stream": {}}},
    },
)
async def get_quarantine_body(services: Given, _caller: Admin, quarantine_id: QuarantineId) -> Response:
    """Download the bytes of one batch, as they came; empty if they were let go since, or discarded."""
    body = await services.db.read(lambda conn: quarantine.body(conn, quarantine_id))
    return Response(body, media_type="application/octet-stream", headers={"X-Content-Type-Options": "nosniff"})


def _item(one: quarantine.Quarantined) -> QuarantineItem:
    return QuarantineItem(
        id=one.id,
        device=one.device_id,
        received=iso(one.received_us),
        received_us=one.received_us,
        road=one.road,
        place=one.place,
        problem=one.problem,
        batch=one.batch,
        size_bytes=one.size_bytes,
    )
