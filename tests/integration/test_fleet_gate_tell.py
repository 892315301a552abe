"""What devices are told after a commit, and that nothing of it is lost where events are."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from gate import running, until

from agent.wire.messages import ConfigDocument, Live
from fleet.core.actor import FLEET
from fleet.jobs.tell import tell
from fleet.store import config, device, follow
from fleet.store.config import Target
from fleet.store.database import Database

pytest_plugins = ("databases",)

NOW_US = 1_780_000_000_000_000


class Heard:
    """A link that notes what it is asked."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.is_up = True

    async def push_config(self, device_id: str, document: ConfigDocument) -> None:
        self.said.append((document.toml, device_id))

    async def watch(self, device_id: str, seconds: int) -> None:
        raise NotImplementedError

    async def cut(self, device_id: str) -> None:
        self.said.append(("cut", device_id))

    def live(self, device_id: str) -> AbstractAsyncContextManager[AsyncIterator[Live]]:
        raise NotImplementedError


@asynccontextmanager
async def telling(url: str) -> AsyncIterator[tuple[Database, Heard]]:
    async with Database.open(url) as db:
        for name in ("f-1", "f-2", "own-1"):
            await db.write(
                lambda conn, name=name: device.enrol(conn, name, "freezer", serial="", site="", now_us=NOW_US)
            )
        heard = Heard()
        task = asyncio.create_task(tell(db, heard))
        await asyncio.sleep(0)
        async with db.subscribe():  # which comes after the task's: what is committed from here on is heard
            pass
        try:
            yield db, heard
        finally:
            task.cancel()
            await asyncio.wait([task])


def test_a_products_config_goes_to_its_devices_but_those_with_their_own(sqlite_url: str):
    async def story() -> None:
        async with telling(sqlite_url) as (db, heard):
            own = await db.write(
                lambda conn: config.set_document(conn, Target.DEVICE, "own-1", "# own\n", now_us=NOW_US, by=FLEET)
            )
            await db.write(
                lambda conn: config.set_document(conn, Target.PRODUCT, "freezer", "# all\n", now_us=NOW_US, by=FLEET)
            )
            await until(_has(heard, 3), "all are told")

            assert own[1]
            assert sorted(heard.said) == [("# all\n", "f-1"), ("# all\n", "f-2"), ("# own\n", "own-1")]

    asyncio.run(story())


def test_a_device_that_lost_its_own_config_is_told_its_products_at_once(sqlite_url: str):
    async def story() -> None:
        async with telling(sqlite_url) as (db, heard):
            for target, name, told in ((Target.PRODUCT, "freezer", 3), (Target.DEVICE, "own-1", 4)):
                await db.write(
                    lambda conn, target=target, name=name: config.set_document(
                        conn, target, name, f"# {target}\n", now_us=NOW_US, by=FLEET
                    )
                )
                await until(_has(heard, told), f"all that the {target}'s config is for are told")
            assert await db.write(lambda conn: config.unset(conn, "own-1", now_us=NOW_US, by=FLEET))
            await until(_has(heard, 5), "the device is told")

            assert heard.said[4:] == [("# product\n", "own-1")]

    asyncio.run(story())


def test_a_revocation_is_cut_even_if_its_event_was_missed(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(follow, "MAX_LAG_EVENTS", 2)

    async def story() -> None:
        async with telling(sqlite_url) as (db, heard):
            await asyncio.sleep(0.1)
            await asyncio.gather(
                *(
                    db.write(lambda conn, name=name: device.revoke(conn, name, "", now_us=NOW_US, by=FLEET))
                    for name in ("f-1", "f-2", "own-1")
                )
            )
            await until(_has(heard, 3), "all are cut")

            assert {name for _, name in heard.said} == {"f-1", "f-2", "own-1"}

    asyncio.run(story())


def test_the_whole_server_runs_on_postgresql_too(tmp_path: Path, postgresql_url: str):
    async def story() -> None:
        async with running(tmp_path, database=postgresql_url) as gate:
            machine = await gate.enrol()
            synced = await machine.sync(machine.batch())
            async with machine.linked() as client:
                ack = await machine.send(client, machine.batch())
                await gate.post(f"/devices/{machine.id}/revoke")
                await machine.lost(client)

            assert synced.json()["acked_seq"] == 1
            assert ack.acked_seq == 2
            assert (await machine.sync(machine.batch())).status_code == 403
            assert not (gate.data / "fieldline.db").exists()

    asyncio.run(story())


def _has(heard: Heard, count: int):  # noqa: ANN202 - a condition
    async def holds() -> bool:
        return len(heard.said) >= count

    return holds
