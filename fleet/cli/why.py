"""`fleet why`: how a device stands, in sentences: is it there, does it do what it shall, does its data arrive."""

from collections.abc import Iterator

import click

from fleet.cli.client import Client, Item, pass_client
from fleet.cli.nearest import naming_neighbours
from fleet.cli.options import device_argument, json_option
from fleet.cli.output import dig, print_json, say
from fleet.cli.shell import Command
from fleet.cli.times import US, age, now_us, span

STALE_US = 10 * US["m"]  # rows that wait in a device's buffer longer than this are worth a sentence
SOON_US = 14 * US["d"]  # a certificate that ends within this should have been renewed


@click.command(cls=Command, examples=("fleet why freezer-7k3m2q", "fleet why freezer-7k3m2q --json"))
@device_argument()
@json_option('Print {"device", "well", "sentences"}.')
@pass_client
def why(client: Client, device_id: str, *, as_json: bool) -> None:
    """Say in sentences how a device stands, and why not as it should.

    Presence, desired against applied config, data still on the device, data lost or unreadable, sources.
    """
    with naming_neighbours(client, device_id):
        found = client.get("devices", device_id)
    sentences = tuple(explain(found, now_us()))
    if as_json:
        print_json({"device": device_id, "well": len(sentences) == 1, "sentences": list(sentences)})
        return
    for sentence in sentences:
        say(sentence)


def explain(device: Item, now: int) -> Iterator[str]:
    """Yield one sentence a fact, the root first; a single one says that all is well."""
    name = device["id"]
    troubles = [*_presence(device, now), *_config(device), *_alarms(device), *_health(device, now), *_data(device)]
    if not troubles:
        applied = dig(device, "config", "applied")
        running = f"runs config {applied}" if applied else "runs its own seed config"
        yield f"{name} is online, {running}, and all that it sent was stored."
        return
    yield f"{name} does not stand as it should:" if device.get("presence") != "online" else f"{name} is online, but:"
    yield from troubles


def _presence(device: Item, now: int) -> Iterator[str]:
    seen = age(device.get("last_seen_us"), now)
    if device.get("revoked_us") or device.get("revoked") is True:
        yield "It was revoked: the fleet refuses it. It needs a new claim (`fleet claim create`) to come back."
        return
    match device.get("presence"):
        case "never":
            yield "It has never called. Enrol it at the machine with `fleet-agent enroll CLAIM`, then start the agent."
        case "late":
            yield f"It is late: its link has ended or a call is overdue; it was last heard {seen}. Wait a little."
        case "offline":
            yield (
                f"It is offline: it was last heard {seen}. Its readings are kept on the device until it is back. Look "
                "at its power and network; at the machine `fleet-agent status` says what it lacks."
            )
        case _:
            pass


def _config(device: Item) -> Iterator[str]:
    desired, applied, handled = (dig(device, "config", key) for key in ("desired", "applied", "handled"))
    reason = dig(device, "config", "reason")
    running = f"revision {applied}" if applied else "its own seed"
    name = device["id"]
    match dig(device, "config", "state"):
        case "refused":
            yield f"It refused config {desired}: {_ended(reason)} It goes on with {running}."
            yield "Correct the config and set it again with `fleet config set`."
        case "rolled_back":
            yield f"It rolled config {desired} back: {_ended(reason)} It goes on with {running}."
            yield "Correct the config and set it again with `fleet config set`; the same text is tried again."
        case "trying":
            yield f"It tries config {desired}: it keeps it if it stays well, else it goes back by itself."
        case "pending" if device.get("presence") == "online":
            yield f"Config {desired} is on its way; it runs {running} and last answered revision {handled or 0}."
        case "pending":
            yield f"Config {desired} waits for it: it gets it with its next call. `fleet config diff --device {name}`."
        case _:
            pass


def _ended(reason: object) -> str:
    """Return what a device says as a sentence with one end."""
    said = str(reason)
    return said if said.endswith((".", "?", "!")) else f"{said}."


def _alarms(device: Item) -> Iterator[str]:
    if device.get("open_alarms"):
        count, worst, name = device["open_alarms"], device.get("worst_severity"), device["id"]
        open_ = f"{count} alarms are open, the worst" if count > 1 else "1 alarm is open,"
        yield f"{open_} {worst}: `fleet alarm list --state open --device {name}`."


def _health(device: Item, now: int) -> Iterator[str]:
    health = device.get("health") or {}
    for source in health.get("sources") or []:
        if not source.get("connected", True):
            detail = f": {source['detail'].rstrip('.')}" if source.get("detail") else ""
            yield f"Its source {source.get('name')} is not connected{detail}. Look at the cable and the port's name."
    oldest = health.get("buffer_oldest_us") or 0
    if oldest and now - oldest > STALE_US:
        yield f"Readings since {span(now - oldest)} wait on the device ({health.get('buffer_rows')} rows)."
    ends = health.get("cert_expires_us") or 0
    if ends and ends < now:
        yield "Its certificate has expired: it must be enrolled anew with a new claim."
    elif ends and ends - now < SOON_US:
        yield f"Its certificate ends in {span(ends - now)} and should have been renewed: look at the agent's log."


def _data(device: Item) -> Iterator[str]:
    name = device["id"]
    if device.get("quarantined"):
        count = device["quarantined"]
        yield f"{count} of its batches could not be read: `fleet quarantine list --device {name}` says why."
    if device.get("gaps"):
        gaps = "gaps" if device["gaps"] > 1 else "gap"
        yield f"Its data has {device['gaps']} {gaps} that will not be filled: `fleet gap list {name}`."
