"""The page of one device: what it says now, how it was, what is wrong with it, and what is desired of it."""

from http import HTTPStatus

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from agent.wire.messages import AlarmState, Lane, Severity
from agent.wire.units import US_PER_S
from fleet.console import machine
from fleet.console.session import User
from fleet.console.template import HEADERS, render
from fleet.console.words import unit
from fleet.errors import Invalid
from fleet.services import Services
from fleet.store import alarm, chart, config, customer, device, event, gap, latest, presence, quarantine, ticket

RANGES = ((900, "15 min"), (3600, "1 h"), (6 * 3600, "6 h"), (86_400, "24 h"), (7 * 86_400, "7 d"))
SHOWN_EVENTS = 20
SHOWN_TICKETS = 10
MAX_POINTS = 4000  # of a chart
MAX_SPAN_S = 400 * 86_400  # seconds that a chart covers
MAX_MARKS = 200  # alarms and gaps in a chart
OPEN = (AlarmState.PENDING, AlarmState.ACTIVE, AlarmState.CLEARING)


async def show(request: Request, services: Services, user: User) -> Response:
    """Show one device; the fragments of the page are fetched from here too."""
    device_id = request.path_params["device"]
    now_us = services.now_us()
    page = await services.db.read(lambda conn: _page(conn, device_id, now_us))
    return render("device.html", user=user, tab="devices", ranges=RANGES, **page)


async def points(request: Request, services: Services, user: User) -> Response:
    """Answer what the chart draws: times in s, least and greatest of each stretch, alarms and gaps in the span."""
    del user
    device_id = request.path_params["device"]
    series = request.query_params.get("series", "")
    try:
        seconds = min(MAX_SPAN_S, max(1, int(request.query_params.get("seconds", "3600"))))
        count = min(MAX_POINTS, max(10, int(request.query_params.get("points", "1000"))))
    except ValueError as error:
        raise Invalid("seconds and points are whole numbers") from error
    to_us = services.now_us()
    from_us = to_us - seconds * US_PER_S
    chart = await services.db.read(lambda conn: _chart(conn, device_id, series, (from_us, to_us), count))
    return JSONResponse(chart, headers=HEADERS)


async def ack(request: Request, services: Services, user: User) -> Response:
    """Note that the person has seen an alarm."""
    alarm_id = int(request.path_params["alarm"])
    now_us = services.now_us()
    seen = await services.db.write(lambda conn: alarm.ack(conn, alarm_id, now_us=now_us, by=user.actor))
    return RedirectResponse(f"/devices/{seen.device_id}", HTTPStatus.SEE_OTHER)


def _page(conn: Connection, device_id: str, now_us: int) -> dict[str, object]:
    found = device.get(conn, device_id)
    state, since_us, last_seen_us = presence.of(conn, [device_id], now_us=now_us)[device_id]
    worst_first = list(Severity).index
    alarms = sorted(alarm.page(conn, states=OPEN, device_id=device_id), key=lambda each: worst_first(each.severity))
    values = [
        {"name": name, "t_us": v.t_us, "v": v.v, "unit": v.unit} for name, v in latest.get(conn, device_id).items()
    ]
    return {
        "device": {
            "id": found.id,
            "product": found.product_id,
            "serial": found.serial,
            "site": found.site,
            "customer": customer.names(conn, {found.customer_id})[found.customer_id],
            "agent_version": found.agent_version,
            "presence": "revoked" if found.revoked_us else str(state),
            "since_us": found.revoked_us or since_us,
            "last_seen_us": last_seen_us,
        },
        "alarms": alarms,
        "values": values,
        "chosen": _chosen([each.series for each in alarms], [str(value["name"]) for value in values]),
        "config": config.standing(conn, device_id),
        "tickets": ticket.page(conn, device_id=device_id, limit=SHOWN_TICKETS),
        "events": event.page(conn, device_id=device_id, limit=SHOWN_EVENTS),
        "machine": machine.facts(presence.health(conn, device_id)),
        "gaps": gap.count(conn, device_id),
        "quarantined": quarantine.count(conn, device_id),
    }


def _chosen(alarmed: list[str], known: list[str]) -> str:
    """Name the series that the chart opens with: one that has an alarm, else one that is more than a count."""
    candidates = [name for name in alarmed if name in known]
    candidates += [name for name in known if not name.endswith((".n", ".seq"))]
    return (candidates or known or [""])[0]


def _chart(conn: Connection, device_id: str, series: str, span: tuple[int, int], count: int) -> dict[str, object]:
    from_us, to_us = span
    device.get(conn, device_id)
    drawn = chart.points(conn, device_id, series, from_us, to_us, points=count)
    known = latest.get(conn, device_id).get(series)
    alarms = [each for each in alarm.page(conn, device_id=device_id, limit=MAX_MARKS) if each.series == series]
    bucket_s = drawn.bucket_us / US_PER_S
    return {
        "t": [t_us / US_PER_S for t_us in drawn.t_us],
        "min": drawn.low if drawn.bucket_us else drawn.v,
        "max": drawn.high if drawn.bucket_us else drawn.v,
        "unit": unit(known.unit) if known else "",
        "resolution": f"least and greatest of {bucket_s:.3g} s each" if drawn.bucket_us else "every reading",
        "unsure": [{"from": start / US_PER_S, "to": end / US_PER_S} for start, end in drawn.unsure],
        "silences": [{"from": start / US_PER_S, "to": end / US_PER_S} for start, end in drawn.silences()],
        "alarms": [
            {
                "series": each.series,
                "rule": each.rule,
                "from": each.first_bad_us / US_PER_S,
                "to": each.cleared_us / US_PER_S if each.cleared_us else None,
            }
            for each in alarms
            if (each.cleared_us or to_us) >= from_us
        ],
        "gaps": [
            {"from": each.from_us / US_PER_S, "to": each.to_us / US_PER_S, "reason": each.reason}
            for each in drawn.gaps
            if each.lane == Lane.TELEMETRY
        ],
    }
