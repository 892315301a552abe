"""How devices stand is remembered from one transaction to the next, and never longer than it is so (SQLite)."""

import asyncio
import sqlite3
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, TypeVar

import pytest
from batches import event as device_event
from batches import events, segment, telemetry
from fleets import DEVICE, Fleet, a_fleet
from sqlalchemy import Connection

from agent.wire.messages import Ack, Birth, ConfigOutcome, Reported
from fleet.core.actor import FLEET
from fleet.errors import NotFound, Refused
from fleet.store import config, device, intake, standings
from fleet.store import event as event_store
from fleet.store.config import Target
from fleet.store.engine import parse_url, sqlite_path

pytest_plugins = ("databases",)

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 100))


class Reads(list[set[str]]):
    """The devices that were read from the database, a set a query."""

    @classmethod
    @contextmanager
    def of(cls) -> Iterator["Reads"]:
        reads, real = cls(), intake.standings

        def counted(conn: Connection, wanted: Sequence[intake.Wanted]) -> Any:  # noqa: ANN401 - what the real one returns
            reads.append({device_id for device_id, _, _ in wanted})
            return real(conn, wanted)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(intake, "standings", counted)
            yield reads


def row(n: int) -> bytes:
    return telemetry([segment(n, [float(n)])], prev_seq=n - 1)


async def settled(fleet: Fleet, *device_ids: str) -> None:
    """Have devices heard: what comes after is no news."""
    for device_id in device_ids or (DEVICE,):
        await fleet.take(row(1), device_id=device_id)
        await fleet.take(row(2), device_id=device_id)


def test_a_device_that_calls_again_is_not_read_again(sqlite_url: str):
    async def story() -> tuple[list[Ack], list[object], list[set[str]]]:
        async with a_fleet(sqlite_url) as fleet:
            await settled(fleet)
            with Reads.of() as reads:
                acks = [await fleet.take(row(n)) for n in (3, 4, 4, 5)]
                await fleet.ingest.birth(DEVICE, Birth(1, 2, 0, "boot-1", "0.1.0"))
                acks.append(await fleet.take(row(6)))
            return acks, await fleet.values(), reads

    acks, values, reads = run(story())

    assert [ack.acked_seq for ack in acks] == [3, 4, 4, 5, 6]
    assert values == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert reads == []


def test_on_postgresql_other_nodes_write_and_every_device_is_read(database_url: str):
    async def story() -> list[set[str]]:
        async with a_fleet(database_url) as fleet:
            await settled(fleet)
            with Reads.of() as reads:
                await fleet.take(row(3))
            return reads

    assert run(story()) == ([] if database_url.startswith("sqlite") else [{DEVICE}])


def test_a_lane_or_a_store_that_was_not_asked_for_is_read(sqlite_url: str):
    async def story() -> tuple[list[set[str]], int | None]:
        async with a_fleet(sqlite_url, devices=(DEVICE, "other")) as fleet:
            await settled(fleet, DEVICE, "other")
            with Reads.of() as reads:
                await fleet.take(events([device_event(1)], store_id="store-2"))
            await fleet.take(events([device_event(1)], store_id="store-2"))  # of a store that is known by now
            return reads, (await fleet.take(row(3))).acked_seq

    assert run(story()) == ([{DEVICE}], 3)


def test_what_a_person_changed_holds_for_the_next_batch(sqlite_url: str):
    async def story() -> tuple[Ack, Ack, int | None]:
        async with a_fleet(sqlite_url, devices=(DEVICE, "stolen")) as fleet:
            now_us = fleet.clock()
            await settled(fleet, DEVICE, "stolen")
            document = 'log_level = "debug"\n'
            await fleet.db.write(
                lambda conn: config.set_document(conn, Target.DEVICE, DEVICE, document, now_us=now_us, by=FLEET)
            )
            told = await fleet.take(row(3))
            await fleet.db.write(lambda conn: device.revoke(conn, "stolen", "gone", now_us=now_us, by=FLEET))
            with pytest.raises(Refused):
                await fleet.take(row(3), device_id="stolen")
            with pytest.raises(NotFound):
                await fleet.take(row(1), device_id="nobody")
            return told, await fleet.take(row(4)), (await fleet.take(row(5))).acked_seq

    told, again, acked_seq = run(story())

    assert told.config is not None
    assert again.config is not None, "it has not said that it took it"
    assert acked_seq == 5


def test_what_somebody_else_wrote_into_the_file_holds_too(sqlite_url: str):
    path = sqlite_path(parse_url(sqlite_url))

    async def story() -> tuple[int | None, list[object]]:
        async with a_fleet(sqlite_url) as fleet:
            await settled(fleet)
            with closing(sqlite3.connect(path, isolation_level=None)) as other:  # type: ignore[arg-type] # SQLite has one
                other.execute("UPDATE mark SET seq = 7 WHERE seq = 2")
            return (await fleet.take(row(3))).acked_seq, await fleet.values()

    assert run(story()) == (7, [1.0, 2.0])


def test_a_report_that_was_dated_too_early_is_heard_when_it_is_said_again(database_url: str):
    applied = Reported(1, ConfigOutcome.APPLIED, 1, "x", "")

    async def story() -> Reported | None:
        async with a_fleet(database_url) as fleet:
            await settled(fleet)
            fleet.clock.forward(-60)  # the server's clock was set back
            await fleet.take(telemetry([segment(3, [3.0])], reported=applied))
            fleet.clock.forward(120)
            await fleet.take(telemetry([segment(4, [4.0])], reported=applied))
            standing = await fleet.db.write(lambda conn: intake.standing(conn, DEVICE))
            return standing.reported

    assert run(story()) == applied


@pytest.mark.parametrize("failures", [1, 2], ids=["tried-again-alone", "given-up"])
def test_what_was_rolled_back_is_not_remembered(failures: int, sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    left, real = [failures], event_store.write_waiting

    def failing(conn: Connection) -> None:
        real(conn)
        if left[0]:
            left[0] -= 1
            raise Refused("no")

    async def story() -> tuple[list[object], list[int | None], list[object]]:
        async with a_fleet(sqlite_url) as fleet:
            await settled(fleet)
            monkeypatch.setattr(event_store, "write_waiting", failing)
            # Two at once: each is tried again by itself, in a savepoint, and one of them may fail there.
            both = [fleet.take(row(3)), fleet.take(telemetry([segment(1, [9.0])], store_id="store-2"))]
            answers = await asyncio.gather(*both, return_exceptions=True)
            acks = [(await fleet.take(row(n))).acked_seq for n in (3, 4)]
            acks.append((await fleet.take(telemetry([segment(1, [9.0])], store_id="store-2"))).acked_seq)
            return [type(answer) for answer in answers], acks, await fleet.values()

    answers, acks, values = run(story())

    assert left == [0]
    assert acks == [3, 4, 1]
    assert sorted(map(str, values)) == ["1.0", "2.0", "3.0", "4.0", "9.0"]
    assert answers.count(Refused) == failures - 1


def test_no_more_is_remembered_than_there_is_room_for(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(standings, "MAX_DEVICES", 2)
    monkeypatch.setattr(standings, "MAX_SERIES", 3)
    devices = ("a", "b", "c", "many")

    async def story() -> list[set[str]]:
        async with a_fleet(sqlite_url, devices=devices) as fleet:
            await settled(fleet, *devices)
            with Reads.of() as reads:
                for n in (3, 4):
                    for device_id in ("a", "b", "b", "a", "c"):
                        await fleet.take(row(n), device_id=device_id)
                for n in range(3, 7):
                    wide = telemetry([segment(n, [1.0], series=f"board.s{n}")], prev_seq=n - 1)
                    await fleet.take(wide, device_id="many")
                await fleet.take(row(5), device_id="c")
            return reads

    first, again = [{"a"}, {"b"}, {"c"}], [{"b"}, {"c"}]  # "c" makes "b" be forgotten, which called before "a"
    many = [{"many"}, {"many"}]  # once since it was forgotten, and again when it has a series too many
    assert run(story()) == [*first, *again, *many]
