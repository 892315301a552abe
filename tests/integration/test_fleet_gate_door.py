"""The gateway's door on a real port: who comes to a handshake, and who is sent away before."""

import asyncio
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from gate import until

from fleet.gateway import door
from fleet.gateway.ca import load_authority
from fleet.gateway.door import Door
from fleet.gateway.listen import device_context

HELLO = b"hello\n"


class Greeting(asyncio.Protocol):
    """Says hello to whoever came through the handshake."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(HELLO)
        transport.close()


@asynccontextmanager
async def opened(folder: Path, connections: Sequence[int] = (0,)) -> AsyncIterator[int]:
    """Open a door, with so many connections open beside those it lets in; yields its port."""
    authority = load_authority(folder, datetime.now(UTC))
    certificate, _ = authority.server_certificate(("127.0.0.1",), datetime.now(UTC))
    authority.publish()
    context = device_context(certificate, authority.ca_path)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)  # noqa: FBT003 - the socket's own signature
        one = Door(listening, context, Greeting, lambda: connections[0])
        try:
            yield listening.getsockname()[1]
        finally:
            one.close()


async def greeted(port: int) -> bytes:
    """Connect with TLS; returns what was said, nothing where the connection ended before."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    except OSError:
        return b""
    said = await reader.read()
    writer.transport.abort()
    return said


@asynccontextmanager
async def silent(port: int, count: int) -> AsyncIterator[None]:
    """Connect and say nothing, so that handshakes are under way."""
    writers = [(await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(count)]
    try:
        yield
    finally:
        for one in writers:
            one.close()
            await one.wait_closed()


async def until_accepted(count: int) -> None:
    async def holds() -> bool:
        return sum(task.get_name() == "handshake" for task in asyncio.all_tasks()) >= count

    await until(holds, "all were accepted")


def test_everybody_is_let_in_while_the_loop_keeps_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(door, "BEHIND_S", 60.0)  # whatever else this machine does

    async def story() -> bytes:
        async with opened(tmp_path) as port, silent(port, door.MAX_WHILE_BEHIND + 1):
            await until_accepted(door.MAX_WHILE_BEHIND + 1)
            return await greeted(port)

    assert asyncio.run(story()) == HELLO


def test_while_the_loop_is_behind_only_a_few_are_let_in_and_the_others_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(door, "BEHIND_S", -1.0)  # it always is

    async def story() -> tuple[bool, bytes]:
        async with opened(tmp_path) as port:
            async with silent(port, door.MAX_WHILE_BEHIND):
                await until_accepted(door.MAX_WHILE_BEHIND)
                one = asyncio.create_task(greeted(port))
                await asyncio.wait({one}, timeout=0.5)
                was_let_in = one.done()
            return was_let_in, await one

    assert asyncio.run(story()) == (False, HELLO)


def test_beyond_the_connections_that_there_may_be_one_waits_for_another_to_end(tmp_path: Path):
    async def story() -> tuple[bool, bytes]:
        connections = [door.MAX_CONNECTIONS]
        async with opened(tmp_path, connections) as port:
            one = asyncio.create_task(greeted(port))
            await asyncio.wait({one}, timeout=0.5)
            was_let_in = one.done()
            connections[0] -= 1
            return was_let_in, await one

    assert asyncio.run(story()) == (False, HELLO)


def test_who_gave_up_while_waiting_costs_no_handshake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    begun = []
    enter = Door._enter  # noqa: SLF001 - to count what it begins
    monkeypatch.setattr(Door, "_enter", lambda self, plain: begun.append(plain) or enter(self, plain))

    async def story() -> bytes:
        connections = [door.MAX_CONNECTIONS]
        async with opened(tmp_path, connections) as port:
            async with silent(port, 5):
                pass
            connections[0] = 0
            return await greeted(port)

    assert asyncio.run(story()) == HELLO
    assert len(begun) == 1


def test_a_peer_that_speaks_no_tls_takes_nothing_down(tmp_path: Path):
    async def story() -> tuple[bytes, bytes]:
        async with opened(tmp_path) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n" * 50)
            refused = await reader.read()
            writer.transport.abort()
            return refused, await greeted(port)

    refused, said = asyncio.run(story())

    assert refused[:1] in (b"", b"\x15")  # nothing, or a TLS alert (RFC 8446, record type 21)
    assert said == HELLO


def test_a_port_is_served_again_after_the_descriptors_ran_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(door, "REST_S", 0.05)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def story() -> bytes:
        async with opened(tmp_path) as port:
            with socket.socket() as plain:
                plain.setblocking(False)  # noqa: FBT003 - the socket's own signature
                await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
                resource.setrlimit(resource.RLIMIT_NOFILE, (plain.fileno() + 1, hard))
                try:
                    await asyncio.sleep(3 * door.REST_S)
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            return await greeted(port)

    assert asyncio.run(story()) == HELLO
