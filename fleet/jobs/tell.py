"""What has to be said to devices after a commit: a config that was set or unset, a revocation.

Nothing depends on it but speed: the next ack brings the same config, and a revoked device finds every door closed. A
connection that is open already is another matter, so a revocation is looked up again where events were missed.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog
from sqlalchemy import Connection

from agent.wire.messages import ConfigDocument
from fleet.core.event import Event
from fleet.core.ports import DeviceLink
from fleet.errors import Busy, FleetError
from fleet.store import config, event
from fleet.store.config import Target
from fleet.store.database import Database

CONFIG_SET = "config.set"
CONFIG_UNSET = "config.unset"
REVOKED = "device.revoked"
AGAIN_S = 0.2  # before the events are read again
MAX_CUTTING = 64  # revocations in hand at once

log = structlog.get_logger(part="tell")


async def tell(db: Database, link: DeviceLink) -> None:
    """Follow the events until cancelled."""
    last_id = 0
    cutting = asyncio.Semaphore(MAX_CUTTING)
    async with asyncio.TaskGroup() as group:

        async def cut(device_id: str) -> None:
            async with cutting:
                await link.cut(device_id)

        while True:
            try:
                async with db.subscribe() as events:
                    for missed in await _revoked_since(db, last_id):
                        group.create_task(cut(missed.device_id or ""), name=f"cut {missed.device_id}")
                    async for happened in events:
                        last_id = happened.id
                        if happened.kind == CONFIG_SET:
                            await _push(db, link, _document(happened))
                        elif happened.kind == CONFIG_UNSET:
                            await _push(db, link, _products_document(happened))
                        elif happened.kind == REVOKED and happened.device_id:
                            group.create_task(cut(happened.device_id), name=f"cut {happened.device_id}")
            except Busy as error:
                log.warning("missed events; reading them again", why=error.message)
                await asyncio.sleep(AGAIN_S)


async def _revoked_since(db: Database, last_id: int) -> list[Event]:
    """Return the revocations that were missed; none the first time, when nothing is connected yet."""
    if last_id == 0:
        return []
    return await db.read(lambda conn: event.page(conn, after=last_id, kinds=[REVOKED], limit=event.MAX_PAGE))


Pushed = tuple[ConfigDocument | None, Sequence[str]]
"""A document, and the devices that it is for."""


def _document(happened: Event) -> Callable[[Connection], Pushed]:
    """Make the work that reads what was set, and for whom."""

    def work(conn: Connection) -> Pushed:
        found = config.find(conn, int(happened.data["revision"]))
        for_whom = config.concerned(conn, Target(happened.data["scope"]), str(happened.data["target"]))
        return ConfigDocument(found.revision, found.hash, found.toml), for_whom

    return work


def _products_document(happened: Event) -> Callable[[Connection], Pushed]:
    """Make the work that reads what a device follows that lost its own."""
    device_id = str(happened.data["device"])
    return lambda conn: (config.desired(conn, device_id), [device_id])


async def _push(db: Database, link: DeviceLink, work: Callable[[Connection], Pushed]) -> None:
    """Hand a document to the devices that it is for; those that are not connected get it with their next ack."""
    try:
        document, device_ids = await db.read(work)
    except FleetError as error:
        log.warning("could not push a config; it goes with the next acks", why=error.message)
        return
    if document is None:
        return
    for device_id in device_ids:
        await link.push_config(device_id, document)
