"""Configs: what devices shall do, and whether they do it."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field, StringConstraints

from agent.wire.limits import MAX_CONFIG_BYTES
from agent.wire.topics import DEVICE_ID
from fleet.api import page
from fleet.api.access import Admin, Given, Reader
from fleet.api.page import NO_NUL, Cursor, DeviceFilter, Limit, Model, Page, ShortText
from fleet.api.problem import responses
from fleet.api.times import iso, iso_or_none
from fleet.errors import Invalid
from fleet.store import config
from fleet.store.config import Config, Standing, Target

router = APIRouter(tags=["configs"])

Revision = Annotated[int, Path(ge=1, le=2**63 - 1, examples=[4])]
Product = Annotated[ShortText | None, Query(description="Only of this product.", examples=["freezer"])]


class ConfigItem(Model):
    """One document as it was set; the id is the revision."""

    revision: int
    scope: Target
    target: str
    hash: str
    author: str
    created: str
    created_us: int
    unset: str | None = Field(description="When its device was told to follow its product again.")
    unset_us: int | None


class ConfigWhole(ConfigItem):
    """One document with its text."""

    toml: str
    new: bool = Field(default=True, description="False: the same text was set already, and nothing was changed.")

    @classmethod
    def of(cls, one: Config, *, new: bool = False) -> "ConfigWhole":
        """Make it of a config."""
        return cls(**dict(_item(one)), toml=one.toml, new=new)


class NewConfig(Model):
    """A document to set, for a product or for a device."""

    product: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=NO_NUL)] | None = Field(
        None, examples=["freezer"]
    )
    device: Annotated[str, StringConstraints(pattern=f"^{DEVICE_ID.pattern}$")] | None = Field(None, examples=[None])
    toml: Annotated[str, StringConstraints(max_length=MAX_CONFIG_BYTES)] = Field(
        examples=['[[rule]]\nname = "too-warm"\nseries = "board.temp"\nabove = -5.0\nticket = true\n']
    )


class ConfigState(Model):
    """How the device stands to what is desired of it; revision 0 is none (desired) or its own seed (applied)."""

    desired: int
    applied: int
    handled: int
    outcome: str
    reason: str
    state: config.Agreement

    @classmethod
    def of(cls, one: Standing) -> "ConfigState":
        """Make it of a standing."""
        return cls(
            desired=one.desired,
            applied=one.applied,
            handled=one.handled,
            outcome=one.outcome,
            reason=one.reason,
            state=one.state,
        )


class StandingItem(ConfigState):
    """How one device stands to what is desired of it, and since when."""

    device: str
    product: str
    reported: str | None
    reported_us: int | None

    @classmethod
    def of(cls, one: Standing) -> "StandingItem":
        """Make it of a standing."""
        return cls(
            **dict(ConfigState.of(one)),
            device=one.device_id,
            product=one.product_id,
            reported=iso_or_none(one.reported_us),
            reported_us=one.reported_us,
        )


class ConfigDiff(Model):
    """What differs between what a device runs and what it shall run, as a unified diff; "" if nothing does."""

    device: str
    desired: int
    applied: int
    diff: str


@router.get("/configs", responses=responses(401, 403, 422))
async def list_configs(
    services: Given,
    _caller: Reader,
    *,
    product: Product = None,
    device_id: Annotated[DeviceFilter, Query(alias="device")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[ConfigItem]:
    """List documents as they were set, newest first."""
    before = page.decode_number(cursor)
    scope, target = _target(product, device_id)
    found = await services.db.read(
        lambda conn: config.rows(conn, scope=scope, target=target, before=before, limit=limit)
    )
    return page.page_of([_item(one) for one in found], limit, found[-1].revision if found else None)


@router.post(
    "/configs",
    status_code=201,
    responses={**responses(401, 403, 404, 422), 200: {"model": ConfigWhole, "description": "It was set already."}},
)
async def set_config(services: Given, caller: Admin, new: NewConfig, response: Response) -> ConfigWhole:
    """Set the document of a product or of a device; devices fetch and apply it, or refuse it and say why.

    The text that is set already is not set again: the answer is 200 with the revision that there is. If a device has
    refused it or rolled it back, it is set anew and tried once more.
    """
    scope, target = _target(new.product, new.device)
    if scope is None or target is None:
        raise Invalid("a config is for a product or for a device", hint="Give `product` or `device`, and not both.")
    now_us = services.now_us()
    made, is_new = await services.db.write(
        lambda conn: config.set_document(conn, scope, target, new.toml, now_us=now_us, by=caller.actor)
    )
    response.status_code = 201 if is_new else 200
    return ConfigWhole.of(made, new=is_new)


@router.get("/configs/status", responses=responses(401, 403, 404, 422))
async def list_standings(
    services: Given,
    _caller: Reader,
    *,
    product: Product = None,
    device_id: Annotated[DeviceFilter, Query(alias="device")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[StandingItem]:
    """List who has applied its config, who tries it, who has not yet, and who did not keep it and why."""
    if device_id is not None:
        one = await services.db.read(lambda conn: config.standing(conn, device_id))
        matches = product in (None, one.product_id)
        return Page(items=[StandingItem.of(one)] if matches else [])
    after = page.decode_cursor(cursor) or ""
    found = await services.db.read(lambda conn: config.standings(conn, product_id=product, after=after, limit=limit))
    return page.page_of([StandingItem.of(one) for one in found], limit, found[-1].device_id if found else None)


@router.get("/configs/diff", responses=responses(401, 403, 404, 422))
async def diff_config(
    services: Given,
    _caller: Reader,
    device_id: Annotated[str, Query(alias="device", pattern=f"^{DEVICE_ID.pattern}$", examples=["freezer-7k3m2q"])],
) -> ConfigDiff:
    """Show what differs between what a device runs and what it shall run."""
    standing, text = await services.db.read(lambda conn: config.diff(conn, device_id))
    return ConfigDiff(device=device_id, desired=standing.desired, applied=standing.applied, diff=text)


@router.get("/configs/{revision}", responses=responses(401, 403, 404, 422))
async def get_config(services: Given, _caller: Reader, revision: Revision) -> ConfigWhole:
    """Show one document."""
    return ConfigWhole.of(await services.db.read(lambda conn: config.find(conn, revision)))


def _target(product: str | None, device_id: str | None) -> tuple[Target | None, str | None]:
    if product and device_id:
        raise Invalid("a config is for a product or for a device", hint="Give `product` or `device`, and not both.")
    if device_id:
        return Target.DEVICE, device_id
    return (Target.PRODUCT, product) if product else (None, None)


def _item(one: Config) -> ConfigItem:
    return ConfigItem(
        revision=one.revision,
        scope=one.scope,
        target=one.target,
        hash=one.hash,
        author=one.author,
        created=iso(one.created_us),
        created_us=one.created_us,
        unset=iso_or_none(one.unset_us),
        unset_us=one.unset_us,
    )
