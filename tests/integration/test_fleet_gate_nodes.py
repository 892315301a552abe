"""Two nodes with their brokers on one PostgreSQL: one root, and a device that is reached whichever node it hangs on."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from gate import PATIENCE_S, Gate, running, until

from agent.wire.codec import encode
from agent.wire.messages import Live, Newest
from agent.wire.topics import Down, Up, up
from fleet.errors import Misconfigured
from fleet.gateway import peers
from fleet.store import follow

pytest_plugins = ("databases",)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.key"
    path.write_text(base64.b64encode(bytes(range(32))).decode() + "\n")
    return path


@asynccontextmanager
async def node(folder: Path, url: str, key: Path) -> AsyncIterator[Gate]:
    cluster = {"cluster_key": key, "cluster_host": "127.0.0.1", "cluster_port": 0}
    async with running(folder, database=url, **cluster) as gate:
        yield gate


@asynccontextmanager
async def two(tmp_path: Path, url: str, key: Path) -> AsyncIterator[tuple[Gate, Gate]]:
    """Run two nodes that have found each other; the second has the first one's token."""
    async with node(tmp_path / "a", url, key) as first, node(tmp_path / "b", url, key) as second:
        (second.data / "admin.token").write_text((first.data / "admin.token").read_text())

        async def both() -> bool:
            return len([one for one in (await second.get("/nodes"))["items"] if one["up"]]) == 2

        await until(both, "both nodes are up")
        yield first, second


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "BEAT_S", 0.1)
    monkeypatch.setattr(peers, "AGAIN_S", 0.1)


def test_nodes_that_start_at_once_have_one_root_and_one_first_token(
    tmp_path: Path, bare_postgresql_url: str, key: Path
):
    async def story() -> list[Gate]:
        async def one(name: str) -> Gate:
            async with node(tmp_path / name, bare_postgresql_url, key) as gate:
                return gate

        return await asyncio.gather(one("a"), one("b"), one("c"))

    gates = asyncio.run(story())

    assert len({gate.ca.read_text() for gate in gates}) == 1
    assert [(gate.data / "admin.token").exists() for gate in gates].count(True) == 1
    assert not any((gate.ca.parent / "ca.key").exists() for gate in gates)


def test_a_server_that_becomes_the_first_node_keeps_its_root(tmp_path: Path, postgresql_url: str, key: Path):
    async def story() -> tuple[str, str]:
        async with running(tmp_path / "a", database=postgresql_url) as alone:
            before = alone.ca.read_text()
        async with node(tmp_path / "a", postgresql_url, key), node(tmp_path / "b", postgresql_url, key) as second:
            return before, second.ca.read_text()

    before, after = asyncio.run(story())

    assert before == after


@pytest.mark.parametrize("wrong", ["no key", "another key", "another root"])
def test_a_server_that_does_not_belong_says_so_at_its_start(tmp_path: Path, postgresql_url: str, key: Path, wrong: str):
    other = tmp_path / "other.key"
    other.write_text(base64.b64encode(bytes(32)).decode())

    async def story() -> None:
        async with node(tmp_path / "a", postgresql_url, key):
            pass
        if wrong == "no key":
            async with running(tmp_path / "b", database=postgresql_url):
                pass
        if wrong == "another root":
            async with running(tmp_path / "b"):
                pass
        async with node(tmp_path / "b", postgresql_url, other if wrong == "another key" else key):
            pass

    with pytest.raises(Misconfigured) as refused:
        asyncio.run(story())

    expected = {"no key": "shared by several nodes", "another key": "not the one", "another root": "another root"}
    assert expected[wrong] in refused.value.message
    assert refused.value.hint


def test_live_readings_are_seen_at_whichever_node_the_device_does_not_hang_on(
    tmp_path: Path, postgresql_url: str, key: Path
):
    live = encode(Live((Newest("board.temp", "Cel", 1_000_000, 21.5),)))

    async def story() -> dict[str, object]:
        async with two(tmp_path, postgresql_url, key) as (first, second):
            machine = await first.enrol()
            async with machine.linked() as client, second.api() as api:
                path = f"/stream?device={machine.id}&live=1"
                async with api.stream("GET", path) as stream, asyncio.timeout(PATIENCE_S):
                    await machine.hear(client, Down.WATCH)
                    lines = stream.aiter_lines()
                    sending = asyncio.create_task(again(client, up(machine.id, Up.LIVE), live))
                    try:
                        async for line in lines:
                            if line.startswith("data:") and "readings" in line:
                                found: dict[str, object] = json.loads(line[5:])["readings"][0]
                                return found
                    finally:
                        sending.cancel()
        raise AssertionError("unreachable")

    assert asyncio.run(story())["v"] == 21.5


async def again(client: object, topic: str, payload: bytes) -> None:
    while True:
        await client.publish(topic, payload)  # type: ignore[attr-defined] # aiomqtt's client
        await asyncio.sleep(0.1)


def test_what_one_node_is_told_reaches_the_device_at_the_other(
    tmp_path: Path, postgresql_url: str, key: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(follow, "LOOK_S", 300.0)  # only the hint is left

    async def story() -> tuple[bytes, float]:
        async with two(tmp_path, postgresql_url, key) as (first, second):
            machine = await first.enrol()
            async with machine.linked() as client:
                await machine.send(client, machine.batch())
                await second.post("/configs", device=machine.id, toml="# one\n")
                told = await machine.hear(client, Down.CONFIG)
                await second.post(f"/devices/{machine.id}/revoke")
                return told, await machine.lost(client)

    told, _ = asyncio.run(story())

    assert b"# one" in told


def test_a_device_goes_on_exactly_where_it_was_at_another_node(tmp_path: Path, postgresql_url: str, key: Path):
    async def story() -> list[int | None]:
        async with two(tmp_path, postgresql_url, key) as (first, second):
            machine = await first.enrol()
            batches = [machine.batch() for _ in range(3)]
            async with machine.linked() as client:
                acks = [(await machine.send(client, batches[0])).acked_seq]
            machine.gate = second
            async with machine.linked(2) as client:
                acks += [(await machine.send(client, batch)).acked_seq for batch in batches]
            rows = (await second.get(f"/devices/{machine.id}/readings?series=board.temp"))["items"]
            return [*acks, len(rows)]

    assert asyncio.run(story()) == [1, 1, 2, 3, 3]


def test_a_node_that_is_stopping_says_so_before_it_ends(tmp_path: Path, postgresql_url: str, key: Path):
    answers: list[int] = []

    async def watch(gate: Gate) -> None:
        async with gate.api() as api:
            url = str(api.base_url.copy_with(path="/healthz"))
            while 503 not in answers:
                answers.append((await api.get(url)).status_code)
                await asyncio.sleep(0.05)

    async def story() -> None:
        async with node(tmp_path / "a", postgresql_url, key) as first:
            async with node(tmp_path / "b", postgresql_url, key) as second:
                (second.data / "admin.token").write_text((first.data / "admin.token").read_text())

                async def both() -> bool:
                    return len((await second.get("/nodes"))["items"]) == 2

                await until(both, "both nodes are up")
                watching = asyncio.create_task(watch(second))
                await until(lambda: asyncio.sleep(0, bool(answers)), "it is watched")
            await watching
            left = (await first.get("/nodes"))["items"]
            assert len(left) == 1

    asyncio.run(story())

    assert answers[0] == 200
