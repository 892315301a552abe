"""`fleet watch` and `fleet events`: what happens, as it happens and as it happened."""

import json
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import click

from fleet.cli.client import Client, Item, Unreachable, pass_client
from fleet.cli.nearest import naming_neighbours
from fleet.cli.options import device_argument, device_option, json_option, range_options
from fleet.cli.output import print_array, say, text, value
from fleet.cli.shell import Command
from fleet.cli.sse import Message, messages
from fleet.cli.times import clock, in_order
from fleet.errors import Busy

EVENT_STREAM = "text/event-stream"
SILENCE_S = 60.0  # the server says something at least each 15 s; silence beyond this is a dead connection
RETRY_S = (0.5, 1, 2, 5, 10)  # waits before each new try; the last one stays
DROPPED = "dropped"  # we were too slow for what is live: connect again


@dataclass
class _Place:
    """Where in the stream we are, over all its connections."""

    last_id: str = ""
    tries: int = 0


@click.command(
    cls=Command,
    examples=("fleet watch", "fleet watch --device freezer-7k3m2q --live", "fleet watch --json"),
)
@device_option("Only what concerns this device.")
@click.option("--live", is_flag=True, help="The device's readings too, as they come (with --device).")
@json_option("Print one JSON object a line.")
@pass_client
def watch(client: Client, device: str | None, *, live: bool, as_json: bool) -> None:
    """Print what happens, as it happens.

    Ctrl-C ends it. A lost connection is taken up again where it broke off, so no event is missed or shown twice.
    """
    if live and not device:
        raise click.UsageError("--live needs --device ID.")
    try:
        if device:
            with naming_neighbours(client, device):
                client.get("devices", device)
        for message in _follow(client, device, live=live):
            _print(message, as_json=as_json)
    except KeyboardInterrupt:
        return


def _follow(client: Client, device: str | None, *, live: bool) -> Iterator[Message]:
    place = _Place()
    while True:
        try:
            yield from _connection(client, place, device, live=live)
        except (Unreachable, Busy) as error:
            if place.tries == 0:
                click.echo(f"{error.message}; trying again until it is back (Ctrl-C ends).", err=True)
        wait_s = RETRY_S[min(place.tries, len(RETRY_S) - 1)]
        place.tries += 1
        time.sleep(wait_s)


def _connection(client: Client, place: _Place, device: str | None, *, live: bool) -> Iterator[Message]:
    """Yield what one connection brings; what it says of its place is kept."""
    headers = {"Last-Event-ID": place.last_id} if place.last_id else {}
    query = {"device": device, "live": live or None}
    lines = client.lines("stream", accept=EVENT_STREAM, silence_s=SILENCE_S, headers=headers, **query)
    for message in messages(_alive(lines, place), place.last_id):
        place.last_id = message.id
        if message.event == DROPPED:
            return
        if message.body:
            yield message


def _alive(lines: Iterable[str], place: _Place) -> Iterator[str]:
    """Hand lines on; the first one, be it a comment, tells that the server is back."""
    for line in lines:
        place.tries = 0
        yield line


def _print(message: Message, *, as_json: bool) -> None:
    if as_json:
        click.echo(message.body)
        return
    item = json.loads(message.body)
    if "readings" in item:
        for one in item["readings"]:
            say(text(f"{clock(one['t_us'])}  ", "dim"), f"{one.get('name')}  {value(one.get('v'), one.get('unit'))}")
    elif "text" in item:
        event_line(item)


def event_line(item: Item) -> None:
    """Print one event on one line: when, which device, what."""
    say(text(f"{clock(item['t_us'])}  ", "dim"), text(f"{item.get('device') or '-':<18} ", "bold"), item.get("text"))


@click.command(
    cls=Command,
    examples=(
        "fleet events freezer-7k3m2q --from -1d",
        "fleet events freezer-7k3m2q --kind alarm.,config.applied --limit 20 --json",
    ),
)
@device_argument()
@click.option("--kind", metavar="KINDS", help="Only these, joined by commas; a noun with a dot is all of it: alarm.")
@range_options("events")
@click.option("--limit", type=click.IntRange(min=1), help="Only so many of the newest; all of them otherwise.")
@json_option("Print one JSON array.")
@pass_client
def events(  # noqa: PLR0913 - one option a fact
    client: Client,
    *,
    device_id: str,
    kind: str | None,
    from_us: int | None,
    to_us: int | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """List what has happened to a device, newest last."""
    in_order(from_us, to_us)
    with naming_neighbours(client, device_id):
        found = client.items("devices", device_id, "events", kind=kind, from_=from_us, to=to_us)
        wanted = found if limit is None else deque(found, maxlen=limit)
        if as_json:
            print_array(wanted)
            return
        for one in wanted:
            event_line(one)
