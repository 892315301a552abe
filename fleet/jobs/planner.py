"""Plans of sealings, made in a process of their own: they are work for a processor, and one Python has one at a time.

    the server    where the database is, then device ids, a line each ──▶ the planner: its own connection, reads only
                  ◀── for each a length (4 bytes, big-endian) and an answer (MessagePack)

It starts when there is something to seal, and ends when nothing was asked for `IDLE_S`: an idle server does not pay for
it. It ends with its input too, and so with the server, however that ends. It yields to everything else on the machine.
"""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from fleet.core.column import ChunkError
from fleet.errors import Busy
from fleet.garbage import spare_collections
from fleet.store import seal
from fleet.store.engine import parse_url, reader_engine, translate
from fleet.store.seal import Plan

IDLE_S = 30.0
END_S = 2.0  # from the end of its input to SIGKILL
NICE = 10
NAME = "fleet-planner"  # at most 15 characters: the kernel's limit

_LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True)
class _Answer:
    """A plan, None where there is nothing to seal; or what went wrong."""

    plan: Plan | None = None
    damaged: str = ""  # a chunk cannot be read
    busy: str = ""  # the database did not answer


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Answer)


class Planner:
    """The server's side. `async with Planner.of(url) as planner`."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._child: Process | None = None
        self._turn = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None

    @classmethod
    @asynccontextmanager
    async def of(cls, url: URL) -> AsyncIterator["Planner"]:
        """Make plans for the database at `url`; the process ends with the block."""
        planner = cls(url)
        try:
            yield planner
        finally:
            planner._rest()
            await planner._end()

    async def plan(self, device_id: str) -> Plan | None:
        """Plan to seal the device's oldest batches, as `seal.plan` does; raises ChunkError, and Busy."""
        async with self._turn:
            self._rest()
            try:
                answer = await self._ask(device_id)
            except BaseException:  # cancelled half way, too: what it answers next would be taken for another's
                await self._end()
                raise
            self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._close)
        if answer.damaged:
            raise ChunkError(answer.damaged)
        if answer.busy:
            raise Busy(answer.busy, retry_after_s=5)
        return answer.plan

    async def _ask(self, device_id: str) -> _Answer:
        child = self._child
        if child is None or child.returncode is not None or child.stdin is None or child.stdin.is_closing():
            await self._end()
            child = self._child = await self._start()
        if child.stdin is None or child.stdout is None:
            raise Busy("the planner of sealings has no pipes", retry_after_s=5)
        try:
            child.stdin.write(_line(device_id))
            await child.stdin.drain()
            length = int.from_bytes(await child.stdout.readexactly(_LENGTH_BYTES))
            return _decoder.decode(await child.stdout.readexactly(length))
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Busy(f"the planner of sealings ended while it planned {device_id}", retry_after_s=5) from error

    async def _start(self) -> Process:
        command = (sys.executable, "-P", "-m", "fleet.jobs.planner")
        child = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, start_new_session=True)
        if child.stdin is not None:
            child.stdin.write(_line(self._url.render_as_string(hide_password=False)))
        return child

    def _rest(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _close(self) -> None:
        """End its input: it ends by itself."""
        if self._child is not None and self._child.stdin is not None:
            self._child.stdin.close()

    async def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        if child.stdin is not None:
            child.stdin.close()
        try:
            async with asyncio.timeout(END_S):
                await child.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()


def _line(text: str) -> bytes:
    return json.dumps(text).encode() + b"\n"


def main() -> None:
    """Be the planner."""
    os.nice(NICE)
    spare_collections()
    with suppress(OSError):  # for those who look at processes
        Path("/proc/self/comm").write_text(NAME)
    engine = reader_engine(parse_url(json.loads(sys.stdin.readline())), size=1, overflow=0)
    for line in sys.stdin:
        try:
            with engine.connect() as conn:
                answer = _Answer(seal.plan(conn, json.loads(line)))
        except ChunkError as error:
            answer = _Answer(damaged=str(error))
        except DBAPIError as error:
            answer = _Answer(busy=str(translate(error)))
        told = _encoder.encode(answer)
        try:
            sys.stdout.buffer.write(len(told).to_bytes(_LENGTH_BYTES) + told)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            os._exit(0)  # the server is gone, and so is whoever would read why


if __name__ == "__main__":
    main()
