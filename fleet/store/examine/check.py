"""The shape of a check, and how it goes through the devices part by part."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from fleet.core.finding import Finding
from fleet.store.schema import device

DEVICES_AT_ONCE = 100  # looked at on one snapshot
SAMPLED_DEVICES = 200  # about, looked into where not all are


@dataclass(frozen=True, slots=True)
class Ask:
    """How closely to look, and at what time."""

    now_us: int
    deep: bool = False  # every reading, instead of a sample of devices
    stride: int = 1  # of so many devices, a sample takes one
    jobs: Mapping[str, float] = field(default_factory=dict)  # jobs that should run → seconds between their turns


@dataclass(frozen=True, slots=True)
class Part:
    """What one part showed."""

    looked: int  # how many things were looked at
    found: Sequence[Finding] = ()
    following: str | None = None  # where to go on; None: that was all


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `look` gets "" first, then what the part before it said was `following`."""

    name: str
    well: str  # said of the number looked at when nothing is wrong
    look: Callable[[Connection, Ask, str], Part]


def stride_of(conn: Connection) -> int:
    """Return of how many devices a sample takes one."""
    count = conn.execute(select(func.count()).select_from(device)).scalar_one()
    return max(1, count // SAMPLED_DEVICES)


def devices(conn: Connection, after: str, *, stride: int = 1, limit: int = DEVICES_AT_ONCE) -> list[str]:
    """Return the next devices by id: every one, or one of each `stride`."""
    if stride == 1:
        query = select(device.c.id).where(device.c.id > after).order_by(device.c.id)
    else:
        numbered = select(device.c.id, func.row_number().over(order_by=device.c.id).label("number")).subquery()
        sampled = select(numbered.c.id).where(numbered.c.number % stride == 0, numbered.c.id > after)
        query = sampled.order_by(numbered.c.id)
    return list(conn.scalars(query.limit(limit)))


def following(ids: Sequence[str], limit: int = DEVICES_AT_ONCE) -> str | None:
    """Return where to go on after these devices."""
    return ids[-1] if len(ids) == limit else None
