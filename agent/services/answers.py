"""The running agent's answers to programs on its machine: newest values, readings, alarms, the buffer.

Answers come from the buffer file through a reader of their own (`Lookup`), so that a long question never holds up the
thread that writes; what only the running agent knows comes from its parts.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent.core.answers import (
    MAX_LIMIT,
    VERSION,
    Alarms,
    BufferReport,
    LaneDepth,
    Latest,
    LogTail,
    Readings,
    ReadingsQuestion,
    age_s,
    alarms_of,
)
from agent.core.status import FlashStatus, LatestStatus, iso
from agent.core.store import Depth
from agent.ports import Clock
from agent.rules.rule import Rule
from agent.wire.codec import decode, encode
from agent.wire.errors import WireError
from agent.wire.messages import Lane


class Lookup(Protocol):
    """Reads the buffer file (`agent.adapters.lookup`)."""

    def readings(self, path: Path, question: ReadingsQuestion, *, running: bool) -> Readings:
        """Answer a question for readings."""

    def rule_values(self, path: Path) -> dict[str, str]:
        """Return the states of the rules as they are stored."""

    def kept_rows(self, path: Path) -> dict[str, int]:
        """Return how many rows of each lane are in the file."""

    def file_bytes(self, path: Path) -> int:
        """Return what the file takes of the disk."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What only the running agent knows."""

    latest: Callable[[], tuple[LatestStatus, ...]]
    depth: Callable[[Lane], Awaitable[Depth]]
    problem: Callable[[], str]
    log: Callable[[], Sequence[str]]
    flash: Callable[[], FlashStatus] = FlashStatus


class Answers:
    """Answers questions, as bytes of one JSON object each."""

    def __init__(self, buffer: Path, lookup: Lookup, clock: Clock, sources: Sources) -> None:
        self.rules: Sequence[Rule] = ()  # of the config that runs
        self._buffer = buffer
        self._lookup = lookup
        self._clock = clock
        self._sources = sources

    async def latest(self, _asked: bytes) -> bytes:
        """Answer with the newest reading of each series."""
        now = self._clock.now_us()
        return encode(Latest(VERSION, running=True, t_us=now, t=iso(now), items=self._sources.latest()))

    async def readings(self, asked: bytes) -> bytes:
        """Answer a ReadingsQuestion; raises WireError if it is none."""
        question = decode(ReadingsQuestion, asked or b"{}")
        if not 1 <= question.limit <= MAX_LIMIT:
            raise WireError("$.limit", f"{question.limit} is not within 1…{MAX_LIMIT}")
        found = await asyncio.to_thread(self._lookup.readings, self._buffer, question, running=True)
        return encode(found)

    async def alarms(self, _asked: bytes) -> bytes:
        """Answer with the rules that are not content."""
        values = await asyncio.to_thread(self._lookup.rule_values, self._buffer)
        now = self._clock.now_us()
        return encode(Alarms(VERSION, running=True, t_us=now, t=iso(now), items=alarms_of(values, self.rules)))

    async def buffer(self, _asked: bytes) -> bytes:
        """Answer with what is in the buffer."""
        rows = await asyncio.to_thread(self._lookup.kept_rows, self._buffer)
        lanes = [await self._lane(lane, rows[lane]) for lane in Lane]
        size = self._lookup.file_bytes(self._buffer)
        sources = self._sources
        about = (str(self._buffer), size, tuple(lanes), sources.problem(), sources.flash())
        return encode(BufferReport(VERSION, True, *about))  # noqa: FBT003 - running

    async def log(self, _asked: bytes) -> bytes:
        """Answer with the last lines of the log."""
        return encode(LogTail(VERSION, tuple(self._sources.log())))

    async def _lane(self, lane: Lane, rows: int) -> LaneDepth:
        depth = await self._sources.depth(lane)
        oldest_us = depth.oldest_us
        return LaneDepth(
            lane=lane,
            rows=depth.rows,
            bytes=depth.bytes,
            readings=depth.readings,
            oldest_us=oldest_us,
            oldest=iso(oldest_us),
            age_s=age_s(oldest_us, self._clock.now_us()),
            kept_rows=max(0, rows - depth.rows),
        )
