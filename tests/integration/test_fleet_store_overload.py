"""More than the server can take: bounded, events first, answered with a slower pace or Busy, and nothing lost."""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
from batches import event, events, segment, telemetry
from fleets import DEVICE, Fleet, a_fleet

from agent.wire.codec import unpack
from agent.wire.messages import Ack
from fleet.core import pace
from fleet.errors import Busy
from fleet.gateway import ingest
from fleet.gateway.ingest import Taken
from fleet.store import presence

pytest_plugins = ("databases",)

T = TypeVar("T")
OTHERS = tuple(f"other-{n:06d}" for n in range(12))


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@asynccontextmanager
async def held_up(fleet: Fleet) -> AsyncIterator[None]:
    """Hold the writer up, as a slow disk does."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(_conn: object) -> None:
        begun.set()
        go_on.wait(60)

    async with asyncio.TaskGroup() as group:
        group.create_task(fleet.db.write(slow))
        await asyncio.to_thread(begun.wait, 60)
        try:
            yield
        finally:
            go_on.set()


def test_events_pass_telemetry_that_waits(sqlite_url: str):
    async def story() -> list[str]:
        done: list[str] = []

        async def take(fleet: Fleet, payload: bytes, device_id: str) -> None:
            await fleet.take(payload, device_id=device_id)
            done.append(device_id)

        devices = (DEVICE, *OTHERS)
        async with a_fleet(sqlite_url, devices=devices) as fleet, asyncio.TaskGroup() as group, held_up(fleet):
            for other in OTHERS:
                group.create_task(take(fleet, telemetry([segment(1, [1.0])]), other))
            group.create_task(take(fleet, events([event(1)]), DEVICE))
            await asyncio.sleep(0)
        return done

    assert run(story()) == [DEVICE, *OTHERS]


def test_where_telemetry_is_refused_an_alarm_is_still_taken(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ingest, "MAX_TAKING_BATCHES", 2)

    async def story() -> tuple[list[Any], int]:
        async with a_fleet(sqlite_url, devices=(DEVICE, *OTHERS)) as fleet:
            payload = telemetry([segment(1, [1.0])])
            async with held_up(fleet):
                waiting = [asyncio.create_task(fleet.take(payload, device_id=other)) for other in OTHERS[:2]]
                await asyncio.sleep(0)
                with pytest.raises(Busy):
                    await fleet.take(payload, device_id=OTHERS[2])
                waiting.append(asyncio.create_task(fleet.take(events([event(1)]))))
                await asyncio.sleep(0)
            acked = [ack.acked_seq for ack in await asyncio.gather(*waiting)]
            again = await fleet.take(payload, device_id=OTHERS[2])
            return acked, again.acked_seq or 0

    assert run(story()) == ([1, 1, 1], 1)


def test_a_small_payload_that_unpacks_to_much_is_not_read_on_the_loop(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    threads: list[int] = []

    class Watched(Taken):
        def decode(self, raw: bytes | None = None) -> None:
            threads.append(threading.get_ident())
            Taken.decode(self, raw)

    monkeypatch.setattr(ingest, "Taken", Watched)
    large = telemetry([segment(1, [1.0] * 4096), segment(2, [1.0] * 4096)])
    assert len(large) < 2000

    async def story() -> None:
        async with a_fleet(sqlite_url) as fleet:
            await fleet.take(large)
            await fleet.take(telemetry([segment(3, [1.0])]))

    run(story())

    assert [one == threading.get_ident() for one in threads] == [False, True]


def test_what_batches_unpack_to_is_bounded_until_their_acks(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    payload = events([event(1)])
    monkeypatch.setattr(ingest, "MAX_TAKING_RAW_BYTES", len(unpack(payload)) * 2)

    async def story() -> list[Any]:
        async with a_fleet(sqlite_url, devices=(DEVICE, *OTHERS)) as fleet:
            async with held_up(fleet):
                waiting = [asyncio.create_task(fleet.take(payload, device_id=other)) for other in OTHERS[:2]]
                await asyncio.sleep(0)
                with pytest.raises(Busy):
                    await fleet.take(payload)
            acked = [ack.acked_seq for ack in await asyncio.gather(*waiting)]
            return [*acked, (await fleet.take(payload)).acked_seq]

    assert run(story()) == [1, 1, 1]


def test_one_device_cannot_take_the_room_of_all(sqlite_url: str):
    async def story() -> list[Any]:
        async with a_fleet(sqlite_url, devices=(DEVICE, *OTHERS)) as fleet:
            async with held_up(fleet):
                payload = telemetry([segment(1, [1.0])])
                flood = [asyncio.create_task(fleet.take(payload)) for _ in range(ingest.MAX_TAKING_OF_ONE + 1)]
                await asyncio.sleep(0)
                other = asyncio.create_task(fleet.take(payload, device_id=OTHERS[0]))
                await asyncio.sleep(0)
            found = await asyncio.gather(*flood, return_exceptions=True)
            return [type(one).__name__ for one in found] + [(await other).acked_seq, await fleet.values()]

    assert run(story()) == [*["Ack"] * ingest.MAX_TAKING_OF_ONE, "Busy", 1, [1.0]]


def test_devices_are_told_to_call_less_often_while_commits_are_slow(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pace, "SLOW_S", 0.05)
    monkeypatch.setattr(pace, "STEP_S", 0.01)

    async def story() -> list[float]:
        seen = []
        async with a_fleet(sqlite_url) as fleet:
            for n in range(1, 6):
                async with held_up(fleet):
                    waiting = asyncio.create_task(fleet.take(telemetry([segment(n, [1.0])])))
                    await asyncio.sleep(0.06)
                seen.append((await waiting).next_s)
            facts = await fleet.db.read(lambda conn: presence.get(conn, DEVICE))
            assert facts is not None
            return [*seen, float(facts.next_s)]

    seen = run(story())

    assert seen[0] == 5.0
    assert seen[4] > 5.0
    assert seen[-1] >= seen[4]  # and so it is not late before it was told to call


def test_a_device_that_sends_too_much_is_told_when_to_come_and_refused_before(sqlite_url: str):
    async def story() -> tuple[float, Any, Any, list[object]]:
        async with a_fleet(sqlite_url, device_readings_s=1.0) as fleet:
            first = await fleet.take(telemetry([segment(1, [1.0] * 160)]))
            with pytest.raises(Busy) as refused:
                await fleet.take(telemetry([segment(2, [2.0])]))
            alarm = await fleet.take(events([event(1)]))
            return first.next_s, refused.value, alarm.acked_seq, await fleet.values()

    next_s, refused, alarm, values = run(story())

    assert 90 < next_s <= 100  # 160 readings, 60 of them in hand, at one a second
    assert 90 < refused.retry_after_s <= 100
    assert DEVICE in refused.message
    assert alarm == 1
    assert len(values) == 160


def test_a_product_that_sends_too_much_is_slowed_down_and_others_are_not(sqlite_url: str):
    async def story() -> list[float]:
        async with a_fleet(sqlite_url, devices=(DEVICE, *OTHERS), product_readings_s=1.0) as fleet:
            for device_id in (DEVICE, OTHERS[0]):
                await fleet.take(telemetry([], prev_seq=0), device_id=device_id)
            first = await fleet.take(telemetry([segment(1, [1.0] * 160)]))
            with pytest.raises(Busy):
                await fleet.take(telemetry([segment(1, [1.0])]), device_id=OTHERS[0])
            return [first.next_s]

    assert run(story())[0] > 90


def test_devices_that_met_a_crowd_are_told_times_that_scatter_them_and_others_the_pace(sqlite_url: str):
    async def story() -> tuple[list[float], list[float]]:
        async with a_fleet(sqlite_url, devices=OTHERS, next_s=10.0) as fleet:

            async def told(waited_us: int, seq: int) -> list[float]:
                batches = [
                    Taken(other, telemetry([segment(seq, [1.0])]), "link", fleet.clock() - waited_us)
                    for other in OTHERS
                ]
                for batch in batches:
                    batch.decode()
                acks = await fleet.db.write(lambda conn: fleet.ingest.store_all(conn, batches))
                return [ack.next_s for ack in acks if isinstance(ack, Ack)]

            return await told(int(pace.CROWD_S * 1e6) - 1, 1), await told(100_000, 2)

    calm, crowded = run(story())

    assert calm == [10.0] * len(OTHERS)
    assert len(set(crowded)) > len(OTHERS) // 2
    assert all(9.0 <= next_s <= 11.0 for next_s in crowded)
