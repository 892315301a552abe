"""Devices: the machines in the field, at a glance and in full."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy import Connection

from agent.wire.messages import Severity, Value
from fleet.api import page
from fleet.api.access import Admin, Given, Reader
from fleet.api.config import ConfigState, StandingItem
from fleet.api.page import Cursor, DeviceId, FromTime, Limit, Model, Page, ShortText, ToTime
from fleet.api.problem import responses
from fleet.api.times import iso, iso_or_none, parse_time
from fleet.core.presence import Presence
from fleet.store import alarm, certificate, config, customer, device, gap, latest, presence, quarantine, ticket
from fleet.store.device import Device

router = APIRouter(tags=["devices"])

MAX_WATCH_S = 3600
MAX_GAPS = 10_000


class DeviceItem(Model):
    """One machine, at a glance."""

    id: str = Field(examples=["freezer-7k3m2q"])
    product: str
    serial: str
    site: str
    customer: str | None = Field(description="Id of whose it is; null: nobody's.")
    customer_name: str
    presence: Presence
    since: str | None
    since_us: int | None
    last_seen: str | None
    last_seen_us: int | None
    agent_version: str
    created: str
    created_us: int
    enrolled: str | None
    enrolled_us: int | None
    revoked: str | None
    revoked_us: int | None
    config: ConfigState
    open_alarms: int
    open_tickets: int
    worst_severity: Severity | None


class LatestItem(Model):
    """The newest reading of one series."""

    t: str
    t_us: int
    v: Value
    unit: str


class CertificateItem(Model):
    """One certificate of the device."""

    fingerprint: str
    serial_number: str
    not_before: str
    not_before_us: int
    not_after: str
    not_after_us: int
    revoked: str | None
    revoked_us: int | None


class DeviceWhole(DeviceItem):
    """One machine, with what it measures and how it fares."""

    latest: dict[str, LatestItem] = Field(description="By series.")
    health: dict[str, Any] | None = Field(description="The device's own condition, as the wire contract has it.")
    certificates: list[CertificateItem]
    gaps: int
    quarantined: int


class GapItem(Model):
    """Readings or events that existed and will not come."""

    lane: str
    from_: str = Field(serialization_alias="from")
    from_us: int
    to: str
    to_us: int
    count: int | None = Field(description="Null: nobody knows.")
    reason: str
    store_id: str
    from_seq: int
    to_seq: int
    received: str
    received_us: int


class Revocation(Model):
    """Why a device is shut out."""

    reason: ShortText | None = Field(None, examples=["stolen"])


class WatchRequest(Model):
    """For how long a device shall send its readings as they come."""

    seconds: int = Field(60, ge=1, le=MAX_WATCH_S)


class Watching(Model):
    """The device was asked; what it sends comes with the stream (`/stream?device=…&live=1`)."""

    device: str
    seconds: int


@router.get("/devices", responses=responses(401, 403, 422))
async def list_devices(  # noqa: PLR0913 - one argument a filter
    services: Given,
    _caller: Reader,
    *,
    product: ShortText | None = None,
    customer_: Annotated[ShortText | None, Query(alias="customer", description="Id of whose it is.")] = None,
    presence_: Annotated[Presence | None, Query(alias="presence")] = None,
    q: Annotated[ShortText | None, Query(description="A part of id, serial, site or customer.")] = None,
    revoked: bool | None = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[DeviceItem]:
    """List devices by id."""
    begin = page.decode_cursor(cursor)
    now_us = services.now_us()

    def work(conn: Connection) -> list[DeviceItem]:
        items: list[DeviceItem] = []
        after = begin
        while len(items) < limit:
            found = device.page(
                conn, product_id=product, customer_id=customer_, q=q, revoked=revoked, after=after, limit=limit
            )
            if not found:
                break
            after = found[-1].id
            made = items_of(conn, found, now_us=now_us)
            items += [item for item in made if presence_ is None or item.presence is presence_]
        return items[:limit]

    items = await services.db.read(work)
    return page.page_of(items, limit, items[-1].id if items else None)


@router.get("/devices/{device_id}", responses=responses(401, 403, 404, 422))
async def get_device(services: Given, _caller: Reader, device_id: DeviceId) -> DeviceWhole:
    """Show one device in full."""
    now_us = services.now_us()
    return await services.db.read(lambda conn: whole(conn, device_id, now_us=now_us))


@router.post("/devices/{device_id}/revoke", responses=responses(401, 403, 404, 422))
async def revoke_device(
    services: Given, caller: Admin, device_id: DeviceId, why: Revocation | None = None
) -> DeviceWhole:
    """Shut a device out: its next request is refused, its live link is cut. It needs a new claim to come back."""
    now_us = services.now_us()
    reason = (why.reason if why else None) or ""
    await services.db.write(lambda conn: device.revoke(conn, device_id, reason, now_us=now_us, by=caller.actor))
    return await services.db.read(lambda conn: whole(conn, device_id, now_us=now_us))


@router.get("/devices/{device_id}/latest", responses=responses(401, 403, 404, 422))
async def get_latest(services: Given, _caller: Reader, device_id: DeviceId) -> dict[str, LatestItem]:
    """Show the newest reading of each series, by series."""

    def work(conn: Connection) -> dict[str, LatestItem]:
        device.get(conn, device_id)
        return _latest(conn, device_id)

    return await services.db.read(work)


@router.post("/devices/{device_id}/watch", status_code=202, responses=responses(401, 403, 404, 422))
async def watch_device(
    services: Given, _caller: Reader, device_id: DeviceId, wanted: WatchRequest | None = None
) -> Watching:
    """Ask a device to send its readings as they come, for a while; nothing is promised while its link is down."""
    seconds = (wanted or WatchRequest(seconds=60)).seconds
    await services.db.read(lambda conn: device.get(conn, device_id))
    await services.link.watch(device_id, seconds)
    return Watching(device=device_id, seconds=seconds)


@router.get("/devices/{device_id}/gaps", responses=responses(401, 403, 404, 422))
async def list_gaps(  # noqa: PLR0913 - one argument a filter
    services: Given,
    _caller: Reader,
    *,
    device_id: DeviceId,
    from_: FromTime = None,
    to: ToTime = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[GapItem]:
    """List what existed and will not come, by time."""
    now_us = services.now_us()
    from_us = None if from_ is None else parse_time(from_, now_us=now_us, name="from")
    to_us = None if to is None else parse_time(to, now_us=now_us, name="to")
    begin = page.decode_number(cursor) or 0

    def work(conn: Connection) -> Sequence[gap.KeptGap]:
        device.get(conn, device_id)
        return gap.page(conn, device_id, from_us=from_us, to_us=to_us, limit=MAX_GAPS)[begin : begin + limit]

    found = await services.db.read(work)
    return page.page_of([_gap(one) for one in found], limit, begin + len(found))


@router.get("/devices/{device_id}/config", responses=responses(401, 403, 404, 422))
async def get_device_config(services: Given, _caller: Reader, device_id: DeviceId) -> StandingItem:
    """Show how one device stands to its desired config."""
    return StandingItem.of(await services.db.read(lambda conn: config.standing(conn, device_id)))


@router.delete("/devices/{device_id}/config", responses=responses(401, 403, 404, 422))
async def unset_device_config(services: Given, caller: Admin, device_id: DeviceId) -> StandingItem:
    """Let a device follow its product's config again; the answer shows what it shall run now.

    Where its product has none, the device goes on with what it runs. A device without a config of its own stays as
    it is.
    """
    now_us = services.now_us()
    await services.db.write(lambda conn: config.unset(conn, device_id, now_us=now_us, by=caller.actor))
    return StandingItem.of(await services.db.read(lambda conn: config.standing(conn, device_id)))


def items_of(conn: Connection, found: Sequence[Device], *, now_us: int) -> list[DeviceItem]:
    """Make the items of devices: one query a kind of fact, however many they are."""
    ids = [one.id for one in found]
    seen = presence.of(conn, ids, now_us=now_us)
    standings = {one.device_id: one for one in config.standings(conn, device_ids=ids, limit=len(ids))}
    alarms = alarm.open_of(conn, ids)
    tickets = ticket.open_of(conn, ids)
    names = customer.names(conn, {one.customer_id for one in found})
    items = []
    for one in found:
        state, since_us, last_seen_us = seen[one.id]
        count, worst = alarms.get(one.id, (0, None))
        items.append(
            DeviceItem(
                id=one.id,
                product=one.product_id,
                serial=one.serial,
                site=one.site,
                customer=one.customer_id,
                customer_name=names[one.customer_id],
                presence=state,
                since=iso_or_none(since_us or None),
                since_us=since_us or None,
                last_seen=iso_or_none(last_seen_us),
                last_seen_us=last_seen_us,
                agent_version=one.agent_version,
                created=iso(one.created_us),
                created_us=one.created_us,
                enrolled=iso_or_none(one.enrolled_us),
                enrolled_us=one.enrolled_us,
                revoked=iso_or_none(one.revoked_us),
                revoked_us=one.revoked_us,
                config=ConfigState.of(standings[one.id]),
                open_alarms=count,
                open_tickets=tickets.get(one.id, 0),
                worst_severity=worst,
            )
        )
    return items


def whole(conn: Connection, device_id: str, *, now_us: int) -> DeviceWhole:
    """Make the whole of one device; raises NotFound."""
    item = items_of(conn, [device.get(conn, device_id)], now_us=now_us)[0]
    health = presence.health(conn, device_id)
    return DeviceWhole(
        **dict(item),
        latest=_latest(conn, device_id),
        health=None if health is None else json.loads(health),
        certificates=[_certificate(one) for one in certificate.rows(conn, device_id)],
        gaps=gap.count(conn, device_id),
        quarantined=quarantine.count(conn, device_id),
    )


def _latest(conn: Connection, device_id: str) -> dict[str, LatestItem]:
    found = latest.get(conn, device_id)
    return {name: LatestItem(t=iso(one.t_us), t_us=one.t_us, v=one.v, unit=one.unit) for name, one in found.items()}


def _certificate(one: certificate.Certificate) -> CertificateItem:
    return CertificateItem(
        fingerprint=one.fingerprint,
        serial_number=one.serial_number,
        not_before=iso(one.not_before_us),
        not_before_us=one.not_before_us,
        not_after=iso(one.not_after_us),
        not_after_us=one.not_after_us,
        revoked=iso_or_none(one.revoked_us),
        revoked_us=one.revoked_us,
    )


def _gap(one: gap.KeptGap) -> GapItem:
    return GapItem(
        lane=one.lane.value,
        from_=iso(one.from_us),
        from_us=one.from_us,
        to=iso(one.to_us),
        to_us=one.to_us,
        count=one.count,
        reason=one.reason,
        store_id=one.store_id,
        from_seq=one.from_seq,
        to_seq=one.to_seq,
        received=iso(one.received_us),
        received_us=one.received_us,
    )
