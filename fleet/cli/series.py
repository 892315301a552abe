"""`fleet series`: one series over many devices."""

import click

from fleet.cli.client import Client, Item, pass_client
from fleet.cli.options import json_option
from fleet.cli.output import age_of, facts, heading, print_array, print_json, say, shown_unit, table, value
from fleet.cli.shell import Command, Group
from fleet.cli.times import Time

BAR_CHARS = 40


@click.group(cls=Group)
def series() -> None:
    """See one series over many devices.

    Which devices, say words: product:freezer site:Berlin*,Hamburg -device:freezer-1, or a part of id, serial or site.
    All of them must hold; without any it is the whole fleet.
    """


@series.command(
    cls=Command,
    examples=(
        "fleet series latest board.temp product:freezer",
        "fleet series latest board.temp --highest --limit 10",
        "fleet series latest board.temp site:Berlin* --from -1h --json",
    ),
)
@click.argument("name", metavar="SERIES")
@click.argument("selector", metavar="[WHICH]...", nargs=-1)
@click.option("--highest", "order", flag_value="highest", help="The highest values first.")
@click.option("--lowest", "order", flag_value="lowest", help="The lowest values first.")
@click.option("--limit", type=click.IntRange(min=1), help="Print at most so many devices; all of them otherwise.")
@click.option("--from", "from_us", type=Time(), metavar="TIME", help="Only devices that have said it since then.")
@json_option("Print one JSON array.")
@pass_client
def latest(  # noqa: PLR0913 - one option a fact
    client: Client,
    *,
    name: str,
    selector: tuple[str, ...],
    order: str | None,
    limit: int | None,
    from_us: int | None,
    as_json: bool,
) -> None:
    """Show the newest value of a series of every device."""
    which = joined(selector)
    told = client.get("fleet", "latest", series=name, selector=which, order=order, limit=limit, from_=from_us)
    if as_json:
        print_array(told["items"])
        return
    columns = ("device", name, "when", "product", "site")
    table(columns, map(_row, told["items"]), empty=f"No device has said {name}.")


def joined(words: tuple[str, ...]) -> str | None:
    """Return the words of a selector as one text; quotes that the shell took away are put back. None for none."""
    return " ".join(map(_quoted, words)) or None


def _quoted(word: str) -> str:
    if " " not in word or '"' in word:
        return word
    field, colon, values = word.rpartition(":")
    return field + colon + ",".join(f'"{value}"' for value in values.split(","))


def _row(one: Item) -> tuple[object, ...]:
    return one["device"], value(one["v"], one["unit"]), age_of(one, "t"), one["product"], one["site"]


@series.command(
    cls=Command,
    examples=("fleet series spread board.temp product:freezer", "fleet series spread board.temp --bars 20 --json"),
)
@click.argument("name", metavar="SERIES")
@click.argument("selector", metavar="[WHICH]...", nargs=-1)
@click.option("--bars", type=click.IntRange(1, 100), default=10, show_default=True, help="Bars of the histogram.")
@click.option("--from", "from_us", type=Time(), metavar="TIME", help="Only devices that have said it since then.")
@json_option()
@pass_client
def spread(  # noqa: PLR0913 - one option a fact
    client: Client, *, name: str, selector: tuple[str, ...], bars: int, from_us: int | None, as_json: bool
) -> None:
    """Show how the newest values of a series are spread: percentiles and a histogram over devices."""
    which = joined(selector)
    told = client.get("fleet", "spread", series=name, selector=which, bars=bars, from_=from_us)
    if as_json:
        print_json(told)
    elif not told["devices"]:
        say(f"No device has said {name}.")
    else:
        _people(told)


def _people(told: Item) -> None:
    unit = told["unit"]
    facts(
        [
            ("devices", told["devices"]),
            ("without a value", told["empty"] or None),
            *((word, value(told[word], unit)) for word in ("min", "max", "mean") if told[word] is not None),
            *((rank, value(found, unit)) for rank, found in told["percentiles"].items()),
        ]
    )
    most = max((bar["count"] for bar in told["histogram"]), default=0)
    if most:
        heading(f"devices by {told['series']} {shown_unit(unit)}".rstrip())
        rows = (
            (f"{bar['from']:.6g}", f"{bar['to']:.6g}", bar["count"], "█" * -(-bar["count"] * BAR_CHARS // most))
            for bar in told["histogram"]
        )
        table(("from", "to", "devices", ""), rows, empty="")
    if told["texts"]:
        heading("devices by what they say")
        table(("text", "devices"), ((one["text"], one["count"]) for one in told["texts"]), empty="")
