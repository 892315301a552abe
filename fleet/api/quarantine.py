"""Quarantine: what devices sent that could not be read, bytes and all."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from fleet.api import page
from fleet.api.access import Admin, Given, Reader
from fleet.api.page import Cursor, DeviceFilter, Limit, Model, Page
from fleet.api.problem import responses
from fleet.api.times import iso
from fleet.store import quarantine

router = APIRouter(tags=["quarantine"])


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
    size_bytes: int


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


@router.get(
    "/quarantine/{quarantine_id}/body",
    response_class=Response,
    responses={
        **responses(401, 403, 404, 422),
        200: {"description": "The bytes as they came.", "content": {"application/octet-stream": {}}},
    },
)
async def get_quarantine_body(
    services: Given, _caller: Admin, quarantine_id: Annotated[int, Path(ge=1, le=2**63 - 1)]
) -> Response:
    """Download the bytes of one batch, as they came; empty if they were let go since."""
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
