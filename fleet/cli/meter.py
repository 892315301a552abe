"""`fleet meter`: what counters have counted."""

import csv
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
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


@dataclass(frozen=True, slots=True)
class Asked:
    """How a counter is asked for, from the options that `usage` and `customers` share."""

    by: str
    place: ZoneInfo
    query: dict[str, Any]  # as the API takes it
    as_json: bool
    as_csv: bool


def asking(usually: str, since: str, json_text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options of periods and of how a counter counts; the command is given them as `asked`."""
    options = (
        click.option(
            "--by", type=click.Choice(list(LABELS)), default=usually, show_default=True, help="How long a period is."
        ),
        click.option("--from", "from_text", metavar="TIME", help=since),
        click.option("--to", "to_text", metavar="TIME", help="Before this time; up to now if not said."),
        click.option(
            "--zone",
            default="UTC",
            show_default=True,
            help="Where days begin, and where times without a zone are meant.",
        ),
        click.option(
            "--rollover",
            type=click.FloatRange(min=0),
            help="One more than the counter's greatest value. A counter that goes back was reset if it is not given.",
        ),
        click.option(
            "--max-gap", "max_gap_us", type=Span(), help="Readings farther apart leave a gap; 1h if not said."
        ),
        json_option(json_text),
        click.option("--csv", "as_csv", is_flag=True, help="Print CSV, a line a period."),
    )

    def add(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def ask(  # noqa: PLR0913 - one option a fact
            *args: object,
            by: str,
            from_text: str | None,
            to_text: str | None,
            zone: str,
            rollover: float | None,
            max_gap_us: int | None,
            as_json: bool,
            as_csv: bool,
            **rest: object,
        ) -> None:
            if as_json and as_csv:
                raise click.UsageError("Choose one of --json and --csv.")
            place, query = _span(from_text, to_text, zone)
            query |= {"by": by, "rollover": rollover, "max_gap_s": max_gap_us and max_gap_us // times.US["s"]}
            command(*args, asked=Asked(by, place, query, as_json, as_csv), **rest)

        asks = ask
        for option in reversed(options):
            asks = option(asks)
        return asks

    return add


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
@asking("day", "From this time on: ISO-8601, -30d, or epoch microseconds.", "Print JSON for programs.")
@pass_client
def usage(client: Client, *, device_id: str, series: str, asked: Asked) -> None:
    """Show what a counter of a device has counted, period by period.

    A period is counted from the last reading before it to its own last reading, so that periods add up; coverage says
    how much of it lies in no gap. A counter that goes back was reset and has counted from 0, or has rolled over.
    """
    with naming_neighbours(client, device_id):
        told = client.get("devices", device_id, "usage", series=series, **asked.query)
    if asked.as_json:
        print_json(told)
    elif asked.as_csv:
        _csv(told)
    else:
        _people(told, asked.place)


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
    _, query = _span(from_text, to_text, zone)
    query |= {"series": series, "selector": joined(selector)}
    lines = (line for line in client.lines("fleet", "usage", accept=NDJSON, silence_s=SILENCE_S, **query) if line)
    if as_json:
        for line in lines:
            click.echo(line)
        return
    columns = ("device", "usage", "covered", "counted from", "to", "readings", "remarks")
    table(columns, _rows(map(json.loads, lines)), empty=f"No such device has said {series}.")


@meter.command(
    cls=Command,
    examples=(
        "fleet meter customers meter.energy --from 2026-01-01 --to 2026-02-01 --zone Europe/Berlin",
        "fleet meter customers meter.energy product:freezer --customer acme --by month --csv",
        "fleet meter customers meter.energy --customer acme --devices --json",
    ),
)
@click.argument("series")
@click.argument("selector", metavar="[WHICH]...", nargs=-1)
@click.option("--customer", metavar="ID", help="Only this customer, with devices that were theirs once.")
@click.option("--devices", is_flag=True, help="Device by device, with the readings that each is counted from and to.")
@asking(
    "month",
    "From this time on; a year ago if not said.",
    "Print one JSON object a customer, or a device and customer.",
)
@pass_client
def customers(  # noqa: PLR0913 - one option a fact
    client: Client, *, series: str, selector: tuple[str, ...], customer: str | None, devices: bool, asked: Asked
) -> None:
    """Show what a counter has counted for each customer: on all devices, while they were theirs.

    A device counts for a customer from the first reading of its time with them to the last; the step over a transfer
    is nobody's. WHICH chooses devices as they stand now, --customer by whose they were.
    """
    query = {"series": series, "selector": joined(selector), "customer": customer, **asked.query}
    kind = "shares" if devices else "customers"
    told = client.lines("fleet", "usage", kind, accept=NDJSON, silence_s=SILENCE_S, **query)
    lines = (line for line in told if line)
    if asked.as_json:
        for line in lines:
            click.echo(line)
    elif asked.as_csv:
        _csv_of_customers(map(json.loads, lines), devices=devices)
    else:
        whose, ends = (("device",), ("counted from", "to")) if devices else ((), ("devices",))
        columns = ("customer", *whose, asked.by, "usage", "covered", *ends, "readings", "remarks")
        rows = _rows_of_customers(map(json.loads, lines), asked.by, asked.place)
        table(columns, rows, empty=f"No such device has said {series}.")


def _rows_of_customers(found: Iterator[Item], by: str, place: ZoneInfo) -> Iterator[tuple[object, ...]]:
    for one in found:
        who = (one["name"] or "nobody", *((one["device"],) if "device" in one else ()))
        parts = [(_label(period, by, place), period) for period in one["periods"]]
        for label, part in [*parts, ("all", one["total"])] if len(parts) > 1 else parts:
            used, covered, *ends, readings, remarks = _row(part) if "opening" in part else _summed(part)
            yield *who, label, f"{used} {shown_unit(one['unit'])}".rstrip(), covered, *ends, readings, remarks


def _summed(one: Item) -> Iterator[object]:
    yield "-" if one["usage"] is None else value(one["usage"])
    yield "" if one["coverage"] is None else f"{one['coverage']:.1%}"
    yield one["devices"]
    yield one["readings"]
    falls = f"{one['fall_count']} falls" if one["fall_count"] else ""
    yield ", ".join(filter(None, (falls, *_doubts(one))))


def _csv_of_customers(found: Iterator[Item], *, devices: bool) -> None:
    write = csv.writer(sys.stdout, lineterminator="\n").writerow
    head = ("customer", "name")
    write((*head, *CSV) if devices else (*head, *CSV[1:7], "devices", *CSV[11:]))
    for one in found:
        for part in one["periods"]:
            used: tuple[object, ...] = (
                one["series"],
                one["unit"],
                part["from"],
                part["to"],
                part["usage"],
                part["coverage"],
            )
            ends: tuple[object, ...] = (part.get("devices"),)
            if devices:
                used = (one["device"], *used)
                ends = tuple((part[end] or {}).get(key) for end in ("opening", "closing") for key in ("t", "v"))
            counts = (part["readings"], part["fall_count"], part["gap_count"], part["unsure"], part["exact"])
            write((one["customer"] or "", one["name"], *used, *ends, *counts))


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


def _span(from_text: str | None, to_text: str | None, zone: str) -> tuple[ZoneInfo, dict[str, Any]]:
    """Return the zone, and the time that is asked for, as the API takes it."""
    place = _zone(zone)
    from_us, to_us = _time(from_text, place, "--from"), _time(to_text, place, "--to")
    in_order(from_us, to_us)
    return place, {"from_": from_us, "to": to_us, "zone": zone}


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
    yield from _doubts(one)


def _doubts(one: Item) -> Iterator[str]:
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
