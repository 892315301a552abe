"""Claims: the right to join the fleet once, as one device."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field, StringConstraints

from fleet.api.access import Admin, Given
from fleet.api.page import NO_NUL, Model, ShortText
from fleet.api.problem import responses
from fleet.api.times import iso
from fleet.services import ClaimRequest

router = APIRouter(tags=["claims"])

DEFAULT_EXPIRES_S = 7 * 86_400
MAX_EXPIRES_S = 366 * 86_400

_Name = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=NO_NUL)]


class NewClaim(Model):
    """What is known of a machine before it joins."""

    product: _Name = Field(examples=["freezer"])
    device: _Name | None = Field(None, description="The id that it shall have; otherwise PRODUCT-xxxxxx.")
    serial: Annotated[str, StringConstraints(max_length=128, pattern=NO_NUL)] | None = Field(None, examples=["FZ-0042"])
    site: ShortText | None = Field(None, examples=["Store 7"])
    expires_s: int | None = Field(None, ge=1, le=MAX_EXPIRES_S, description="Seconds; 7 days if not said.")
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


@router.post("/claims", status_code=201, responses=responses(401, 403, 409, 422))
async def make_claim(services: Given, caller: Admin, new: NewClaim) -> ClaimMade:
    """Make a claim for one new device. It is shown once, kept nowhere, and works once."""
    made = await services.issue_claim(
        ClaimRequest(
            product=new.product,
            device=new.device,
            serial=new.serial or "",
            site=new.site or "",
            expires_s=new.expires_s or DEFAULT_EXPIRES_S,
            server=new.server,
        ),
        caller.actor,
    )
    return ClaimMade(
        claim=made.claim,
        device=made.device,
        product=made.product,
        serial=made.serial,
        site=made.site,
        expires=iso(made.expires_us),
        expires_us=made.expires_us,
    )
