"""Both roads, for real: a TLS gateway and a nats-server. Blocked, killed, back: the rows arrive, once."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import nats
import pytest
from agent_out import Authority, Broker, Fleet, Now, free_port, gateway, until
from starlette.requests import Request
from starlette.responses import Response

from agent.adapters.buffer import Buffer
from agent.adapters.https import Gateway
from agent.adapters.mqtt import connect
from agent.adapters.tls import client_context
from agent.core.allowance import UNMETERED, Allowance, Metering, Quiet
from agent.core.uplink_events import Road
from agent.errors import Busy, Refused, Unavailable
from agent.ports import Reading
from agent.rules.rule import read_rules
from agent.services.link import Link
from agent.services.record import Boot, Recorder
from agent.services.restore import restore
from agent.services.sync import Says, Sync
from agent.settings import Identity
from agent.wire.codec import decode, encode
from agent.wire.document import parse_document
from agent.wire.messages import Clock, ConfigDocument, ConfigOutcome, Lane, Live, Reported, Watch, Will
from agent.wire.topics import Up

BOOT = Boot("boot", lambda: Clock.SYNCED)
(TOO_HIGH,) = read_rules(
    parse_document('[[rule]]\nname = "high"\nseries = "board.n"\nabove = 49.5\nhold_s = 0\nseverity = "critical"\n')
)
REPORTED = Reported(0, ConfigOutcome.SEEDED, 0, "", "")


class Device:
    """The agent's way out, whole; `send` makes numbered readings."""

    def __init__(self, recorder: Recorder, sync: Sync, buffer: Buffer) -> None:
        self.recorder, self.sync, self.buffer = recorder, sync, buffer
        self.configs: list[ConfigDocument] = []
        self.allowance = Allowance()
        self.sent: list[float] = []

    def send(self, count: int) -> None:
        for _ in range(count):
            self.sent.append(float(len(self.sent)))
            self.recorder.readings([Reading("board.n", "1", Now().now_us(), self.sent[-1])])


@asynccontextmanager
async def device(identity: Identity, path: Path, metering: Metering = UNMETERED) -> AsyncIterator[Device]:
    tls = client_context(identity)
    clock = Now()
    rng = random.Random(1).random  # noqa: S311 - a schedule that can be repeated
    async with Buffer.open(path) as buffer:
        recorder = Recorder(buffer, clock, BOOT, await restore(buffer), rng)
        await recorder.apply((), 0.05)
        link = Link(
            lambda port, will: connect(identity.host, port, tls, identity.device_id, will),
            buffer,
            recorder,
            clock,
            BOOT.boot_id,
            allowance := Allowance(),
        )
        configs: list[ConfigDocument] = []
        sync = Sync(
            store=buffer,
            recorder=recorder,
            link=link,
            gateway=partial(Gateway, identity.host, identity.gateway_port, tls),
            clock=clock,
            boot=BOOT,
            rng=rng,
            says=Says(lambda: REPORTED, lambda: None, configs.append),
            meter=allowance,
        )
        sync.meter(metering)
        made = Device(recorder, sync, buffer)
        made.configs = configs
        made.allowance = allowance
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(recorder.run()), group.create_task(sync.run())]
            yield made
            for task in tasks:
                task.cancel()


class Heard(NamedTuple):
    """What the fleet heard beside batches, as (leaf, payload), and its connection to the broker."""

    all: list[tuple[str, bytes]]
    client: nats.NATS

    def of(self, leaf: str) -> list[bytes]:
        return [payload for said, payload in self.all if said == leaf]


@asynccontextmanager
async def ingest(fleet: Fleet, broker: Broker) -> AsyncIterator[Heard]:
    """Answer batches on the link as the fleet does; yields all else that devices said, and a way to speak."""
    heard: list[tuple[str, bytes]] = []
    client = await nats.connect(
        f"nats://127.0.0.1:{broker.nats_port}", max_reconnect_attempts=-1, reconnect_time_wait=0.1
    )

    async def take(message: nats.aio.msg.Msg) -> None:
        leaf = message.subject.rpartition(".")[2]
        if leaf == "batch":
            await client.publish(message.subject.replace("up.batch", "down.ack"), fleet.take(message.data))
        else:
            heard.append((leaf, message.data))

    await client.subscribe("fleet.*.up.*", cb=take)
    await client.flush()
    try:
        yield Heard(heard, client)
    finally:
        await client.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def broker(authority: Authority, tmp_path: Path):
    broker = Broker(authority, tmp_path)
    broker.start()
    yield broker
    broker.kill()


def test_readings_arrive_over_the_gateway(authority: Authority, tmp_path: Path):
    async def main() -> None:
        fleet = Fleet()
        async with gateway(fleet, authority) as port, device(authority.identity(port), tmp_path / "b.db") as one:
            one.send(50)
            await until(lambda: len(fleet.readings) == 50)
            assert fleet.readings == one.sent
            assert one.sync.status().road is Road.GATEWAY
            assert fleet.batches[0].lane is Lane.EVENTS
            await until(lambda: one.sync.status().last_error == "")

    asyncio.run(main())


def test_after_an_outage_the_newest_values_and_the_events_come_first_then_the_backlog_from_its_oldest(
    authority: Authority, tmp_path: Path
):
    async def main() -> None:
        fleet = Fleet()
        port = free_port()
        async with device(authority.identity(port), tmp_path / "b.db") as one:
            for _ in range(40):
                one.send(400)
                await one.recorder.flush()
            one.recorder.event("port.lost", "board", "The port is gone.")
            one.recorder.event("port.found", "board", "The port is back.")
            await one.recorder.flush()
            async with gateway(fleet, authority, port):
                await until(lambda: len(fleet.readings) == len(one.sent))

        with_rows = [batch for batch in fleet.batches if batch.events or batch.segments]
        before = fleet.batches[: fleet.batches.index(with_rows[0]) + 1]
        assert [event.kind for event in with_rows[0].events] == ["port.lost", "port.found"]
        assert [newest.v for batch in before for newest in batch.newest][-1] == one.sent[-1]
        assert not any(batch.segments for batch in before)
        assert fleet.readings == one.sent
        backlog = [batch for batch in with_rows if batch.segments]
        assert len(backlog) > 1
        whole_us = backlog[-1].sent_us - backlog[0].sent_us
        assert whole_us < (len(backlog) - 1) * fleet.next_s * 2_000_000, "it waited for the pace between batches"

    asyncio.run(main())


def test_in_quiet_hours_alarms_go_readings_wait_and_the_fleet_is_told_for_how_long(
    authority: Authority, tmp_path: Path
):
    async def main() -> None:
        fleet = Fleet()
        quiet = Metering(0, (Quiet(0, 43_200), Quiet(43_200, 0)))
        async with (
            gateway(fleet, authority) as port,
            device(authority.identity(port), tmp_path / "b.db", quiet) as one,
        ):
            await until(lambda: any(batch.next_s == 900 for batch in fleet.batches))
            one.send(50)
            await one.recorder.flush()
            await one.recorder.apply((TOO_HIGH,), 0.05)
            one.send(1)
            await until(lambda: [event for batch in fleet.batches for event in batch.events if event.alarm])
            assert fleet.readings == []

            one.sync.meter(UNMETERED)
            await until(lambda: len(fleet.readings) == len(one.sent))
            assert fleet.readings == one.sent

    asyncio.run(main())


def test_what_was_spent_outlives_the_agent(authority: Authority, tmp_path: Path):
    async def main() -> None:
        fleet = Fleet()
        spent = []
        for _ in range(2):
            async with (
                gateway(fleet, authority) as port,
                device(authority.identity(port), tmp_path / "b.db", Metering(10_000_000)) as one,
            ):
                one.send(10)
                await until(lambda: len(fleet.readings) == len(one.sent))
                spent.append(one.allowance.spent_bytes)
            fleet.readings.clear()

        assert 6_500 < spent[0] < 40_000
        assert spent[1] > spent[0] + 6_500

    asyncio.run(main())


def test_a_gateway_that_goes_and_comes_back_loses_and_doubles_nothing(authority: Authority, tmp_path: Path):
    async def main() -> None:
        fleet = Fleet()
        port = free_port()
        async with device(authority.identity(port), tmp_path / "b.db") as one:
            one.send(10)
            await until(lambda: one.sync.status().last_error)
            async with gateway(fleet, authority, port):
                await until(lambda: len(fleet.readings) == 10)
            one.send(10)
            await until(lambda: one.sync.status().last_error)
            async with gateway(fleet, authority, port):
                fleet.status = 503
                fleet.headers = {"Retry-After": "1"}
                one.send(10)
                await until(lambda: "503" in one.sync.status().last_error)
                fleet.status = 200
                await until(lambda: len(fleet.readings) == 30)
            assert fleet.readings == one.sent

    asyncio.run(main())


def test_the_link_takes_over_and_the_gateway_steps_in_while_the_broker_is_dead(
    authority: Authority, broker: Broker, tmp_path: Path
):
    async def main() -> None:
        fleet = Fleet()
        fleet.link_port = broker.port
        async with (
            gateway(fleet, authority) as port,
            ingest(fleet, broker) as heard,
            device(authority.identity(port), tmp_path / "b.db") as one,
        ):
            one.send(10)
            await until(lambda: one.sync.status().road is Road.LINK)
            assert one.sync.status().connects == 1
            assert 0 < (one.sync.status().rtt_s or 0) < 30
            assert [leaf for leaf, _ in heard.all] == ["birth"]

            broker.kill()
            one.send(10)
            await until(lambda: one.sync.status().road is Road.GATEWAY and len(fleet.readings) == 20)

            await asyncio.to_thread(broker.start)
            await until(lambda: one.sync.status().road is Road.LINK)
            one.send(10)
            await until(lambda: len(fleet.readings) == 30)
            assert fleet.readings == one.sent
            assert [rows for rows in fleet.rows.values() if len(set(rows)) != len(rows)] == []
        assert [decode(Will, data) for data in heard.of("will")]

    asyncio.run(main())


def test_a_watched_device_sends_readings_live_and_takes_a_pushed_config(
    authority: Authority, broker: Broker, tmp_path: Path
):
    async def main() -> None:
        fleet = Fleet()
        fleet.link_port = broker.port
        async with (
            gateway(fleet, authority) as port,
            ingest(fleet, broker) as heard,
            device(authority.identity(port), tmp_path / "b.db") as one,
        ):
            await until(lambda: one.sync.status().road is Road.LINK)
            await heard.client.publish("fleet.freezer-abc234.down.watch", encode(Watch(30)))
            await heard.client.publish("fleet.freezer-abc234.down.config", encode(ConfigDocument(3, "h", "x = 1")))
            await until(lambda: one.recorder.on_live is not None)
            one.send(5)
            await until(lambda: heard.of("live"))
            await until(lambda: one.configs)
            live = [decode(Live, data) for data in heard.of("live")]

            assert [reading.v for message in live for reading in message.readings] == one.sent
            assert one.configs == [ConfigDocument(3, "h", "x = 1")]

    asyncio.run(main())


def test_a_sender_that_is_cancelled_just_as_its_message_has_left_ends(authority: Authority, broker: Broker):
    async def main() -> None:
        me = authority.identity(0)
        async with connect(me.host, broker.port, client_context(me), me.device_id, encode(Will(1))) as session:

            async def send() -> None:
                while True:
                    await session.publish(Up.LIVE, b"")

            for turns in list(range(20)) * 10:
                sender = asyncio.create_task(send())
                for _ in range(turns):
                    await asyncio.sleep(0)
                sender.cancel()
                await asyncio.wait((sender,), timeout=5)
                assert sender.cancelled()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "headers", "error"),
    [
        (401, {}, Refused),
        (403, {}, Refused),
        (503, {"Retry-After": "7"}, Busy),
        (429, {"Retry-After": "7"}, Busy),
        (503, {}, Unavailable),
        (500, {}, Unavailable),
        (413, {}, Unavailable),
    ],
)
def test_the_gateways_answers_say_what_to_do(
    authority: Authority, status: int, headers: dict[str, str], error: type[Exception]
):
    async def main() -> None:
        fleet = Fleet()
        fleet.status, fleet.headers = status, headers
        async with gateway(fleet, authority) as port:
            road = Gateway("127.0.0.1", port, client_context(authority.identity(port)))
            with pytest.raises(error) as caught:
                await road.sync(b"x")
            await road.rest()
        assert type(caught.value) is error
        assert getattr(caught.value, "wait_s", 7.0) == 7.0

    asyncio.run(main())


def test_a_server_that_is_not_this_fleet_is_not_spoken_to(authority: Authority, tmp_path: Path):
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")

    async def main() -> None:
        fleet = Fleet()
        async with gateway(fleet, other) as port:
            road = Gateway("127.0.0.1", port, client_context(authority.identity(port)))
            with pytest.raises(Unavailable, match="prove"):
                await road.sync(b"x")
            await road.rest()
        assert fleet.batches == []

    asyncio.run(main())


def test_a_server_of_another_name_is_not_spoken_to(authority: Authority):
    async def main() -> None:
        async with gateway(Fleet(), authority) as port:
            road = Gateway("localhost", port, client_context(authority.identity(port)))
            with pytest.raises(Unavailable, match="prove"):
                await road.sync(b"x")
            await road.rest()

    asyncio.run(main())


def test_a_connection_that_is_to_rest_stays_open_for_a_call_under_way(authority: Authority):
    class Slow(Fleet):
        def __init__(self) -> None:
            super().__init__()
            self.came, self.released = asyncio.Event(), asyncio.Event()

        async def sync(self, request: Request) -> Response:
            if await request.body() == b"slow":
                self.came.set()
                await self.released.wait()
            return Response(b"answer")

    async def main() -> None:
        fleet = Slow()
        async with gateway(fleet, authority) as port:
            road = Gateway("127.0.0.1", port, client_context(authority.identity(port)))
            slow = asyncio.create_task(road.sync(b"slow"))
            await fleet.came.wait()
            for _ in range(3):
                assert await road.sync(b"quick") == b"answer"
            await road.rest()
            fleet.released.set()
            assert await slow == b"answer"

    asyncio.run(main())
