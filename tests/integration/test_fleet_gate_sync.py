"""The second road for real: uvicorn, mutual TLS, and bodies of all kinds."""

import asyncio
import secrets
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from gate import Gate, json_of, running, until
from starlette.requests import Request

from agent.wire.limits import MAX_BATCH_BYTES
from fleet.gateway import door, peer, sync
from fleet.gateway.body import read_body


def test_a_batch_is_acked_and_stored_for_the_device_of_the_certificate(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as gate:
            first, second = await gate.enrol(), await gate.enrol()
            answer = await first.sync(first.batch(1.0, 2.0))

            assert answer.status_code == 200
            assert answer.json()["acked_seq"] == 1
            assert await first.presence() == "online"
            assert await second.presence() == "never"

    asyncio.run(story())


def test_without_a_certificate_only_enrolment_is_open(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as gate, gate.anonymous() as nobody:
            refused = await nobody.post("/v1/sync", content=b"x")
            roots = await nobody.get("/.well-known/est/cacerts")
            elsewhere = await nobody.get("/api/v1/devices")

            assert (refused.status_code, json_of(refused)["type"]) == (401, "/problems/certificate-required")
            assert roots.status_code == 200
            assert elsewhere.status_code == 404
            assert elsewhere.headers["content-type"] == "application/problem+json"

    asyncio.run(story())


def test_a_certificate_of_another_fleet_gets_no_further_than_tls(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path / "one") as gate, running(tmp_path / "other") as foreign:
            stranger = await foreign.enrol()
            context = ssl.create_default_context(cafile=str(gate.ca))
            context.load_cert_chain(stranger.pem)
            with pytest.raises(httpx.TransportError):
                async with httpx.AsyncClient(base_url=gate.gateway, verify=context) as client:
                    await client.post("/v1/sync", content=b"x")

    asyncio.run(story())


def test_a_revoked_device_is_refused_on_its_next_request_even_on_an_open_connection(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as gate:
            device = await gate.enrol()
            async with device.https() as client:
                before = await client.post("/v1/sync", content=device.batch())
                await gate.post(f"/devices/{device.id}/revoke")
                after = await client.post("/v1/sync", content=device.batch())
            said = json_of(after)

            assert before.status_code == 200
            assert (after.status_code, said["type"]) == (403, "/problems/certificate-revoked")
            assert device.id in said["detail"]
            assert said["hint"]

    asyncio.run(story())


def test_bytes_that_nobody_can_read_are_answered_kept_and_alarmed(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as gate:
            device = await gate.enrol()
            answer = await device.sync(secrets.token_bytes(5000))
            good = await device.sync(device.batch())
            alarms = await gate.get(f"/alarms?device={device.id}")

            assert answer.status_code == 200
            assert answer.json()["refused"]["quarantined"] is True
            assert good.json()["acked_seq"] == 1
            assert [alarm["rule"] for alarm in alarms["items"]] == ["fleet.quarantine"]

    asyncio.run(story())


def test_a_body_beyond_the_limit_is_refused_before_it_is_read_and_while_it_is(tmp_path: Path):
    async def pieces(size: int):  # noqa: ANN202 - an iterator of bytes
        for _ in range(size // 65536):
            yield bytes(65536)

    async def story() -> None:
        async with running(tmp_path) as gate:
            device = await gate.enrol()
            async with device.https() as client:
                told = await client.post("/v1/sync", content=bytes(MAX_BATCH_BYTES + 1))
                streamed = await client.post("/v1/sync", content=pieces(3_000_000))
            huge = await _first_line(gate, device.tls(), 100_000_000)
            most = await device.sync(bytes(MAX_BATCH_BYTES))

            assert (told.status_code, json_of(told)["type"]) == (413, "/problems/too-large")
            assert streamed.status_code == 413
            assert huge.startswith(b"HTTP/1.1 413 ")
            assert most.status_code == 200
            assert (await device.sync(device.batch())).json()["acked_seq"] == 1

    asyncio.run(story())


def test_beyond_what_runs_at_once_devices_are_told_when_to_come_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sync, "MAX_SYNCS", 0)

    async def story() -> None:
        async with running(tmp_path) as gate:
            device = await gate.enrol()
            answer = await device.sync(device.batch())

            assert (answer.status_code, json_of(answer)["type"]) == (503, "/problems/busy")
            assert int(answer.headers["retry-after"]) >= 1

    asyncio.run(story())


def test_a_device_that_never_ends_its_bodies_holds_its_own_places_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    reading: list[Request] = []

    async def noted(request: Request, limit: int) -> bytes:
        reading.append(request)
        return await read_body(request, limit)

    monkeypatch.setattr(sync, "read_body", noted)

    async def story() -> None:
        async with running(tmp_path) as gate:
            slow, other = await gate.enrol(), await gate.enrol()
            go_on = asyncio.Event()

            async def drip() -> AsyncIterator[bytes]:
                payload = slow.batch()
                yield payload[:10]
                await go_on.wait()
                yield payload[10:]

            async def are_held() -> bool:
                return len(reading) == 4

            async with slow.https() as client:
                held = [asyncio.create_task(client.post("/v1/sync", content=drip())) for _ in range(4)]
                await until(are_held, "four bodies of one device are being read")
                refused = await slow.sync(slow.batch())
                answer = await other.sync(other.batch())
                go_on.set()
                ended = await asyncio.gather(*held)

            assert refused.status_code == 503
            assert json_of(refused)["detail"].startswith(slow.id)
            assert int(refused.headers["retry-after"]) >= 1
            assert answer.status_code == 200
            assert [one.status_code for one in ended] == [200] * 4
            assert (await slow.sync(slow.batch())).status_code == 200

    asyncio.run(story())


def test_where_connections_are_many_an_idle_one_makes_room_for_who_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(door, "MAX_CONNECTIONS", 1)
    monkeypatch.setattr(peer, "MANY", 0)

    async def story() -> None:
        async with running(tmp_path) as gate, gate.anonymous() as one, gate.anonymous() as two:
            first = await one.get("/.well-known/est/cacerts")
            second = await two.get("/.well-known/est/cacerts")

            assert (first.status_code, second.status_code) == (200, 200)

    asyncio.run(story())


def test_a_request_that_is_never_finished_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(peer, "REQUEST_S", 0.5)

    async def story() -> None:
        async with running(tmp_path) as gate:
            context = ssl.create_default_context(cafile=str(gate.ca))
            reader, writer = await asyncio.open_connection("127.0.0.1", gate.ports["gateway"], ssl=context)
            writer.write(b"POST /v1/sync HTTP/1.1\r\nHost: x\r\n")
            start = time.monotonic()
            async with asyncio.timeout(20):
                left = await reader.read()
            writer.transport.abort()

            assert left == b""
            assert time.monotonic() - start >= 0.4

    asyncio.run(story())


async def _first_line(gate: Gate, context: ssl.SSLContext, length: int) -> bytes:
    """Announce a body of this length, send none of it, and return the answer's first line."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.ports["gateway"], ssl=context)
    try:
        writer.write(f"POST /v1/sync HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
        async with asyncio.timeout(20):
            return await reader.readline()
    finally:
        writer.transport.abort()
