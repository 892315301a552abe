"""Doctor: what is right with the server and its data and what is not, and what to do about it."""

import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from fleet.api.access import Admin, Given
from fleet.api.problem import responses
from fleet.api.reading import NDJSON
from fleet.core.finding import Finding, ok, warn
from fleet.services import Services
from fleet.store.examine.run import examine

router = APIRouter(tags=["health"])

MAX_TIME_US = 2**62
CLOCK_SLACK_US = 10_000_000  # between two clocks, the way between them included


@router.get(
    "/doctor",
    response_class=StreamingResponse,
    responses={
        **responses(401, 403, 422),
        200: {
            "description": "A finding a line, as it is found: check, level (ok, warn, fail), said, do, device.",
            "content": {NDJSON: {"schema": {"type": "string"}}},
        },
    },
)
async def get_findings(
    services: Given,
    _caller: Admin,
    *,
    deep: Annotated[bool, Query(description="Look into every reading, instead of a sample of devices.")] = False,
    caller_us: Annotated[int | None, Query(ge=0, le=MAX_TIME_US, description="What time the caller has, µs.")] = None,
) -> StreamingResponse:
    """Check the server and its data. It looks and changes nothing, and may take long where there is much."""
    return StreamingResponse(_lines(services, caller_us, deep=deep), media_type=NDJSON)


async def _lines(services: Services, caller_us: int | None, *, deep: bool) -> AsyncIterator[str]:
    now_us = services.now_us()
    for finding in [*_clock(now_us, caller_us), *await services.condition()]:
        yield _line(finding)
    async for finding in examine(services.db, now_us=now_us, deep=deep, jobs=services.jobs):
        yield _line(finding)


def _clock(now_us: int, caller_us: int | None) -> list[Finding]:
    if caller_us is None:
        return []
    ahead_s = (now_us - caller_us) / 1e6
    if abs(now_us - caller_us) <= CLOCK_SLACK_US:
        return [ok("clock", f"The server's and yours differ by {abs(ahead_s):.1f} s.")]
    said = f"The server's clock is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} yours."
    return [warn("clock", said, "One of the two is wrong: see `timedatectl` on both, and switch time service on.")]


def _line(finding: Finding) -> str:
    said = asdict(finding)
    said["device"] = said.pop("device_id")
    return json.dumps(said, ensure_ascii=False) + "\n"
