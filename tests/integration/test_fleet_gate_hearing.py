"""A connection to a real broker that hands over what it hears as it reads it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from agent_out import Authority, Broker, until
from nats.errors import ConnectionClosedError
from structlog.testing import capture_logs

from fleet.gateway.session import Hearing, publish_all


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(Authority(tmp_path), tmp_path)
    broker.start()
    yield broker
    broker.kill()


@asynccontextmanager
async def hearing(broker: Broker) -> AsyncIterator[Hearing]:
    client = Hearing()
    await client.connect(f"nats://127.0.0.1:{broker.nats_port}", allow_reconnect=False)
    try:
        yield client
    finally:
        await client.close()


def test_what_is_heard_comes_in_its_order_with_or_without_headers(broker: Broker):
    async def story() -> list[tuple[str, bytes]]:
        heard: list[tuple[str, bytes]] = []
        async with hearing(broker) as client:
            await client.hear("up.*", "q", lambda to, data: heard.append((to, data)))
            await client.publish_all([("up.1", b"one"), ("down.1", b"not heard"), ("up.2", b"")])
            await client.publish("up.3", b"three", headers={"Nmqtt-Pub": "0"})
            await until(lambda: len(heard) == 3)
        return heard

    assert asyncio.run(story()) == [("up.1", b"one"), ("up.2", b""), ("up.3", b"three")]


def test_a_mistake_on_one_message_does_not_end_the_hearing(broker: Broker):
    heard: list[bytes] = []

    def hear(_to: str, data: bytes) -> None:
        if data == b"bad":
            raise RuntimeError("a mistake")
        heard.append(data)

    async def story() -> None:
        async with hearing(broker) as client:
            await client.hear("up.*", "q", hear)
            await client.publish_all([("up.1", b"bad"), ("up.1", b"bad"), ("up.1", b"good")])
            await until(lambda: heard)

    with capture_logs() as logs:
        asyncio.run(story())
    assert heard == [b"good"]
    assert [line["subject"] for line in logs if line["log_level"] == "error"] == ["up.1"]


def test_nothing_is_published_over_a_connection_that_has_ended(broker: Broker):
    async def story() -> None:
        async with hearing(broker) as client:
            pass
        with pytest.raises(ConnectionClosedError):
            await client.publish_all([("up.1", b"1")])
        await publish_all(client, [("up.1", b"1")])  # for whoever does not care

    asyncio.run(story())
