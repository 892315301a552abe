"""`fleet meter`: what counters have counted."""

import csv
import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from fleet.cli import times
from fleet.cli.client import Client, Item, pass_client
from fleet.cli.nearest import naming_neighbours
from fleet.cli.options import device_argument, json_option
from fleet.cli.output import print_json, say, shown_unit, table, value
from fleet.cli.reading import NDJSON
from fleet.cli.series import joined
from fleet.cli.shell import Command, Group
from fleet.cli.times import Span, in_order

SILENCE_S = 600.0  # between two devices at most
LABELS = {"hour": "%Y-%m-%d %H:%M", "day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}
CSV = (
    *("device", "series", "unit", "from", "to", "usage", "coverage", "opening_t", "opening", "closing_t", "closing"),
    *("readings", "falls", "gaps", "unsure", "exact"),
)


@click.group(cls=Group)
def meter() -> None:
    """See what counters have counted, by hour, day, month or year."""


@meter.command(
    cls=Command,
    examples=(
        "fleet meter usage freezer-7k3m2q meter.energy --by month --zone Europe/Berlin",
        "fleet meter usage freezer-7k3m2q meter.energy --by day --from 2026-01-01 --to 2026-02-01 --csv",
        "fleet meter usage freezer-7k3m2q door.count --by hour --rollover 65536 --json",
    ),
)
@device_argument()
@click.argument("series")
@click.option("--by", type=click.Choice(list(LABELS)), default="day", show_default=True, help="How long a period is.")
@click.option("--from", "from_text", metavar="TIME", help="From this time on: ISO-8601, -30d, or epoch microseconds.")
@click.option("--to", "to_text", metavar="TIME", help="Before this time; up to now if not said.")
@click.option(
    "--zone", default="UTC", show_default=True, help="Where days begin, and where times without a zone are meant."
)
@click.option(
    "--rollover",
    type=click.FloatRange(min=0),
    help="One more than the counter's greatest value. A counter that goes back was reset if it is not given.",
)
@click.option("--max-gap", "max_gap_us", type=Span(), help="Readings farther apart leave a gap; 1h if not said.")
@json_option()
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, a line a period.")
@pass_client
def usage(  # noqa: PLR0913 - one option a fact
    client: Client,
    *,
    device_id: str,
    series: str,
    by: str,
    from_text: str | None,
    to_text: str | None,
    zone: str,
    rollover: float | None,
    max_gap_us: int | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Show what a counter of a device has counted, period by period.

    A period is counted from the last reading before it to its own last reading, so that periods add up; coverage says
    how much of it lies in no gap. A counter that goes back was reset and has counted from 0, or has rolled over.
    """
    if as_json and as_csv:
        raise click.UsageError("Choose one of --json and --csv.")
    place = _zone(zone)
    from_us, to_us = _time(from_text, place, "--from"), _time(to_text, place, "--to")
    in_order(from_us, to_us)
    with naming_neighbours(client, device_id):
        told = client.get(
            "devices",
            device_id,
            "usage",
            series=series,
            by=by,
            from_=from_us,
            to=to_us,
            zone=zone,
            rollover=rollover,
            max_gap_s=None if max_gap_us is None else max_gap_us // times.US["s"],
        )
    if as_json:
        print_json(told)
    elif as_csv:
        _csv(told)
    else:
        _people(told, place)


@meter.command(
    cls=Command,
    examples=(
        "fleet meter total meter.energy product:freezer --from 2026-01-01 --to 2026-02-01 --zone Europe/Berlin",
        "fleet meter total meter.energy --from -30d --json",
    ),
)
@click.argument("series")
@click.argument("selector", metavar="[WHICH]...", nargs=-1)
@click.option("--from", "from_text", metavar="TIME", help="From this time on; a year ago if not said.")
@click.option("--to", "to_text", metavar="TIME", help="Before this time; up to now if not said.")
@click.option("--zone", default="UTC", show_default=True, help="Where times without a zone are meant.")
@json_option("Print one JSON object a device, with its months.")
@pass_client
def total(  # noqa: PLR0913 - one option a fact
    client: Client,
    *,
    series: str,
    selector: tuple[str, ...],
    from_text: str | None,
    to_text: str | None,
    zone: str,
    as_json: bool,
) -> None:
    """Show what a counter has counted on every device, and their sum.

    Which devices, say words: product:freezer site:Berlin*, or a part of id, serial or site; all of them otherwise.
    """
    place = _zone(zone)
    from_us, to_us = _time(from_text, place, "--from"), _time(to_text, place, "--to")
    in_order(from_us, to_us)
    query: dict[str, Any] = {
        "series": series,
        "selector": joined(selector),
        "from_": from_us,
        "to": to_us,
        "zone": zone,
    }
    lines = (line for line in client.lines("fleet", "usage", accept=NDJSON, silence_s=SILENCE_S, **query) if line)
    if as_json:
        for line in lines:
            click.echo(line)
        return
    columns = ("device", "usage", "covered", "counted from", "to", "readings", "remarks")
    table(columns, _rows(map(json.loads, lines)), empty=f"No such device has said {series}.")


def _rows(devices: Iterator[Item]) -> Iterator[tuple[object, ...]]:
    count, sums = 0, dict[str, float]()
    for one in devices:
        usage, *rest = _row(one["total"])
        yield one["device"], f"{usage} {shown_unit(one['unit'])}".rstrip(), *rest
        sums[one["unit"]] = sums.get(one["unit"], 0) + (one["total"]["usage"] or 0)
        count += 1
    if count > 1:
        yield f"all {count}", ", ".join(value(usage, unit) for unit, usage in sums.items()), *[""] * 5


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise click.BadParameter(f"there is no time zone {name!r}; say one such as Europe/Berlin.") from error


def _time(said: str | None, zone: ZoneInfo, option: str) -> int | None:
    try:
        return None if said is None else times.parse_time(said, times.now_us(), zone)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from error


def _people(told: Item, zone: ZoneInfo) -> None:
    if not told["total"]["readings"]:
        say(f"{told['device']} has sent no numbers of {told['series']} in that time.")
        return
    unit = shown_unit(told["unit"])
    columns = (told["by"], f"usage {unit}".rstrip(), "covered", "counted from", "to", "readings", "remarks")
    labels = (_label(one, told["by"], zone) for one in told["periods"])
    rows = [(label, *_row(one)) for label, one in zip(labels, told["periods"], strict=True)]
    table(columns, [*rows, ("all", *_row(told["total"]))], empty="")


def _label(one: Item, by: str, zone: ZoneInfo) -> str:
    begin = (times.EPOCH + timedelta(microseconds=one["from_us"])).astimezone(zone)
    return begin.strftime(LABELS[by])


def _row(one: Item) -> Iterator[object]:
    yield "-" if one["usage"] is None else value(one["usage"])
    yield "" if one["coverage"] is None else f"{one['coverage']:.1%}"
    for mark in (one["opening"], one["closing"]):
        yield "" if mark is None else f"{value(mark['v'])} ({times.clock(mark['t_us'])})"
    yield one["readings"]
    yield ", ".join(_remarks(one))


def _remarks(one: Item) -> Iterator[str]:
    rolled = sum(fall["rolled_over"] for fall in one["falls"])
    if one["fall_count"] > rolled:
        yield f"reset {_times(one['fall_count'] - rolled)}"
    if rolled:
        yield f"rolled over {_times(rolled)}"
    if one["gap_count"]:
        yield "1 gap" if one["gap_count"] == 1 else f"{one['gap_count']} gaps"
    if one["unsure"]:
        yield "clock unsure"
    if not one["exact"]:
        yield "at least"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _csv(told: Item) -> None:
    write = csv.writer(sys.stdout, lineterminator="\n").writerow
    write(CSV)
    for one in told["periods"]:
        opening, closing = one["opening"] or {}, one["closing"] or {}
        marks = (opening.get("t"), opening.get("v"), closing.get("t"), closing.get("v"))
        counts = (one["readings"], one["fall_count"], one["gap_count"], one["unsure"], one["exact"])
        head = (told["device"], told["series"], told["unit"], one["from"], one["to"], one["usage"], one["coverage"])
        write((*head, *marks, *counts))
