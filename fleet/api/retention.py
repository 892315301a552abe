"""Retention: how long telemetry is kept, and what of it is too old."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field, StringConstraints

from fleet.api.access import Admin, Given, Reader
from fleet.api.page import NO_NUL, Model
from fleet.api.problem import responses
from fleet.api.times import iso_or_none
from fleet.core.retention import MAX_DAYS, Kept, Policy
from fleet.store import retention
from fleet.store.retention import FLEET_WIDE, Setting

router = APIRouter(tags=["retention"])

RUN_S = 5.0  # that one request lets go of telemetry

ProductName = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=NO_NUL)]


class RetentionItem(Model):
    """How long one thing is kept of the devices of one product."""

    product: str | None = Field(description="Null: of products that have none of their own.")
    kept: Kept
    days: int = Field(description="Days of event time.")
    own: bool = Field(description="False: it follows what holds for the fleet, or the default.")
    author: str | None
    set: str | None
    set_us: int | None


class RetentionList(Model):
    """What holds for the fleet, and for each product."""

    items: list[RetentionItem]


class NewRetention(Model):
    """How many days to keep what; what is left out stays as it is, null goes back to what holds for the fleet."""

    product: ProductName | None = Field(None, examples=["freezer"], description="Null: products without one.")
    days: dict[Kept, Annotated[int, Field(ge=1, le=MAX_DAYS)] | None] = Field(
        min_length=1, examples=[{"readings": 180, "15min": 1095}]
    )


class RetentionRun(Model):
    """Whether to let go of what is too old, or only to say what that is."""

    dry_run: bool = True


class GoneItem(Model):
    """What of one thing is too old, or was and is gone now."""

    product: str | None = Field(description="Null: of all products.")
    kept: Kept
    before: str | None = Field(description="What begins before this event time.")
    before_us: int | None
    devices: int
    readings: int
    rows: int = Field(description="Chunks, or rows of windows.")
    size_bytes: int


class RetentionOutcome(Model):
    """What a run did, or would do."""

    dry_run: bool
    items: list[GoneItem]
    more: bool = Field(description="There is more to let go of: run it again. The fleet does so by itself.")


@router.get("/retention", responses=responses(401, 403))
async def list_retention(services: Given, _caller: Reader) -> RetentionList:
    """List how long telemetry is kept, for the fleet and for each product."""
    said, held = await services.db.read(lambda conn: (retention.settings(conn), retention.policies(conn)))
    return RetentionList(items=[item for name, policy in held.items() for item in _items(name, policy, said)])


@router.post("/retention", responses=responses(401, 403, 404, 422))
async def set_retention(services: Given, caller: Admin, new: NewRetention) -> RetentionList:
    """Set how long telemetry is kept, for a product or fleet-wide; the answer is what holds then.

    Keeping less lets go of what is older at the next turn, for good. Keeping more brings nothing back.
    """
    name = new.product or FLEET_WIDE
    now_us = services.now_us()
    held = await services.db.write(lambda conn: retention.put(conn, name, new.days, now_us=now_us, by=caller.actor))
    said = await services.db.read(retention.settings)
    return RetentionList(items=_items(name, held, said))


@router.post("/retention/run", responses=responses(401, 403, 422, 503))
async def run_retention(services: Given, _caller: Admin, run: RetentionRun) -> RetentionOutcome:
    """Let go of what is too old now, for some seconds, or say what that is and touch nothing (`dry_run`)."""
    now_us = services.now_us()
    if run.dry_run:
        would = await services.db.read(lambda conn: list(retention.would_go(conn, now_us=now_us)))
        items = [_gone(product, kept, before_us, one) for product, kept, before_us, one in would]
        return RetentionOutcome(dry_run=True, items=items, more=False)
    gone, more = await retention.drop_some(services.db, now_us, most_s=RUN_S)
    return RetentionOutcome(
        dry_run=False, items=[_gone(None, kept, None, one) for kept, one in gone.items()], more=more
    )


def _items(name: str, policy: Policy, said: list[Setting]) -> list[RetentionItem]:
    own = {one.kept: one for one in said if one.product_id == name}
    return [
        RetentionItem(
            product=name or None,
            kept=kept,
            days=policy.of(kept),
            own=kept in own,
            author=own[kept].author if kept in own else None,
            set=iso_or_none(own[kept].set_us if kept in own else None),
            set_us=own[kept].set_us if kept in own else None,
        )
        for kept in Kept
    ]


def _gone(product: str | None, kept: Kept, before_us: int | None, one: retention.Dropped) -> GoneItem:
    return GoneItem(
        product=product,
        kept=kept,
        before=iso_or_none(before_us),
        before_us=before_us,
        devices=one.devices,
        readings=one.readings,
        rows=one.rows,
        size_bytes=one.size_bytes,
    )
