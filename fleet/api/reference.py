"""The reference page of the API's routes, written from the routes themselves; a test holds the page current."""

import inspect
from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from fleet.api import prom
from fleet.api.access import requires
from fleet.api.app import BASE, NOUNS

HEAD = f"""<!-- Generated from the code by `make docs`; edit the code. -->
# The routes of the HTTP API

Below `{BASE}`, each with the least [scope](api.md) that its token needs; parameters and answers are in
`GET {BASE}/openapi.json`. Beside them `GET /healthz`, without a token: whether the server and its database answer.

"""
TABLE = "| | route | scope | |\n|---|---|---|---|\n"


def page() -> str:
    """Return the page as Markdown."""
    rows = "".join(row for noun in NOUNS for row in _rows(noun.router))
    return f"{HEAD}{TABLE}{rows}\n## Prometheus's API\n\n{TABLE}{''.join(_rows(prom.router))}"


def _rows(router: APIRouter) -> Iterator[str]:
    for route in router.routes:
        assert isinstance(route, APIRoute)  # noqa: S101 - the API has no others
        said = " ".join(route.description.split("\n\n")[0].split()).partition(". ")[0].removesuffix(".")
        scopes = ", ".join(_scopes(route.dependant))
        yield f"| {', '.join(sorted(route.methods or ()))} | `{route.path}` | {scopes} | {said} |\n"


def _scopes(dependant: Dependant) -> Iterator[str]:
    """Yield the scopes that a route's `requires` name."""
    for one in dependant.dependencies:
        if inspect.isfunction(one.call) and one.call.__qualname__.startswith(f"{requires.__name__}."):
            yield inspect.getclosurevars(one.call).nonlocals["scope"]
        yield from _scopes(one)
