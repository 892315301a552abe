"""Customers: who the machines are sold to, and whose each of them is and was."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field, StringConstraints
from sqlalchemy import Connection

from agent.wire.limits import MAX_TIME_US, MIN_TIME_US
from agent.wire.topics import DEVICE_ID
from fleet.api import page
from fleet.api.access import Admin, Given, Reader
from fleet.api.device import DeviceWhole, whole
from fleet.api.page import NO_NUL, Cursor, DeviceId, Limit, Model, Page, ShortText, TimeText
from fleet.api.problem import responses
from fleet.api.times import iso, parse_time
from fleet.core.ownership import Tenure
from fleet.store import customer, device, ownership
from fleet.store.customer import Change, Customer

router = APIRouter(tags=["customers"])

CustomerId = Annotated[str, StringConstraints(pattern=f"^{DEVICE_ID.pattern}$")]
CustomerPath = Annotated[str, Path(pattern=f"^{DEVICE_ID.pattern}$", examples=["acme"])]
NewId = Annotated[str, Path(max_length=256, pattern=NO_NUL, examples=["acme"])]  # the store says how an id looks


class CustomerFacts(Model):
    """What is known of a customer."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=customer.MAX_NAME_CHARS, pattern=NO_NUL)] = Field(
        examples=["ACME Süd GmbH"]
    )
    external_id: (
        Annotated[str, StringConstraints(min_length=1, max_length=customer.MAX_EXTERNAL_CHARS, pattern=NO_NUL)] | None
    ) = Field(None, description="What an ERP or CRM calls it; the one that is known stays if none is said.")


class CustomerItem(Model):
    """One customer, and how many devices are theirs now."""

    id: str
    name: str
    external_id: str | None
    devices: int
    created: str
    created_us: int

    @classmethod
    def of(cls, one: Customer, devices: int) -> "CustomerItem":
        """Make it of a customer."""
        return cls(
            id=one.id,
            name=one.name,
            external_id=one.external_id,
            devices=devices,
            created=iso(one.created_us),
            created_us=one.created_us,
        )


class CustomerPut(CustomerItem):
    """The customer as it is now, and what this has changed."""

    change: Change


class Transferral(Model):
    """Whose a device shall be, and from when on."""

    customer: CustomerId | None = Field(description="Its id; null: nobody's.", examples=["acme"])
    at: TimeText | None = Field(None, description=f"Now, if not said; not before its last transfer. {page.TIME_HELP}")


class TenureItem(Model):
    """A time in which a device was somebody's; null ends are the beginning and the present."""

    customer: str | None = Field(description="Null: nobody's.")
    name: str
    from_: str | None = Field(serialization_alias="from")
    from_us: int | None
    to: str | None
    to_us: int | None


class Tenures(Model):
    """Whose a device was, by time; the last is whose it is."""

    items: list[TenureItem]


@router.put("/customers/{customer_id}", responses=responses(401, 403, 409, 422))
async def put_customer(services: Given, caller: Admin, customer_id: NewId, facts: CustomerFacts) -> CustomerPut:
    """Add a customer, or change what is known of one. The same again changes nothing: imports may run twice."""
    now_us = services.now_us()

    def work(conn: Connection) -> CustomerPut:
        said = {"name": facts.name, "external_id": facts.external_id}
        change = customer.put(conn, customer_id, **said, now_us=now_us, by=caller.actor)  # type: ignore[arg-type] # a name is said
        return CustomerPut(**dict(_item(conn, customer_id)), change=change)

    return await services.db.write(work)


@router.get("/customers", responses=responses(401, 403, 422))
async def list_customers(
    services: Given,
    _caller: Reader,
    *,
    q: Annotated[ShortText | None, Query(description="A part of id, name or external id.")] = None,
    external_id: Annotated[ShortText | None, Query(description="Only the one that has it.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[CustomerItem]:
    """List customers by id."""
    after = page.decode_cursor(cursor)

    def work(conn: Connection) -> list[CustomerItem]:
        found = customer.page(conn, q=q, external_id=external_id, after=after, limit=limit)
        counts = customer.devices_of(conn, [one.id for one in found])
        return [CustomerItem.of(one, counts.get(one.id, 0)) for one in found]

    items = await services.db.read(work)
    return page.page_of(items, limit, items[-1].id if items else None)


@router.get("/customers/{customer_id}", responses=responses(401, 403, 404, 422))
async def get_customer(services: Given, _caller: Reader, customer_id: CustomerPath) -> CustomerItem:
    """Show one customer. Their devices: `/devices?customer=…`."""
    return await services.db.read(lambda conn: _item(conn, customer_id))


@router.post("/devices/{device_id}/transfer", responses=responses(401, 403, 404, 409, 422))
async def transfer_device(services: Given, caller: Admin, device_id: DeviceId, wanted: Transferral) -> DeviceWhole:
    """Make a device a customer's, or nobody's. It cuts its history: each has the time in which it was theirs."""
    now_us = services.now_us()
    at_us = now_us if wanted.at is None else parse_time(wanted.at, now_us=now_us, name="at")

    def work(conn: Connection) -> None:
        ownership.transfer(conn, device_id, wanted.customer, at_us=at_us, now_us=now_us, by=caller.actor)

    await services.db.write(work)
    return await services.db.read(lambda conn: whole(conn, device_id, now_us=now_us))


@router.get("/devices/{device_id}/owners", responses=responses(401, 403, 404, 422))
async def list_owners(services: Given, _caller: Reader, device_id: DeviceId) -> Tenures:
    """List whose a device was and is, by time."""

    def work(conn: Connection) -> Tenures:
        device.get(conn, device_id)
        owned = ownership.of(conn, device_id)
        names = customer.names(conn, {one.customer_id for one in owned})
        return Tenures(items=[_tenure(one, names[one.customer_id]) for one in owned])

    return await services.db.read(work)


def _item(conn: Connection, customer_id: str) -> CustomerItem:
    found = customer.get(conn, customer_id)
    return CustomerItem.of(found, customer.devices_of(conn, [customer_id]).get(customer_id, 0))


def _tenure(one: Tenure, name: str) -> TenureItem:
    from_us = one.from_us if one.from_us > MIN_TIME_US else None
    to_us = one.to_us if one.to_us < MAX_TIME_US else None
    return TenureItem(
        customer=one.customer_id,
        name=name,
        from_=None if from_us is None else iso(from_us),
        from_us=from_us,
        to=None if to_us is None else iso(to_us),
        to_us=to_us,
    )
