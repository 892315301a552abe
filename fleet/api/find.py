"""Find: one look-up by whatever is at hand."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field, StringConstraints

from fleet.api.access import Given, Reader
from fleet.api.page import NO_NUL, Model
from fleet.api.problem import responses
from fleet.store import find
from fleet.store.find import Hit, Kind

router = APIRouter(tags=["find"])


class HitItem(Model):
    """One thing that was found; `id` is what its own routes take."""

    noun: Kind
    id: str
    label: str = Field(description="As people say it: T-12.")
    text: str
    rank: int = Field(description="0: exactly this; 1: begins so; 2: holds it.")


class Hits(Model):
    """What was found, the likeliest first."""

    items: list[HitItem]


@router.get("/find", responses=responses(401, 403, 422))
async def find_anything(
    services: Given,
    _caller: Reader,
    q: Annotated[
        Annotated[str, StringConstraints(max_length=find.MAX_QUERY_CHARS, pattern=NO_NUL)],
        Query(
            description="A serial, device id, T-12, customer, site, product, or a part of one.", examples=["FZ-0042"]
        ),
    ],
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> Hits:
    """Find devices, tickets, alarms, customers, products, sites and configs."""
    found = await services.db.read(lambda conn: find.find(conn, q, limit=limit))
    return Hits(items=[_item(hit) for hit in found])


def _item(hit: Hit) -> HitItem:
    return HitItem(noun=hit.kind, id=hit.id, label=hit.label, text=hit.detail, rank=hit.rank)
