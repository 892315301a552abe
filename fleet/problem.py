"""Errors over HTTP: problem+json (RFC 9457) with a hint that says what to do next, one form for people and devices.

`type` ends in a slug that a program can tell apart and that never changes; `detail` is the sentence for a person. What
kind of error is which status and slug each front says for itself.
"""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from starlette.responses import Response

from fleet.errors import FleetError

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "/problems/"
INTERNAL = (HTTPStatus.INTERNAL_SERVER_ERROR, "internal")
CRASHED = "the server failed; its log says how"

Kinds = Sequence[tuple[type[FleetError], HTTPStatus, str]]
"""Error, status, slug. The first class that fits decides, so leaves stand before what they derive from."""


def kind_of(error: FleetError, kinds: Kinds) -> tuple[HTTPStatus, str]:
    """Return status and slug of an error; `INTERNAL` where no kind fits."""
    return next(((status, slug) for kind, status, slug in kinds if isinstance(error, kind)), INTERNAL)


def problem(  # noqa: PLR0913 - the members of RFC 9457
    status: HTTPStatus,
    slug: str,
    detail: str,
    *,
    hint: str = "",
    instance: str = "",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Make the answer; members that are empty are left out."""
    said = {
        "type": TYPE_PREFIX + slug,
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        "hint": hint,
        "instance": instance,
    }
    content = json.dumps({name: value for name, value in said.items() if value != ""}, ensure_ascii=False)
    return Response(content, status.value, headers, MEDIA_TYPE)
