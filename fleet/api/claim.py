"""Claims: the right to join the fleet once, as one device."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field, StringConstraints

from fleet.api import page
from fleet.api.access import Admin, Given, Reader
from fleet.api.page import NO_NUL, Cursor, DeviceFilter, Limit, Model, Page, ShortText
from fleet.api.problem import responses
from fleet.api.times import iso, iso_or_none
from fleet.services import ClaimRequest, IssuedClaim
from fleet.store import claim

router = APIRouter(tags=["claims"])

DEFAULT_EXPIRES_S = 7 * 86_400
MAX_CLAIMS = 500  # made by one call, in one transaction that others wait for

OF_CUSTOMER = "Id of whose the device is from now on."

_Name = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=NO_NUL)]
_Expires = Annotated[int, Field(ge=claim.MIN_EXPIRES_S, le=claim.MAX_EXPIRES_S)] | None


class NewClaim(Model):
    """What is known of a machine before it joins."""

    product: _Name = Field(examples=["freezer"])
    device: _Name | None = Field(None, description="The id that it shall have; otherwise PRODUCT-xxxxxx.")
    serial: Annotated[str, StringConstraints(max_length=128, pattern=NO_NUL)] | None = Field(None, examples=["FZ-0042"])
    site: ShortText | None = Field(None, examples=["Store 7"])
    customer: _Name | None = Field(None, description=OF_CUSTOMER, examples=[None])
    expires_s: _Expires = Field(None, description="Seconds; 7 days if not said.")
    server: ShortText | None = Field(None, description="host or host:port of the gateway, as the device sees it.")


class ClaimMade(Model):
    """A claim, shown once."""

    claim: str
    device: str
    product: str
    serial: str
    site: str
    expires: str
    expires_us: int

    @classmethod
    def of(cls, made: IssuedClaim) -> "ClaimMade":
        """Make it of a claim that was just given out."""
        return cls(
            claim=made.claim,
            device=made.device,
            product=made.product,
            serial=made.serial,
            site=made.site,
            expires=iso(made.expires_us),
            expires_us=made.expires_us,
        )


class NewClaims(Model):
    """What a production run has in common; the fleet names the devices PRODUCT-xxxxxx."""

    product: _Name = Field(examples=["freezer"])
    count: int = Field(ge=1, le=MAX_CLAIMS, description="Devices.", examples=[2])
    site: ShortText | None = Field(None, examples=["Line 3"])
    customer: _Name | None = Field(None, description=OF_CUSTOMER, examples=[None])
    expires_s: _Expires = Field(None, description="Seconds; 7 days if not said.")
    server: ShortText | None = Field(None, description="host or host:port of the gateway, as the devices see it.")


class ClaimsMade(Model):
    """Claims, shown once."""

    items: list[ClaimMade]


@router.post("/claims", status_code=201, responses=responses(401, 403, 404, 409, 422))
async def make_claim(services: Given, caller: Admin, new: NewClaim) -> ClaimMade:
    """Make a claim for one new device. It is shown once, kept nowhere, and works once."""
    request = ClaimRequest(
        product=new.product,
        device=new.device,
        serial=new.serial or "",
        site=new.site or "",
        customer=new.customer,
        expires_s=new.expires_s or DEFAULT_EXPIRES_S,
        server=new.server,
    )
    (made,) = await services.issue_claims([request], caller.actor)
    return ClaimMade.of(made)


@router.post("/claims/many", status_code=201, responses=responses(401, 403, 404, 422))
async def make_claims(services: Given, caller: Admin, new: NewClaims) -> ClaimsMade:
    """Make claims for many new devices of one product, all or none: what a factory prints on its labels."""
    request = ClaimRequest(
        product=new.product,
        site=new.site or "",
        customer=new.customer,
        expires_s=new.expires_s or DEFAULT_EXPIRES_S,
        server=new.server,
    )
    made = await services.issue_claims([request] * new.count, caller.actor)
    return ClaimsMade(items=[ClaimMade.of(one) for one in made])


class ClaimItem(Model):
    """A claim as it is kept: without what a device needs to use it."""

    id: int
    device: str
    product: str
    serial: str
    site: str
    state: claim.State
    created: str
    created_us: int
    expires: str
    expires_us: int
    used: str | None
    used_us: int | None
    revoked: str | None
    revoked_us: int | None

    @classmethod
    def of(cls, one: claim.Claim, *, now_us: int) -> "ClaimItem":
        """Make it of a claim, as it stands at `now_us`."""
        return cls(
            id=one.id,
            device=one.device_id,
            product=one.product,
            serial=one.serial,
            site=one.site,
            state=one.state(now_us),
            created=iso(one.created_us),
            created_us=one.created_us,
            expires=iso(one.expires_us),
            expires_us=one.expires_us,
            used=iso_or_none(one.used_us),
            used_us=one.used_us,
            revoked=iso_or_none(one.revoked_us),
            revoked_us=one.revoked_us,
        )


@router.get("/claims", responses=responses(401, 403, 422))
async def list_claims(
    services: Given,
    _caller: Reader,
    *,
    device_id: Annotated[DeviceFilter, Query(alias="device")] = None,
    state: claim.State | None = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[ClaimItem]:
    """List claims, newest first: which can still be used, which were, by now or never."""
    before = page.decode_number(cursor)
    now_us = services.now_us()
    found = await services.db.read(
        lambda conn: claim.page(conn, device_id=device_id, state=state, now_us=now_us, before=before, limit=limit)
    )
    items = [ClaimItem.of(one, now_us=now_us) for one in found]
    return page.page_of(items, limit, items[-1].id if items else None)


@router.post("/claims/{claim_id}/revoke", responses=responses(401, 403, 404, 409, 422))
async def revoke_claim(
    services: Given, caller: Admin, claim_id: Annotated[int, Path(ge=1, le=2**63 - 1, examples=[7])]
) -> ClaimItem:
    """Take an unused claim back. A device that was only prepared, and has no other open claim, goes with it."""
    now_us = services.now_us()
    done = await services.db.write(lambda conn: claim.revoke(conn, claim_id, now_us=now_us, by=caller.actor))
    return ClaimItem.of(done, now_us=now_us)
