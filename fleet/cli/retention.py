"""`fleet retention`: how long telemetry is kept, and what of it is too old."""

import re

import click

from fleet.cli.client import Client, Item, pass_client
from fleet.cli.options import json_option
from fleet.cli.output import age_of, person, print_json, say, table
from fleet.cli.shell import Group

KEPT = ("readings", "15min", "1day")
DAYS = {"d": 1, "w": 7, "y": 365}
DEFAULT = "default"
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


class Days(click.ParamType[object]):
    """A number of days: 90, 90d, 12w, 2y; or `default`, None then."""

    name = "days"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        """Read what was said."""
        if not isinstance(value, str) or value == DEFAULT:
            return value
        found = re.fullmatch(r"([0-9]{1,6})\s*([dwy]?)", value)
        if found is None:
            self.fail(f"{value!r} is no number of days; say 90d, 12w, 2y or {DEFAULT}.", param, ctx)
        return int(found[1]) * DAYS[found[2] or "d"]


@click.group(cls=Group)
def retention() -> None:
    """See and set how long telemetry is kept."""


@retention.command(examples=("fleet retention show", "fleet retention show freezer"))
@click.argument("product", required=False)
@json_option()
@pass_client
def show(client: Client, product: str | None, *, as_json: bool) -> None:
    """Show how long readings, windows of 15 minutes and days are kept, of PRODUCT or of all."""
    found = client.get("retention")
    items = [one for one in found["items"] if product is None or one["product"] in (product, None)]
    if as_json:
        print_json({"items": items})
        return
    _print(items)
    if product is not None and all(one["product"] != product for one in items):
        say(f"There is no product {product}: what holds for the fleet would hold for it.")


@retention.command(
    "set",
    examples=(
        "fleet retention set --readings 30d --15min 1y",
        "fleet retention set freezer --readings 180d",
        "fleet retention set freezer --readings default",
    ),
)
@click.argument("product", required=False)
@click.option("--readings", type=Days(), help="Keep readings so long: 90d, 12w, 2y, or default.")
@click.option("--15min", "quarters", type=Days(), help="Keep windows of 15 minutes so long.")
@click.option("--1day", "days", type=Days(), help="Keep days so long.")
@json_option()
@pass_client
def set_(  # noqa: PLR0913 - one option a fact
    client: Client,
    *,
    product: str | None,
    readings: int | str | None,
    quarters: int | str | None,
    days: int | str | None,
    as_json: bool,
) -> None:
    """Set how long telemetry is kept, of PRODUCT or of all products that have no time of their own.

    What is older goes at the next turn, for good; see what that would be: fleet retention run --dry-run.
    """
    said = {kept: wanted for kept, wanted in zip(KEPT, (readings, quarters, days), strict=True) if wanted is not None}
    if not said:
        raise click.UsageError("Say at least one of --readings, --15min and --1day.")
    body = {
        "product": product,
        "days": {kept: None if wanted == DEFAULT else wanted for kept, wanted in said.items()},
    }
    now = client.post("retention", body=body)
    if as_json:
        print_json(now)
    else:
        _print(now["items"])


@retention.command(examples=("fleet retention run --dry-run", "fleet retention run"))
@click.option("--dry-run", is_flag=True, help="Only say what is too old; nothing goes.")
@json_option()
@pass_client
def run(client: Client, *, dry_run: bool, as_json: bool) -> None:
    """Let go now of what is too old; the fleet does so by itself, a little every minute."""
    total: list[Item] = []
    more = True
    while more:
        done = client.post("retention", "run", body={"dry_run": dry_run})
        total = _added(total, done["items"])
        more = done["more"]
    if as_json:
        print_json({"dry_run": dry_run, "items": total})
        return
    rows = [one for one in total if one["rows"]]
    table(
        ("product", "kept", "before", "devices", "readings", "size"),
        (
            (
                one["product"] or "all",
                one["kept"],
                (one["before"] or "")[:10],
                one["devices"],
                one["readings"] or "",
                size(one["size_bytes"]),
            )
            for one in rows
        ),
        empty="Nothing is older than it is to be kept.",
    )
    if rows:
        say("Nothing was touched: this was a dry run." if dry_run else "It is gone.")


def _print(items: list[Item]) -> None:
    rows = (
        (
            one["product"] or "(all)",
            one["kept"],
            f"{one['days']} d",
            "its own" if one["own"] else "",
            person(one["author"]),
            age_of(one, "set") if one["set"] else "",
        )
        for one in items
    )
    table(("product", "kept", "for", "", "by", "set"), rows, empty="Nothing is kept.")


def _added(total: list[Item], some: list[Item]) -> list[Item]:
    """Add what several runs have done, line by line."""
    if not total:
        return some
    sums = ("devices", "readings", "rows", "size_bytes")
    return [{**one, **{name: one[name] + other[name] for name in sums}} for one, other in zip(total, some, strict=True)]


def size(count: float) -> str:
    """Return a number of bytes for people."""
    for unit in _UNITS:
        if count < 1000 or unit == _UNITS[-1]:  # noqa: PLR2004 - the next unit
            return f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError(count)
