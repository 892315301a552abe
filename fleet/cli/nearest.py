"""A device id that does not exist is most often a slip: name the nearest ones that do."""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager

from fleet.cli.client import Client
from fleet.errors import FleetError, NotFound

LOOKED_AT = 1000  # devices; a hint is not worth more


@contextmanager
def naming_neighbours(client: Client, device_id: str) -> Iterator[None]:
    """Give a NotFound about a device the nearest ids as its hint, where the server named none."""
    try:
        yield
    except NotFound as error:
        if "Did you mean" in error.hint:
            raise
        near = neighbours(client, device_id)
        if not near:
            raise
        raise NotFound(error.message, hint=f"Did you mean {' or '.join(near)}?") from error


def known_device(client: Client, device_id: str | None) -> None:
    """Raise NotFound for a device that does not exist: an empty list of its alarms would say that it is well."""
    if device_id:
        with naming_neighbours(client, device_id):
            client.get("devices", device_id)


def neighbours(client: Client, device_id: str) -> list[str]:
    """Return up to three ids of devices that look like this one; none if the server will not say."""
    try:
        known = [item["id"] for item in client.items("devices", limit=LOOKED_AT)]
    except FleetError:
        return []
    return (
        difflib.get_close_matches(device_id, known, n=3, cutoff=0.6)
        or [one for one in known if device_id.lower() in one.lower()][:3]
    )
