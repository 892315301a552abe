"""What Prometheus's HTTP API asks, answered from the fleet's telemetry: for Grafana and other clients of Prometheus.

    /api/prom/api/v1/query, query_range, series, labels, label/<name>/values, metadata, status/buildinfo, rules

The contract is Prometheus's (https://prometheus.io/docs/prometheus/latest/querying/api/), so it is not in our OpenAPI:
its answers and errors have its form, its times are seconds. What of PromQL is answered stands in `fleet.core.promql`.
"""

import base64
import binascii
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
import numpy as np
from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from sqlalchemy import Connection

from agent.wire.limits import MAX_TIME_US
from agent.wire.units import US_PER_S
from fleet.api.access import Given, Reader
from fleet.api.problem import Forbidden
from fleet.api.slots import Slots
from fleet.api.times import EPOCH
from fleet.core.label import NAME, SERIES
from fleet.core.promeval import Line
from fleet.core.promql import PromqlError, parse, parse_matchers, parse_span
from fleet.errors import Busy, FleetError, Invalid, Unauthenticated
from fleet.services import Services
from fleet.store import promql
from fleet.store.target import LABELS, STATES, Target, targets

T = TypeVar("T")

BASE = "/api/prom/api/v1"
API_VERSION = "2.42.0"  # of Prometheus, whose API this is; clients choose by it what they ask
MAX_STEPS = 11_000  # as Prometheus has it
MAX_LISTED = 20_000  # series that are named in one answer
MAX_MATCHES = 32
AT_ONCE = 2  # queries: fewer than the database has readers
MAX_WAITING = 200  # a dashboard asks a dozen at once
DEFAULT_LOOKBACK_US = 300_000_000  # as Prometheus has it
MAX_LOOKBACK_US = 86_400_000_000
HOUR_US = 3_600_000_000

_STATE_HELP = {
    STATES[0]: "1: the device is online or late; 0: it is offline or was never seen.",
    STATES[1]: "How many alarms of the device are open.",
}
_SECONDS = re.compile(r"-?\d{1,12}(\.\d+)?([eE][+-]?\d{1,2})?")


class PromRoute(APIRoute):
    """A route whose errors have the form of Prometheus's, and which takes a token as the password of basic auth too.

    Some clients of Prometheus can send nothing else.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, with errors turned."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            request.scope["headers"] = [_as_bearer(*header) for header in request.scope["headers"]]
            try:
                return await handle(Request(request.scope, request.receive))
            except PromqlError as error:
                return _error(HTTPStatus.BAD_REQUEST, "bad_data", str(error))
            except FleetError as error:
                return _answered(error)
            except RequestValidationError as error:
                return _error(HTTPStatus.BAD_REQUEST, "bad_data", str(error.errors()[0]["msg"]))

        return handled


router = APIRouter(prefix=BASE, route_class=PromRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Asked:
    """Parameters, of the query and of a form alike; a name may be said more than once."""

    pairs: Sequence[tuple[str, str]]
    now_us: int
    services: Services
    slots: Slots

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run a work of the database when it is this query's turn."""
        async with self.slots.one():
            return await self.services.db.read(work)

    def text(self, name: str, default: str | None = None) -> str:
        """Return one parameter; raises PromqlError where it is missing."""
        found = next((value for key, value in self.pairs if key == name and value), default)
        if found is None:
            raise PromqlError(f"the parameter {name} is missing")
        return found

    def time(self, name: str, default_us: int | None = None) -> int:
        """Return a time, µs: seconds since 1970, or RFC 3339."""
        said = self.text(name, "" if default_us is not None else None)
        if not said and default_us is not None:
            return default_us
        try:
            if _SECONDS.fullmatch(said):
                t_us = round(float(said) * US_PER_S)
            else:
                moment = datetime.fromisoformat(said)
                t_us = round((moment - EPOCH).total_seconds() * US_PER_S)
        except (ValueError, TypeError):
            raise PromqlError(f"{name}: {said[:64]!r} is no time; say seconds since 1970, or RFC 3339") from None
        return max(0, min(MAX_TIME_US, t_us))

    def span(self, name: str, default_us: int | None = None) -> int:
        """Return a length of time, µs: seconds, or such as 5m."""
        said = self.text(name, "" if default_us is not None else None)
        if not said and default_us is not None:
            return default_us
        return round(float(said) * US_PER_S) if _SECONDS.fullmatch(said) else parse_span(said)

    def lookback_us(self) -> int:
        """Return how old a reading may be to stand for now."""
        found = self.span("lookback_delta", DEFAULT_LOOKBACK_US)
        if not 0 < found <= MAX_LOOKBACK_US:
            raise PromqlError("lookback_delta is more than 0 and at most 1d")
        return found

    def limit(self) -> int:
        """Return how many names are wanted at most."""
        said = self.text("limit", "0")
        if not said.isascii() or not said.isdecimal() or len(said) > 9:  # noqa: PLR2004 - a number that is one
            raise PromqlError("limit is a whole number")
        return min(int(said) or MAX_LISTED, MAX_LISTED)


async def asked(request: Request, services: Given, _caller: Reader) -> Asked:
    """Read the parameters of a request, and of its form where it has one."""
    pairs = list(request.query_params.multi_items())
    if request.method == "POST":
        body = await request.body()
        try:
            pairs += parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=256)
        except ValueError:
            raise PromqlError("the body is no form of UTF-8") from None
    if any("\0" in value for _, value in pairs):
        raise PromqlError("a parameter holds a NUL")
    return Asked(pairs, services.now_us(), services, request.app.state.slots)


Query = Annotated[Asked, Depends(asked)]


@router.api_route("/query", methods=["GET", "POST"])
async def query(wanted: Query) -> Response:
    """Answer a query at one time."""
    at_us = wanted.time("time", wanted.now_us)
    times = np.array([at_us], np.int64)
    expression = parse(wanted.text("query"))
    lookback_us = wanted.lookback_us()

    def work(conn: Connection) -> dict[str, object]:
        found = promql.answer(conn, expression, times, lookback_us=lookback_us, now_us=wanted.now_us)
        if not isinstance(found, list):
            return {"resultType": "scalar", "result": _sample(at_us, found[0])}
        result = [{"metric": one.labels, "value": _sample(at_us, one.values[0])} for one in _present(found)]
        return {"resultType": "vector", "result": result}

    return _said(await wanted.read(work))


@router.api_route("/query_range", methods=["GET", "POST"])
async def query_range(wanted: Query) -> Response:
    """Answer a query at each step of a span."""
    start_us, end_us, step_us = wanted.time("start"), wanted.time("end"), wanted.span("step")
    if step_us <= 0 or end_us < start_us:
        raise PromqlError("end lies before start, or the step is not more than 0")
    if (end_us - start_us) // step_us >= MAX_STEPS:
        raise PromqlError(f"that is more than {MAX_STEPS} points a series; ask for a longer step or a shorter time")
    times = np.arange(start_us, end_us + 1, step_us, dtype=np.int64)
    expression = parse(wanted.text("query"))
    lookback_us = wanted.lookback_us()

    def work(conn: Connection) -> dict[str, object]:
        found = promql.answer(conn, expression, times, lookback_us=lookback_us, now_us=wanted.now_us)
        lines = found if isinstance(found, list) else [Line({}, found)]
        result = [{"metric": one.labels, "values": _samples(times, one)} for one in _present(lines)]
        return {"resultType": "matrix", "result": result}

    return _said(await wanted.read(work))


@router.api_route("/series", methods=["GET", "POST"])
async def series(wanted: Query) -> Response:
    """List the series that fit one of the selectors."""
    if not any(name == "match[]" for name, _ in wanted.pairs):
        raise PromqlError("no match[] parameter provided")
    found = await wanted.read(lambda conn: _named(conn, wanted))
    return _listed([one.labels for one in found], wanted.limit())


@router.api_route("/labels", methods=["GET", "POST"])
async def labels(wanted: Query) -> Response:
    """List the names of labels."""
    if not any(name == "match[]" for name, _ in wanted.pairs):
        return _said(list(LABELS))
    found = await wanted.read(lambda conn: _named(conn, wanted))
    return _listed(sorted({name for one in found for name in one.labels}), wanted.limit())


@router.get("/label/{name}/values")
async def label_values(wanted: Query, name: str) -> Response:
    """List the values that a label has."""
    found = await wanted.read(lambda conn: _named(conn, wanted))
    return _listed(sorted({one.labels[name] for one in found if name in one.labels}), wanted.limit())


@router.get("/metadata")
async def metadata(wanted: Query) -> Response:
    """Tell of each metric which series it is, and in which unit."""
    metric = wanted.text("metric", "")
    found = await wanted.read(lambda conn: _named(conn, wanted))
    told: dict[str, dict[tuple[str, str], None]] = {}
    for one in found:
        name = one.labels[NAME]
        if metric in ("", name):
            said = (_STATE_HELP.get(name) or f"The series {one.labels[SERIES]}.", one.labels.get("unit", ""))
            told.setdefault(name, {})[said] = None
    kinds = {
        name: [{"type": "gauge" if name in STATES else "unknown", "help": text, "unit": unit} for text, unit in some]
        for name, some in sorted(told.items())[: wanted.limit()]
    }
    return _said(kinds)


@router.get("/status/buildinfo")
async def buildinfo(services: Given, _wanted: Query) -> Response:
    """Say whose API this is, and who answers."""
    said = {"version": API_VERSION, "revision": f"fieldline {services.version}", "branch": "", "buildUser": ""}
    return _said({**said, "buildDate": "", "goVersion": ""})


@router.get("/rules")
async def rules(_wanted: Query) -> Response:
    """Say that there are no rules of Prometheus's here: rules are in configs."""
    return _said({"groups": []})


def _named(conn: Connection, wanted: Asked) -> list[Target]:
    """Return the series that fit one of the selectors, those of the last hour's owners if no time is said."""
    said = [value for name, value in wanted.pairs if name == "match[]"]
    if len(said) > MAX_MATCHES:
        raise PromqlError(f"match[] is said at most {MAX_MATCHES} times")
    from_us, to_us = wanted.time("start", wanted.now_us - HOUR_US), wanted.time("end", wanted.now_us)
    found: dict[tuple[str, str, int], Target] = {}
    for matchers in [parse_matchers(one) for one in said] or [()]:
        for one in targets(conn, matchers, from_us, max(to_us, from_us) + 1):
            found[one.device_id, one.series, one.tenure.from_us] = one
    return list(found.values())


def _present(lines: Sequence[Line]) -> list[Line]:
    return [one for one in lines if not np.isnan(one.values).all()]


def _samples(times: "np.ndarray[Any, np.dtype[np.int64]]", one: Line) -> list[tuple[float, str]]:
    there = np.flatnonzero(~np.isnan(one.values))
    seconds = (times[there] / US_PER_S).tolist()
    return [(t_s, _number(value)) for t_s, value in zip(seconds, one.values[there].tolist(), strict=True)]


def _sample(at_us: int, value: float) -> tuple[float, str]:
    return at_us / US_PER_S, _number(float(value))


def _number(value: float) -> str:
    if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN is not itself
        return "NaN" if value != value else "+Inf" if value > 0 else "-Inf"  # noqa: PLR0124
    return repr(value).removesuffix(".0")


def _listed(items: Sequence[object], limit: int) -> Response:
    warnings = [f"these are the first {limit} of {len(items)}"] if len(items) > limit else None
    return _said(items[:limit], warnings)


def _said(data: object, warnings: Sequence[str] | None = None) -> Response:
    answer: Mapping[str, object] = {"status": "success", "data": data}
    return Response(
        msgspec.json.encode({**answer, "warnings": warnings} if warnings else answer), media_type="application/json"
    )


def _as_bearer(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """Turn basic auth into the token that is its password; other headers stay."""
    scheme, _, said = value.partition(b" ")
    if name != b"authorization" or scheme.lower() != b"basic":
        return name, value
    try:
        return name, b"Bearer " + base64.b64decode(said, validate=True).partition(b":")[2]
    except binascii.Error:
        return name, value


def _answered(error: FleetError) -> Response:
    said = " ".join(filter(None, (f"{error.message}.", error.hint)))
    match error:
        case Unauthenticated():
            return _error(
                HTTPStatus.UNAUTHORIZED, "unauthorized", said, {"WWW-Authenticate": 'Bearer realm="fieldline"'}
            )
        case Forbidden():
            return _error(HTTPStatus.FORBIDDEN, "forbidden", said)
        case Busy():
            return _error(
                HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", said, {"Retry-After": str(error.retry_after_s)}
            )
        case Invalid():
            return _error(HTTPStatus.UNPROCESSABLE_ENTITY, "execution", said)
        case _:
            return _error(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", said)


def _error(status: HTTPStatus, kind: str, said: str, headers: Mapping[str, str] | None = None) -> Response:
    body = msgspec.json.encode({"status": "error", "errorType": kind, "error": said})
    return Response(body, status.value, headers, "application/json")
