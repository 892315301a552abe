"""Who may come in on the link: the answer to the broker's callout, out of the database."""

import asyncio

import structlog

from fleet.clock import now_us
from fleet.errors import FleetError, Refused
from fleet.gateway.broker import ACCOUNT
from fleet.gateway.ca import fingerprint
from fleet.gateway.callout import Asking, CalloutError, Issuer, read_request
from fleet.gateway.seldom import Seldom
from fleet.store import certificate
from fleet.store.database import Database

log = structlog.get_logger(part="link")


async def admit(db: Database, issuer: Issuer, data: bytes, seldom: Seldom) -> bytes | None:
    """Answer one authorization request; None where it cannot be answered now, and the broker gives up by itself.

    Let in is who shows a certificate that the fleet has issued and not revoked, under an MQTT client id that is the
    device's own: with another's id it would end that one's session.
    """
    try:
        asking = read_request(data)
    except CalloutError as error:
        if seldom.may(
            "unanswerable", asyncio.get_running_loop().time()
        ):  # whoever reaches the cluster port can provoke it
            log.warning("the broker asked what cannot be answered", why=str(error))
        return None
    moment_us = now_us()
    now_s = moment_us // 1_000_000
    shown = fingerprint(asking.certificate)
    try:
        known = await db.read(lambda conn: certificate.check(conn, shown, now_us=moment_us))
        _check_client_id(asking, known.device_id)
    except Refused as error:
        if seldom.may(f"{asking.host} {error.message}", asyncio.get_running_loop().time()):
            log.warning("refused a connection", why=error.message, host=asking.host, client=asking.client_id)
        return issuer.refuse(asking, error.message, now_s=now_s)
    except FleetError as error:
        log.warning("could not judge a connection", why=error.message, host=asking.host, client=asking.client_id)
        return None
    return issuer.grant(asking, known.device_id, ACCOUNT, now_s=now_s, until_s=known.not_after_us // 1_000_000)


def _check_client_id(asking: Asking, device_id: str) -> None:
    if asking.client_id != device_id:
        raise Refused(
            f"{device_id} came with the client id {asking.client_id!r}", hint="The MQTT client id is the device's id."
        )
