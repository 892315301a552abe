"""Templates into answers: Jinja with escaping on, and the headers that keep a page to its own scripts."""

from http import HTTPStatus
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from fleet.console.words import FILTERS

HERE = Path(__file__).parent
STATIC = HERE / "static"

HEADERS = {
    # uPlot places its cursor and legend by style attributes; scripts come from our own files alone.
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_environment = Environment(
    loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_environment.filters.update(FILTERS)


def render(name: str, status: HTTPStatus = HTTPStatus.OK, /, **values: object) -> Response:
    """Render a template into a page; `user` and `tab` are known to every template."""
    text = _environment.get_template(name).render({"user": None, "tab": "", **values})
    return HTMLResponse(text, status, headers=HEADERS)
