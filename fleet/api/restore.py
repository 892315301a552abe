"""Import: telemetry from files, line by line as an export says it.

    POST /import                begin: who imports what, told as an event
    POST /import/{id}/devices   which devices are known here, and from when on their readings are kept; make the others
    POST /import/{id}/lines     readings and gaps; what is held already is left alone

Nothing is kept between two requests, and each may be sent again: whoever is cut off begins anew, or where they were.
Readings of one series and microsecond belong into one request: what came with another one counts as told again.
"""

import secrets
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Request
from pydantic import Field, StringConstraints
from sqlalchemy import Connection

from agent.wire.errors import WireError
from agent.wire.limits import MAX_AHEAD_S
from agent.wire.messages import Clock, Lane
from agent.wire.topics import DEVICE_ID
from agent.wire.units import US_PER_S
from fleet.api.access import Admin, Caller, Given
from fleet.api.bound import MAX_BODY_BYTES
from fleet.api.page import NO_NUL, Model, ShortText
from fleet.api.problem import responses
from fleet.api.reading import NDJSON
from fleet.core.chunk import CLOCKS, Rows
from fleet.core.line import Gap, Readings, check
from fleet.core.sealing import Gathering
from fleet.errors import Invalid, NotFound
from fleet.services import Services
from fleet.store import restore
from fleet.store.restore import Draft, Run

router = APIRouter(tags=["import"])

MAX_DEVICES = 1000  # told at once
MAX_LINES = 4096  # of one request
TRIES = 3  # of one request beside the writer, where devices send, or are sealed, at the same time

ImportId = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$", examples=["9b2f0c4d5e6f7081"])]
_Product = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=NO_NUL)]


class NewImport(Model):
    """What is imported."""

    source: ShortText = Field(
        min_length=1, examples=["berlin.ndjson"], description="The file, as events shall name it."
    )


class BegunImport(Model):
    """An import that has begun."""

    id: str
    until_us: int = Field(description="Readings that lie later than this are refused: an hour ahead of the server.")


class SourceDevice(Model):
    """One device as the files know it."""

    device: Annotated[str, StringConstraints(pattern=f"^{DEVICE_ID.pattern}$")] = Field(examples=["freezer-7k3m2q"])
    product: _Product = Field(examples=["freezer"])
    serial: Annotated[str, StringConstraints(max_length=128, pattern=NO_NUL)] = ""
    site: ShortText = ""


class ImportDevices(Model):
    """Devices whose readings are to come."""

    devices: list[SourceDevice] = Field(min_length=1, max_length=MAX_DEVICES)
    create: bool = Field(default=False, description="Make those that are not known here; they are never enrolled.")


class KnownDevice(Model):
    """One of them as this fleet knows it."""

    device: str
    known: bool
    product: str | None = Field(description="Here; null where it is not known.")
    kept_from_us: int = Field(description="Readings before this are not kept here, and refused.")


class KnownDevices(Model):
    """All that were asked for, in that order."""

    devices: list[KnownDevice]


class Restored(Model):
    """What came of some lines."""

    readings: int = Field(description="That are new here.")
    known: int = Field(description="Readings that were held already.")
    gaps: int = Field(description="That are new here.")


class _Readings(msgspec.Struct, tag_field="kind", tag="readings"):
    device: str
    series: str
    unit: str
    clock: Clock
    t0_us: int
    dt: list[int]
    v: list[float | int | str | None]


class _Gap(msgspec.Struct, tag_field="kind", tag="gap"):
    device: str
    lane: Lane
    store_id: str
    from_seq: int
    to_seq: int
    from_us: int
    to_us: int
    count: int | None
    reason: str
    received_us: int


_decoder = msgspec.json.Decoder(_Readings | _Gap)


@router.post("/import", status_code=201, responses=responses(401, 403, 422, 503))
async def begin_import(services: Given, caller: Admin, new: NewImport) -> BegunImport:
    """Begin an import: note who imports what. Nothing of it is stored yet."""
    run, now_us = Run(secrets.token_hex(8), new.source, caller.actor), services.now_us()
    await services.db.write(lambda conn: restore.begin(conn, run, now_us=now_us))
    return BegunImport(id=run.id, until_us=now_us + MAX_AHEAD_S * US_PER_S)


@router.post("/import/{import_id}/devices", responses=responses(401, 403, 404, 422, 503))
async def prepare_import(services: Given, caller: Admin, import_id: ImportId, new: ImportDevices) -> KnownDevices:
    """Tell which devices are known here, and make the others if that is wanted."""
    run, now_us = await _run(services, caller, import_id), services.now_us()

    def work(conn: Connection) -> KnownDevices:
        if new.create:
            for one in new.devices:
                restore.make_known(conn, run, (one.device, one.product, one.serial, one.site), now_us=now_us)
        found = restore.kept_from(conn, [one.device for one in new.devices], now_us=now_us)
        return KnownDevices(devices=[_known(one.device, found.get(one.device)) for one in new.devices])

    return await (services.db.write(work) if new.create else services.db.read(work))


@router.post(
    "/import/{import_id}/lines",
    responses=responses(401, 403, 404, 409, 413, 422, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": f"Lines `readings` and `gap` of an export, {MAX_LINES} and {MAX_BODY_BYTES} bytes at most.",
            "content": {NDJSON: {"schema": {"type": "string"}}},
        }
    },
)
async def import_lines(services: Given, caller: Admin, import_id: ImportId, request: Request) -> Restored:
    """Store readings and gaps that are not held yet, all of them or, where one cannot be stored, none.

    No rule looks at them, no alarm is raised, and no newest value goes back.
    """
    run, now_us = await _run(services, caller, import_id), services.now_us()
    series, gaps = _read(await request.body())
    ids = {*series, *(one.device for one in gaps)}
    known = await services.db.read(lambda conn: restore.kept_from(conn, ids, now_us=now_us))
    for device_id in sorted(ids - known.keys()):
        raise NotFound(f"there is no device {device_id!r}", hint="POST …/devices with `create` makes it.")
    for device_id, some in series.items():
        _check_times(device_id, some, known[device_id][1], now_us + MAX_AHEAD_S * US_PER_S)
    return await _store(services, run, series, gaps)


async def _store(services: Services, run: Run, series: dict[str, list[Rows]], gaps: list[Gap]) -> Restored:
    """Store what can be stored, planned beside the writer; what moves too fast for that, in the writer itself."""
    left, done = set(series), Restored(readings=0, known=0, gaps=0)
    for tried in range(TRIES + 1):
        wanted = {one: series[one] for one in sorted(left)}
        left, some = await _try(services, run, wanted, gaps, beside=tried < TRIES)
        done = Restored(
            readings=done.readings + some.readings, known=done.known + some.known, gaps=done.gaps + some.gaps
        )
        if not left:
            break
        gaps = []
    return done


async def _try(
    services: Services, run: Run, series: dict[str, list[Rows]], gaps: list[Gap], *, beside: bool
) -> tuple[set[str], Restored]:
    """Store what can be stored; returns the devices that have to be tried again, and what came of the others."""
    now_us = services.now_us()

    def draft(conn: Connection) -> list[Draft]:
        return [restore.draft(conn, one, some) for one, some in series.items()]

    def write(conn: Connection) -> tuple[set[str], int, list[Draft]]:
        restore.lock(conn, series)
        made = drafts or draft(conn)
        return *restore.store(conn, run, made, gaps, now_us=now_us), made

    drafts = await services.db.read(draft) if beside else []
    again, count, made = await services.db.write(write)
    stored = [one for one in made if one.device_id not in again]
    readings, known = sum(one.readings for one in stored), sum(one.known for one in stored)
    return again, Restored(readings=readings, known=known, gaps=count)


async def _run(services: Services, caller: Caller, import_id: str) -> Run:
    source = await services.db.read(lambda conn: restore.find(conn, import_id))
    return Run(import_id, source, caller.actor)


def _known(device_id: str, found: tuple[str, int] | None) -> KnownDevice:
    product, kept_from_us = found or (None, 0)
    return KnownDevice(device=device_id, known=found is not None, product=product, kept_from_us=kept_from_us)


def _read(body: bytes) -> tuple[dict[str, list[Rows]], list[Gap]]:
    """Read the lines of a request: readings by device and series, and gaps. Raises Invalid that names the line."""
    numbers = {clock.value: number for number, clock in enumerate(CLOCKS)}
    gathered: dict[str, dict[str, Gathering]] = {}
    gaps = []
    for number, text in enumerate(body.split(b"\n"), 1):
        if not text.strip():
            continue
        if number > MAX_LINES:
            raise Invalid(f"more than {MAX_LINES} lines", hint="Send them in several requests.")
        line = _line(number, text)
        if isinstance(line, Gap):
            gaps.append(line)
            continue
        into = gathered.setdefault(line.device, {}).setdefault(line.series, Gathering(line.series))
        into.add(line.t0_us, line.dt, line.v, clock=numbers[line.clock], unit=line.unit)
    return {device: [one.rows() for one in some.values()] for device, some in gathered.items()}, gaps


def _line(number: int, text: bytes) -> Readings | Gap:
    try:
        text.decode()  # msgspec does not look at the encoding of what it skips
        said = _decoder.decode(text)
        fields = {name: getattr(said, name) for name in said.__struct_fields__}
        line: Readings | Gap
        if isinstance(said, _Readings):
            line = Readings(**fields | {"clock": said.clock.value})
        else:
            line = Gap(**fields | {"lane": said.lane.value})
        check(line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, WireError) as error:
        raise Invalid(f"line {number}: {error}", hint="docs/reference/export.md says what a line holds.") from error
    return line


def _check_times(device_id: str, series: list[Rows], kept_from_us: int, until_us: int) -> None:
    for one in series:
        if int(one.t_us[0]) < kept_from_us:
            hint = "`fleet retention show` says how long they are kept; `fleet retention set` before the import."
            raise Invalid(f"{device_id} {one.name}: readings of {int(one.t_us[0])} are not kept here", hint=hint)
        if int(one.t_us[-1]) > until_us:
            text = f"{device_id} {one.name}: {int(one.t_us[-1])} lies more than {MAX_AHEAD_S} s in the future"
            raise Invalid(text, hint="Is the file's clock right?")
