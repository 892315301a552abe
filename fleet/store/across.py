"""One series over many devices: the newest value of each that a selector chooses."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, func, not_, or_, select, true

from agent.wire.codec import NAME
from agent.wire.messages import Value
from fleet.core.selector import Field, Selector, Term
from fleet.store.schema import customer, device
from fleet.store.schema import latest as table

_COLUMNS = {
    Field.PRODUCT: device.c.product_id,
    Field.SITE: device.c.site,
    Field.DEVICE: device.c.id,
    Field.SERIAL: device.c.serial,
}


class Newest(NamedTuple):
    """What one device last said of the series."""

    device: str
    product: str
    site: str
    t_us: int
    v: Value
    unit: str


def selected(selector: Selector) -> ColumnElement[bool]:
    """Return the condition on the table of devices that a selector stands for."""
    return and_(true(), *map(_condition, selector))


def newest(
    conn: Connection, series: str, selector: Selector = (), *, since_us: int = 0, shut_out: bool = False
) -> Iterator[Newest]:
    """Yield the newest reading of the series of each device that has one, and not from before `since_us`; by device.

    Devices that are shut out are left out, unless `shut_out` says otherwise: what they have used they have used.
    """
    if NAME.fullmatch(series) is None:  # no device can have said it
        return
    wanted = select(device.c.id, device.c.product_id, device.c.site, table.c.body)
    rows = conn.execute(
        wanted.join(table, table.c.device_id == device.c.id)
        .where(selected(selector), true() if shut_out else device.c.revoked_us.is_(None))
        .order_by(device.c.id)
    )
    read = _reader(series)
    for device_id, product_id, site, body in rows:
        entry = read(body)
        if entry is not None and entry[0] >= since_us:
            yield Newest(device_id, product_id, site, *entry)


def _reader(series: str) -> Callable[[str], tuple[int, Value, str] | None]:
    """Return what reads one series' entry of a body, and passes over the others without making anything of them."""
    field: Any = ("entry", tuple[int, int | float | str | None, str] | None, None)
    only = msgspec.defstruct("Only", [field], rename={"entry": series})
    decode = msgspec.json.Decoder(only).decode
    return lambda body: decode(body).entry  # type: ignore[attr-defined] # made above


def _condition(term: Term) -> ColumnElement[bool]:
    if term.field is Field.ANY:
        columns = (device.c.id, device.c.serial, device.c.site)
        found = or_(*(column.icontains(term.values[0], autoescape=True) for column in columns))
    elif term.field is Field.CUSTOMER:
        ids = func.coalesce(device.c.customer_id, "")
        found = or_(_fits(ids, term.values), ids.in_(select(customer.c.id).where(_fits(customer.c.name, term.values))))
    else:
        found = _fits(_COLUMNS[term.field], term.values)
    return not_(found) if term.negated else found


def _fits(column: ColumnElement[str], values: Sequence[str]) -> ColumnElement[bool]:
    exact = [one for one in values if "*" not in one]
    like = [column.ilike(_pattern(one), escape="\\") for one in values if "*" in one]
    return or_(column.in_(exact), *like)


def _pattern(said: str) -> str:
    escaped = said.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%")
