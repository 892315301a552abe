"""The link for real: nats-server, mutual TLS, MQTT clients that mean well and that do not."""

import asyncio
import os
import secrets
import signal
import ssl
from contextlib import suppress
from pathlib import Path

import aiomqtt
import pytest
from gate import Device, Gate, packet, publish, running, until

from agent.adapters.mqtt import TIMEOUT_S
from agent.wire.codec import decode, encode
from agent.wire.messages import Birth, ConfigDocument, Live, Newest, Watch, Will
from agent.wire.topics import Down, Up, down, up
from fleet.gateway import ingest
from fleet.gateway.broker import Access, Broker

CUT_S = 5.0


def test_a_batch_over_the_link_is_acked_after_it_is_stored(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as gate:
            device = await gate.enrol()
            async with device.linked() as client:
                ack = await device.send(client, device.batch(1.5, 2.5))

            latest = await gate.get(f"/devices/{device.id}/latest")

            assert ack.acked_seq == 1
            assert ack.refused is None
            assert ack.link_port == gate.ports["link"]
            assert latest["board.temp"]["v"] == 2.5

    asyncio.run(story())


def test_presence_follows_the_link_and_a_broken_one_is_told_by_its_will(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as gate:
            device = await gate.enrol()
            before = await device.presence()
            async with device.raw(Will(7)) as (_, writer):
                born = Birth(1, 7, 1_780_000_000_000_000, "boot-1", "0.1.0")
                writer.write(publish(up(device.id, Up.BIRTH), encode(born)))
                await until(_is(device, "online"), "online after birth")
            await until(_is(device, "late"), "late after the will")

            assert before == "never"

    asyncio.run(story())


def test_a_second_device_can_neither_speak_nor_listen_as_the_first(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as gate:
            first, second = await gate.enrol(), await gate.enrol()
            refused = []
            async with first.linked() as victim, second.mqtt() as client:
                for topic in (f"fleet/{first.id}/down/#", "fleet/+/down/ack", "fleet/#", "#", "$SYS/#", "$MQTT/#"):
                    for qos in (0, 1):
                        (code,) = await client.subscribe(topic, qos=qos)
                        refused.append(code.is_failure)
                for topic in (up(first.id, Up.BATCH), down(first.id, Down.CONFIG), "$SYS/REQ/USER/AUTH"):
                    await client.publish(topic, first.batch(), qos=0)
                    await client.publish(topic, first.batch(), qos=1)
                acked = (await first.send(victim, _again(first))).acked_seq

            assert all(refused)
            assert acked == 1
            assert (await second.presence()) == "never"

    asyncio.run(story())


def test_a_device_hears_only_what_is_said_to_it(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as gate:
            first, second = await gate.enrol(), await gate.enrol()
            async with first.linked() as one, second.linked() as other:
                await first.send(one, first.batch())
                await second.send(other, second.batch())

                assert other.messages is not None
                assert [message.topic.value for message in _queued(other)] == []

    asyncio.run(story())


def test_another_devices_client_id_does_not_end_its_session(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as gate:
            first, second = await gate.enrol(), await gate.enrol()
            async with first.linked() as client:
                with pytest.raises(aiomqtt.MqttError):
                    async with second.mqtt(client_id=first.id):
                        pass

                assert (await first.send(client, first.batch())).acked_seq == 1

    asyncio.run(story())


def test_without_a_certificate_of_this_fleet_nobody_gets_further_than_tls(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path / "one") as gate, running(tmp_path / "other") as foreign:
            stranger = await foreign.enrol()
            context = ssl.create_default_context(cafile=str(gate.ca))
            shown = ssl.create_default_context(cafile=str(gate.ca))
            shown.load_cert_chain(stranger.pem)

            assert await _tls_ends(gate, context)
            assert await _tls_ends(gate, shown)

    asyncio.run(story())


def test_a_revoked_device_is_cut_within_seconds_and_stays_out(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as gate:
            device, other = await gate.enrol(), await gate.enrol()
            async with other.linked() as bystander:
                async with device.linked() as client:
                    await device.send(client, device.batch())
                    await gate.post(f"/devices/{device.id}/revoke", reason="sold")
                    cut_s = await device.lost(client)
                with pytest.raises(aiomqtt.MqttError):
                    async with device.mqtt():
                        pass

                assert (await other.send(bystander, other.batch())).acked_seq == 1
            assert cut_s < CUT_S
            assert (await device.sync(device.batch())).status_code == 403

    asyncio.run(story())


def test_a_config_that_is_set_reaches_a_connected_device_at_once(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path, sync_every_s=3600) as gate:
            device = await gate.enrol()
            async with device.linked() as client:
                await until(_is(device, "online"), "online after birth")
                await gate.post("/configs", device=device.id, toml="flush_s = 2.0\n")

                document = decode(ConfigDocument, await device.hear(client, Down.CONFIG))

                assert document.toml == "flush_s = 2.0\n"

    asyncio.run(story())


def test_live_readings_reach_whoever_watches(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as gate:
            device = await gate.enrol()
            async with device.linked() as client, gate.api() as api:
                await until(_is(device, "online"), "online after birth")
                async with api.stream("GET", "/stream", params={"device": device.id, "live": 1}) as stream:
                    assert decode(Watch, await device.hear(client, Down.WATCH)).seconds > 0
                    for t_us, v in ((10**300, "1"), (5, "1e999"), (5, '"\\ud800"')):
                        reading = f'{{"name":"board.temp","unit":"","t_us":{t_us},"v":{v}}}'
                        await client.publish(up(device.id, Up.LIVE), f'{{"readings":[{reading}]}}'.encode())
                    live = Live((Newest("board.temp", "Cel", 1_780_000_000_000_000, 21.25),))
                    await client.publish(up(device.id, Up.LIVE), encode(live))
                    async with asyncio.timeout(20):
                        async for line in stream.aiter_lines():
                            if "21.25" in line:
                                break

    asyncio.run(story())


def test_hostile_payloads_are_answered_or_ignored_and_the_link_goes_on(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as gate:
            device = await gate.enrol()
            async with device.linked() as client:
                for leaf in (Up.BIRTH, Up.WILL, Up.LIVE):
                    for payload in (b"", b"\x00\xff", b"[]", b'{"connection":"x"}', secrets.token_bytes(60_000)):
                        await client.publish(up(device.id, leaf), payload)
                for connection, boot_id in ((2**70, "boot-1"), (7, "\\ud800")):
                    born = (
                        f'{{"version":1,"connection":{connection},"t_us":5,"boot_id":"{boot_id}","agent_version":"1"}}'
                    )
                    await client.publish(up(device.id, Up.BIRTH), born.encode())
                random = await device.send(client, secrets.token_bytes(900_000))
                good = await device.send(client, device.batch())

            alarms = await gate.get(f"/alarms?device={device.id}")

            assert random.acked_seq is None
            assert random.refused is not None
            assert random.refused.quarantined
            assert good.acked_seq == 1
            assert [alarm["rule"] for alarm in alarms["items"]] == ["fleet.quarantine"]

    asyncio.run(story())


def test_what_the_fleet_has_no_room_for_is_dropped_and_taken_when_it_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ingest, "MAX_TAKING_BYTES", 20_000)

    async def story() -> None:
        async with running(tmp_path) as gate:
            device = await gate.enrol()
            async with device.linked() as client:
                await client.publish(up(device.id, Up.BATCH), secrets.token_bytes(30_000))
                batch = device.batch()
                ack = await device.send(client, batch)
                again = await device.send(client, batch)

            kept = await gate.get("/quarantine")

            assert (ack.acked_seq, again.acked_seq) == (1, 1)
            assert ack.refused is None
            assert kept["items"] == []

    asyncio.run(story())


def test_a_message_beyond_the_brokers_limit_ends_that_connection_alone(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as gate:
            device, other = await gate.enrol(), await gate.enrol()
            async with other.linked() as bystander:
                async with device.raw(Will(1)) as (reader, writer):
                    writer.write(publish(up(device.id, Up.BATCH), bytes(3_000_000)))
                    with suppress(ConnectionError, ssl.SSLError):
                        await writer.drain()
                        async with asyncio.timeout(20):
                            assert await reader.read() == b""

                assert (await other.send(bystander, other.batch())).acked_seq == 1

    asyncio.run(story())


def test_retained_messages_and_kept_sessions_change_nothing(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as gate:
            device = await gate.enrol()
            async with device.mqtt(clean_session=False) as client:
                await client.subscribe(f"fleet/{device.id}/down/#", qos=1)
                await client.publish(up(device.id, Up.BATCH), device.batch(), qos=1, retain=True)
                await device.hear(client, Down.ACK)
            async with device.linked() as client:
                ack = await device.send(client, device.batch())

                assert ack.acked_seq == 2
                assert _queued(client) == []

    asyncio.run(story())


def test_a_killed_broker_is_restarted_and_devices_use_the_second_road_meanwhile(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as gate:
            device = await gate.enrol()
            async with device.linked() as client:
                await device.send(client, device.batch())
                before = gate.broker_pid()
                os.kill(before, signal.SIGKILL)
                meanwhile = await device.sync(device.batch())
                await device.lost(client)
            await until(_listens(gate, before), "another broker listens")
            again = await _link_again(device)

            assert meanwhile.status_code == 200
            assert meanwhile.json()["acked_seq"] == 2
            assert again == 3

    asyncio.run(story())


def test_a_device_that_comes_before_anybody_answers_the_broker_is_not_kept_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async def story() -> None:
        async with running(tmp_path) as gate:
            device = await gate.enrol()
            asked = asyncio.Event()
            access = Broker.access

            async def late(broker: Broker) -> Access:
                found = await access(broker)
                await asked.wait()
                return found

            before = gate.broker_pid()
            monkeypatch.setattr(Broker, "access", late)
            os.kill(before, signal.SIGKILL)
            await until(_listens(gate, before), "another broker listens")
            reader, writer = await asyncio.open_connection("127.0.0.1", gate.ports["link"], ssl=device.tls())
            writer.write(
                packet(0x10, b"\x00\x04MQTT\x04\x02\x00\x3c" + len(device.id).to_bytes(2, "big") + device.id.encode())
            )
            await asyncio.sleep(0.5)  # the broker asks, and nobody is there
            asked.set()
            async with asyncio.timeout(CUT_S):
                assert await reader.read() == b""
            writer.transport.abort()

            assert await _link_again(device) == 1

    asyncio.run(story())


@pytest.mark.parametrize(("told", "cores"), [({}, "2"), ({"GOMAXPROCS": "3"}, "3")], ids=["by itself", "as told"])
def test_the_broker_leaves_half_of_the_cores_to_the_fleet_unless_it_is_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: dict[str, str], cores: str
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(5)))
    monkeypatch.delenv("GOMAXPROCS", raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)

    async def story() -> None:
        async with running(tmp_path) as gate:
            assert _environment(gate.broker_pid())["GOMAXPROCS"] == cores

    asyncio.run(story())


def _environment(pid: int) -> dict[str, str]:
    named = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(one.split("=", 1) for one in named if one)


async def _link_again(device: Device) -> int | None:
    """Connect as soon as the fleet answers the new broker, and send the next batch.

    It gives up as an agent does: aiomqtt does not hear that a connection ended before it was let in.
    """
    payload = device.batch()
    async with asyncio.timeout(30):
        while True:
            try:
                async with device.linked(connection=2, timeout_s=TIMEOUT_S) as client:
                    return (await device.send(client, payload)).acked_seq
            except aiomqtt.MqttError:
                await asyncio.sleep(0.1)


def _listens(gate: Gate, other_than: int):  # noqa: ANN202 - a condition
    async def holds() -> bool:
        return gate.broker_pid() not in (0, other_than)

    return holds


def _is(device: Device, presence: str):  # noqa: ANN202 - a condition
    async def holds() -> bool:
        return await device.presence() == presence

    return holds


def _again(device: Device) -> bytes:
    """The device's first batch, with the number that it would have if nobody had spoken for it."""
    device.seq = 0
    return device.batch()


def _queued(client: aiomqtt.Client) -> list[aiomqtt.Message]:
    found = []
    while len(client.messages):
        found.append(client._queue.get_nowait())  # noqa: SLF001 - there is no public look at what waits
    return found


async def _tls_ends(gate: Gate, context: ssl.SSLContext) -> bool:
    """Tell whether the broker closes before it answers an MQTT CONNECT."""
    connect = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02d1"
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.ports["link"], ssl=context)
    except ssl.SSLError:
        return True
    try:
        writer.write(connect)
        await writer.drain()
        return await reader.read(4) == b""
    except (ssl.SSLError, ConnectionError):
        return True
    finally:
        writer.transport.abort()
