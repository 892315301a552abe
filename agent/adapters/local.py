"""Questions to the running agent over a Unix socket in its state directory.

    client:  one line, the question (`status`, `config`)
    agent:   one line of JSON, then it closes

Nothing is written to disk to be asked, and a socket that nobody answers means that no agent runs. The socket's path
goes through /proc/self/fd, so a state directory may lie as deep as it likes (sun_path holds 107 bytes).
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from agent.errors import Unavailable

ASK_TIMEOUT_S = 5.0
MAX_QUESTION_BYTES = 256
MAX_ANSWER_BYTES = 16 * 1024 * 1024

Answer = Callable[[], Awaitable[bytes]]


@asynccontextmanager
async def answering(path: Path, answers: Mapping[str, Answer]) -> AsyncIterator[None]:
    """Answer questions for the length of the context; the socket is for the user and group of the agent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.LimitOverrunError, ValueError):
            async with asyncio.timeout(ASK_TIMEOUT_S):
                question = (await reader.readline()).decode(errors="replace").strip()
                answer = answers.get(question)
                known = json.dumps({"error": f"unknown question; known: {', '.join(answers)}"}).encode()
                writer.write((known if answer is None else await answer()).rstrip() + b"\n")
                await writer.drain()
        writer.close()

    with _bound(path) as listening:
        server = await asyncio.start_unix_server(serve, sock=listening, limit=MAX_QUESTION_BYTES)
        try:
            yield
        finally:
            server.close()


def ask(path: Path, question: str) -> bytes:
    """Ask the running agent; returns JSON. Raises Unavailable if none answers."""
    answer = bytearray()
    try:
        with _reachable(path) as address, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as it:
            it.settimeout(ASK_TIMEOUT_S)
            it.connect(address)
            it.sendall(question.encode() + b"\n")
            while (part := it.recv(65536)) and len(answer) < MAX_ANSWER_BYTES:
                answer += part
    except OSError as error:
        raise Unavailable(f"No agent answers on {path}: {error.strerror or error}.") from error
    return bytes(answer)


@contextmanager
def _bound(path: Path) -> Iterator[socket.socket]:
    path.unlink(missing_ok=True)  # of an agent that was killed; the lock says that none runs
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with _reachable(path) as address:
            listening.bind(address)
        path.chmod(0o660)
        yield listening
    finally:
        listening.close()
        path.unlink(missing_ok=True)


@contextmanager
def _reachable(path: Path) -> Iterator[str]:
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)
