"""Which series there are, as Prometheus names them: one for each series of a device and each owner it had.

Labels: metric, `series` (its name as it is), `device`, `product`, and where they are said `site`, `serial`, `customer`
(id) and `unit` (UCUM). A device that is transferred ends one series and begins another, since a label has changed:
nobody's dashboard shows what was before them. Devices that are shut out are left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, select, true

from fleet.core.label import NAME, SERIES, Labels, Matcher, metric_name
from fleet.core.latest import Entry
from fleet.core.ownership import UNOWNED, Tenure, within
from fleet.store import latest, ownership
from fleet.store.schema import device
from fleet.store.schema import latest as newest

ONLINE = "fieldline_device_online"
ALARMS = "fieldline_device_open_alarms"
STATES = (ONLINE, ALARMS)
LABELS = (NAME, "customer", "device", "product", "serial", SERIES, "site", "unit")

_COLUMNS = {"device": device.c.id, "product": device.c.product_id, "site": device.c.site, "serial": device.c.serial}


@dataclass(frozen=True, slots=True)
class Target:
    """One series of one device, in one tenure; `entry` is its newest reading, None for a state of the device."""

    device_id: str
    series: str
    labels: Labels
    tenure: Tenure
    entry: Entry | None


def targets(conn: Connection, matchers: Sequence[Matcher], from_us: int, to_us: int) -> Iterator[Target]:
    """Yield the series that fit all matchers and may have samples in `from_us` ≤ t < `to_us`, by device."""
    here = [one for one in matchers if one.label not in (NAME, SERIES, "unit", "customer")]
    columns = (device.c.id, device.c.product_id, device.c.site, device.c.serial, newest.c.body)
    wanted = select(*columns).join(newest, newest.c.device_id == device.c.id, isouter=True)
    narrowed = and_(device.c.revoked_us.is_(None), true(), *_narrowed(here))
    rows = conn.execute(wanted.where(narrowed).order_by(device.c.id)).all()
    rows = [row for row in rows if _fit(here, _labels_of(row.id, row.product_id, row.site, row.serial))]
    owned = ownership.of_many(conn, [row.id for row in rows])
    for row in rows:
        common = _labels_of(row.id, row.product_id, row.site, row.serial)
        known = latest.parse(row.body)
        for tenure in within(owned.get(row.id, UNOWNED), from_us, to_us):
            whose = {"customer": tenure.customer_id} if tenure.customer_id else {}
            for series, entry in _named(known):
                labels = _labels(series, entry) | common | whose
                if _fit(matchers, labels):
                    yield Target(row.id, series, labels, tenure, entry)


def _narrowed(matchers: Sequence[Matcher]) -> Iterator[ColumnElement[bool]]:
    for one in matchers:
        values = one.values()
        if one.label in _COLUMNS and values is not None:
            yield _COLUMNS[one.label].in_(values)


def _fit(matchers: Sequence[Matcher], labels: Labels) -> bool:
    return all(one.fits(labels) for one in matchers)


def _labels_of(device_id: str, product: str, site: str, serial: str) -> dict[str, str]:
    said = {"device": device_id, "product": product, "site": site, "serial": serial}
    return {name: value for name, value in said.items() if value}


def _named(known: dict[str, Entry]) -> Iterator[tuple[str, Entry | None]]:
    yield from known.items()
    for name in STATES:
        yield name, None


def _labels(series: str, entry: Entry | None) -> dict[str, str]:
    if entry is None:
        return {NAME: series}
    unit = {"unit": entry[2]} if entry[2] else {}
    return {NAME: metric_name(series), SERIES: series, **unit}
