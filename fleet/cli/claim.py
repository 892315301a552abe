"""`fleet claim`: the right to join, once, for one new device."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click

from fleet.cli.client import Client, Item, pass_client
from fleet.cli.options import device_option, json_option, limit_option
from fleet.cli.output import age_of, facts, print_array, print_json, say, table, when, word
from fleet.cli.shell import Group
from fleet.cli.times import US, Span

CLAIMS_A_CALL = 250  # made in one transaction


@click.group(cls=Group)
def claim() -> None:
    """Prepare new devices."""


@claim.command(
    examples=(
        "fleet claim create --product freezer",
        "fleet claim create --product freezer --serial FZ-0042 --site 'Store 7' --expires 30d --json",
        "fleet claim create --product freezer --serial FZ-0043 --customer acme",
        "fleet claim create --product freezer --count 500 --expires 90d",
    )
)
@click.option("--product", required=True, metavar="P", help="What the device is: the model that is sold.")
@click.option("--device", metavar="ID", help="The id it shall have; otherwise PRODUCT-xxxxxx.")
@click.option("--serial", metavar="TEXT", help="The machine's own serial number, as on its plate.")
@click.option("--site", metavar="TEXT", help="Where it stands.")
@click.option("--customer", metavar="ID", help="Whose it is from now on; see `fleet customer list`.")
@click.option("--expires", type=Span(), metavar="SPAN", help="The claim is valid so long: 30m, 12h, 7d. [default: 7d]")
@click.option("--server", metavar="HOST[:PORT]", help="The gateway that the device shall call, as seen from there.")
@click.option("--count", type=click.IntRange(min=1), help="Make so many, for as many devices: a line each.")
@json_option()
@pass_client
def create(  # noqa: PLR0913 - one option a fact
    client: Client,
    *,
    product: str,
    device: str | None,
    serial: str | None,
    site: str | None,
    customer: str | None,
    expires: int | None,
    server: str | None,
    count: int | None,
    as_json: bool,
) -> None:
    """Make a claim: the string that a new device needs to join. It is shown once and works once.

    With --count many are made, for a production run: a line each, the device's id and its claim.
    """
    body = {
        "product": product,
        "site": site,
        "customer": customer,
        "expires_s": None if expires is None else max(1, expires // US["s"]),
        "server": server,
    }
    if count is not None:
        if device or serial:
            raise click.UsageError("--device and --serial are of one device; leave them out with --count.")
        _print_many(_make_many(client, body, count), as_json=as_json)
        return
    made = client.post("claims", body={**body, "device": device, "serial": serial})
    if as_json:
        print_json(made)
        return
    click.echo(made["claim"])
    facts(
        (
            ("device", made.get("device")),
            ("product", made.get("product")),
            ("serial", made.get("serial")),
            ("site", made.get("site")),
            ("customer", customer),
            ("valid until", when(made, "expires")),
        )
    )
    say("On the device, with that line in the place of CLAIM: sudo fleet-agent install CLAIM")


def _make_many(client: Client, body: Mapping[str, Any], count: int) -> Iterator[Item]:
    """Yield claims as they are made, some hundred a call."""
    while count > 0:
        made = client.post("claims", "many", body={**body, "count": min(count, CLAIMS_A_CALL)})["items"]
        yield from made
        count -= len(made)


def _print_many(made: Iterable[Item], *, as_json: bool) -> None:
    if as_json:
        print_array(made)
        return
    for one in made:
        click.echo(f"{one['device']}\t{one['claim']}")


@claim.command("list", examples=("fleet claim list --state open",))
@click.option("--state", type=click.Choice(["open", "used", "expired", "revoked"]), help="Only in this state.")
@device_option("Only for this device.")
@limit_option(what="claims")
@json_option("Print one JSON array.")
@pass_client
def list_(client: Client, state: str | None, device: str | None, limit: int | None, *, as_json: bool) -> None:
    """List claims, newest first; what a device needs to use one is not kept."""
    found = client.items("claims", limit=limit, state=state, device=device)
    if as_json:
        print_array(found)
        return
    rows = (
        (
            one.get("id"),
            word(one.get("state")),
            one.get("device"),
            age_of(one, "created"),
            age_of(one, "expires"),
            one.get("serial"),
            one.get("site"),
        )
        for one in found
    )
    columns = ("id", "state", "device", "made", "expires", "serial", "site")
    table(columns, rows, empty="There are no such claims. `fleet claim create` makes one.")


@claim.command(examples=("fleet claim revoke 7",))
@click.argument("claim_id", metavar="CLAIM", type=click.IntRange(min=1))
@json_option()
@pass_client
def revoke(client: Client, claim_id: int, *, as_json: bool) -> None:
    """Take an unused claim back, by its number in the list; a device that was only prepared goes with it."""
    done = client.post("claims", str(claim_id), "revoke", body={})
    if as_json:
        print_json(done)
    else:
        say(f"Claim {claim_id} is revoked; {done.get('device')} cannot enrol with it.")
