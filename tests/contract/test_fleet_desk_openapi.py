"""The published OpenAPI holds: whatever a client sends that it allows or forbids, the answer is one that it names."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from batches import T0_US, segment, telemetry
from desks import DEVICE, a_desk, announce
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from fleet.api.app import create_app
from fleet.core.actor import Scope
from fleet.services import Services

EXAMPLES = 12  # a route
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@schemathesis.serializer("application/x-ndjson")
def as_it_is(_ctx: object, value: object) -> bytes:
    """Send lines, and what is none, as they are."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """URL and admin token of an API with something of everything in it, served from a thread of its own."""
    url = f"sqlite:///{tmp_path_factory.mktemp('desk') / 'fleet.db'}"
    ready, found = threading.Event(), []
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        async with a_desk(url) as served:
            await served.fleet.take(telemetry([segment(i, [-18.0, None, 1]) for i in range(1, 4)]))
            await served.fleet.take(b"garbage")
            await announce(served.fleet, at_us=T0_US)
            await served.admin.post("/configs", json={"product": "freezer", "toml": ""})
            found.append((served.url, served.secrets[Scope.ADMIN]))
            stop.append((asyncio.get_running_loop(), asyncio.Event()))
            ready.set()
            await stop[0][1].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(60)
    yield found[0]
    loop, event = stop[0]
    loop.call_soon_threadsafe(event.set)
    thread.join(30)


def _operations() -> dict[str, schemathesis.APIOperation]:
    """Return every operation of the document but the stream, which never ends, and what would end our own token."""
    nowhere: Any = None
    services = Services(nowhere, nowhere, nowhere, nowhere)
    schema = schemathesis.openapi.from_dict(create_app(services).openapi())
    found = [one.ok() for one in schema.get_all_operations()]
    return {one.label: one for one in found if not one.path.endswith("/stream") and one.method.upper() != "DELETE"}


OPERATIONS = _operations()


@pytest.mark.parametrize("label", OPERATIONS)
def test_each_answer_is_one_that_the_document_names(desk: tuple[str, str], label: str) -> None:
    url, secret = desk
    headers = {"Authorization": f"Bearer {secret}"}

    @given(OPERATIONS[label].as_strategy(), st.booleans())
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def holds(case: schemathesis.Case, known: bool) -> None:  # noqa: FBT001 - drawn
        if known and "device_id" in case.path_parameters:
            case.path_parameters["device_id"] = DEVICE
        case.call_and_validate(base_url=url, headers=headers, checks=CHECKS, timeout=20)

    holds()


def test_every_route_under_the_base_names_its_errors_and_asks_for_a_token() -> None:
    for label, operation in OPERATIONS.items():
        if "/api/v1/" in label:
            raw = operation.definition.raw
            assert "401" in raw["responses"], label
            assert raw["security"] == [{"HTTPBearer": []}], label
            assert raw["description"], label
