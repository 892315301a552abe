"""`fleet latest` and `fleet readings`: what devices measure."""

import difflib
import json
import sys
from collections.abc import Iterable, Iterator

import click

from fleet.cli.client import Client, pass_client
from fleet.cli.device import latest_table
from fleet.cli.nearest import naming_neighbours
from fleet.cli.options import device_argument, json_option, limit_option, range_options
from fleet.cli.output import print_json, say, value
from fleet.cli.shell import Command
from fleet.cli.times import clock, in_order

NDJSON = "application/x-ndjson"


@click.command(cls=Command, examples=("fleet latest freezer-7k3m2q", "fleet latest freezer-7k3m2q --json"))
@device_argument()
@json_option()
@pass_client
def latest(client: Client, device_id: str, *, as_json: bool) -> None:
    """Show the newest value of each series of a device."""
    with naming_neighbours(client, device_id):
        found = client.get("devices", device_id, "latest")
    if as_json:
        print_json(found)
    else:
        latest_table(found)


@click.command(
    cls=Command,
    examples=(
        "fleet readings freezer-7k3m2q board.temp --from -15m",
        "fleet readings freezer-7k3m2q board.temp --from 2026-01-31T14:00Z --to 2026-01-31T15:00Z --json",
        "fleet readings freezer-7k3m2q board.temp --from -1d --csv",
    ),
)
@device_argument()
@click.argument("series")
@range_options("readings")
@limit_option(what="readings")
@json_option('Print one JSON object a line: {"t_us", "t", "v"}.')
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV: t_us,t,v.")
@pass_client
def readings(  # noqa: PLR0913 - one option a fact
    client: Client,
    *,
    device_id: str,
    series: str,
    from_us: int | None,
    to_us: int | None,
    limit: int | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Print the readings of one series, oldest first.

    They are printed as they arrive, however many. Without --from it begins with the oldest that is kept, without --to
    it ends with the newest.
    """
    if as_json and as_csv:
        raise click.UsageError("Choose one of --json and --csv.")
    in_order(from_us, to_us)
    with naming_neighbours(client, device_id):
        lines = client.lines(
            "devices", device_id, "readings", accept=NDJSON, series=series, from_=from_us, to=to_us, limit=limit
        )
        count = _print(lines if as_json else csv_lines(lines) if as_csv else _people(lines))
    if not count and not as_json and not as_csv:
        say(_nothing(client, device_id, series))


def _nothing(client: Client, device_id: str, series: str) -> str:
    """Say why nothing was printed: most often the series has another name."""
    known = list(client.get("devices", device_id, "latest"))
    if series in known:
        return f"There are no readings of {series} in that time."
    if not known:
        return f"{device_id} has sent no readings yet."
    near = difflib.get_close_matches(series, known, n=2, cutoff=0.75) or known[:5]
    return f"{device_id} has sent no readings of {series!r}. Did you mean {' or '.join(near)}?"


def _print(lines: Iterable[str]) -> int:
    """Write lines as they come; returns how many. A reader that goes away ends it silently (click's EPIPE rule)."""
    count = 0
    write = sys.stdout.write
    for line in lines:
        if line:
            write(line + "\n")
            count += 1
    sys.stdout.flush()
    return count


def csv_lines(lines: Iterable[str]) -> Iterator[str]:
    """Turn NDJSON into CSV with a head."""
    yield "t_us,t,v"
    for line in lines:
        if line:
            one = json.loads(line)
            yield f"{one['t_us']},{one['t']},{_field(one['v'])}"


def _field(reading: object) -> str:
    """Quote a text value as RFC 4180 has it; numbers and truth stand as in JSON, no value is nothing."""
    if reading is None:
        return ""
    if isinstance(reading, str):
        return '"' + reading.replace('"', '""') + '"'
    return json.dumps(reading)


def _people(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if line:
            one = json.loads(line)
            second, micros = divmod(one["t_us"], 1_000_000)
            yield f"{clock(second * 1_000_000)}.{micros // 1000:03}  {value(one['v'])}"
