"""Tally: how many readings are kept, and their checksum, to hold against a ledger, an export or a copy."""

import json
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from sqlalchemy import Connection

from fleet.api.access import Given, Reader
from fleet.api.page import DeviceFilter, FromTime, ToTime
from fleet.api.problem import responses
from fleet.api.reading import NDJSON, chunked, span
from fleet.store import device
from fleet.store.tally import DeviceTally, tally

router = APIRouter(tags=["readings"])


@router.get(
    "/tally",
    response_class=StreamingResponse,
    responses={
        **responses(401, 403, 404, 422, 503),
        200: {
            "description": "An object a line for every device with readings in that time.",
            "content": {NDJSON: {"schema": {"type": "string"}}},
        },
    },
)
async def get_tally(
    services: Given,
    _caller: Reader,
    *,
    device_id: Annotated[DeviceFilter, Query(alias="device")] = None,
    from_: FromTime = None,
    to: ToTime = None,
) -> StreamingResponse:
    """Count what is kept: `{"device", "series": {name: {"count", "checksum"}}}`, a line a device.

    The checksum, 16 hex digits, is the sum over all readings of (t_us + 1) · (2 · m + 1) modulo 2⁶⁴; m is the value in
    whole thousandths, the CRC-32 of a text, 0 for no value. It does not depend on the order of readings.
    """
    from_us, to_us = span(services, from_, to)
    if device_id is not None:
        await services.db.read(lambda conn: device.get(conn, device_id))

    def lines(conn: Connection) -> Iterator[str]:
        return map(_line, tally(conn, from_us, to_us, device_id))

    return StreamingResponse(await chunked(services, lines), media_type=NDJSON)


def _line(found: DeviceTally) -> str:
    series = {
        name: {"count": one.count, "checksum": f"{one.checksum:016x}"} for name, one in sorted(found.series.items())
    }
    return json.dumps({"device": found.device_id, "series": series}, separators=(",", ":")) + "\n"
