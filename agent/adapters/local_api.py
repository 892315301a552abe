"""Questions to the running agent over a Unix socket in its state directory.

    client:  one line, the question: a word, and for some a space and a JSON object (docs/reference/agent-socket.md)
    agent:   one line of JSON, then it closes; an object with `error` where there is no answer

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

from agent.errors import AgentError, Unavailable
from agent.wire.errors import WireError

ASK_TIMEOUT_S = 5.0
MAX_QUESTION_BYTES = 4096
MAX_ANSWER_BYTES = 16 * 1024 * 1024

Answer = Callable[[bytes], Awaitable[bytes]]
"""Takes what follows the word, "" if nothing does; may raise AgentError or WireError, which is then the answer."""


@asynccontextmanager
async def answering(path: Path, answers: Mapping[str, Answer]) -> AsyncIterator[None]:
    """Answer questions for the length of the context; the socket is for the user and group of the agent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.LimitOverrunError, ValueError):
            async with asyncio.timeout(ASK_TIMEOUT_S):
                word, _, asked = (await reader.readline()).strip().partition(b" ")
                writer.write((await _answered(answers, word.decode(errors="replace"), asked)).rstrip() + b"\n")
                await writer.drain()
        writer.close()

    with _bound(path) as listening:
        server = await asyncio.start_unix_server(serve, sock=listening, limit=MAX_QUESTION_BYTES)
        try:
            yield
        finally:
            server.close()


async def _answered(answers: Mapping[str, Answer], word: str, asked: bytes) -> bytes:
    if word not in answers:
        return _error(f"unknown question; known: {', '.join(answers)}")
    try:
        return await answers[word](asked)
    except (AgentError, WireError) as error:
        return _error(str(error))


def _error(text: str) -> bytes:
    return json.dumps({"error": text}, ensure_ascii=False).encode()


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
