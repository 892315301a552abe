"""How values, times and units are written on a page: the filters of the templates."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from agent.wire.messages import Value

UNITS = {"Cel": "°C", "1": "", "%": "%", "deg": "°", "m/s": "m/s", "kn": "kn", "[kn_i]": "kn", "{count}": ""}
SPARK_WIDTH, SPARK_HEIGHT = 640, 90  # units of the drawing
MARGIN = 4


def iso(t_us: int) -> str:
    """Write a time in full: 2026-03-04T05:06:07.890Z."""
    return datetime.fromtimestamp(t_us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock(t_us: int) -> str:
    """Write a time for people, in UTC: 2026-03-04 05:06 UTC."""
    return datetime.fromtimestamp(t_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")


def value(v: Value) -> str:
    """Write a value with at most six digits; no value says so."""
    if v is None:
        return "no value"
    return f"{v:.6g}" if isinstance(v, float) else str(v)


def unit(ucum: str) -> str:
    """Write a UCUM unit as people do."""
    return UNITS.get(ucum, ucum)


def spark(line: Mapping[str, Any], mark_us: int) -> Markup:
    """Draw the readings of one series of evidence, with the first bad sample marked."""
    rows: list[tuple[int, float]] = [
        (t, v) for t, v in zip(line["t_us"], line["v"], strict=True) if isinstance(v, int | float)
    ]
    if len(rows) < 2:  # noqa: PLR2004 - a line has two ends
        return Markup('<p class="empty">{}</p>').format(", ".join(value(v) for v in line["v"][:5]) or "no readings")
    low, high = min(v for _, v in rows), max(v for _, v in rows)
    start, end = rows[0][0], rows[-1][0]

    def x(t_us: int) -> float:
        return MARGIN + (t_us - start) / max(1, end - start) * (SPARK_WIDTH - 2 * MARGIN)

    def y(v: float) -> float:
        share = (high - v) / (high - low) if high > low else 0.5
        return MARGIN + share * (SPARK_HEIGHT - 2 * MARGIN)

    path = " ".join(f"{x(t):.1f},{y(v):.1f}" for t, v in rows)
    mark = f'<line class="mark" x1="{x(mark_us):.1f}" x2="{x(mark_us):.1f}" y1="0" y2="{SPARK_HEIGHT}"/>'
    return Markup(
        '<svg class="spark" viewBox="0 0 {w} {h}" preserveAspectRatio="none" role="img" aria-label="{label}">{mark}'
        '<polyline points="{path}"/></svg><p class="note-line">{extent}, {span}</p>'
    ).format(
        w=SPARK_WIDTH,
        h=SPARK_HEIGHT,
        label=f"{line['series']} from {value(low)} to {value(high)}",
        mark=Markup(mark if start <= mark_us <= end else ""),  # noqa: S704 - numbers of ours alone
        path=path,
        extent=f"{value(low)} to {value(high)}" if high > low else f"always {value(low)}",
        span=_span(start, end),
    )


def _span(start_us: int, end_us: int) -> str:
    start, end = clock(start_us), clock(end_us)
    return f"{start.removesuffix(' UTC')} to {end[11:] if end[:10] == start[:10] else end}"


def code(text: str) -> Markup:
    """Set what stands between backticks as code; all else is escaped."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # one stands alone: it is a character like any other
        return escape(text)
    return Markup("").join(Markup("<code>{}</code>").format(part) if n % 2 else part for n, part in enumerate(parts))


FILTERS = {"iso": iso, "clock": clock, "value": value, "unit": unit, "spark": spark, "code": code}
