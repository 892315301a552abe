"""`fleet claim`: the right to join, once, for one new device."""

import click

from fleet.cli.client import Client, pass_client
from fleet.cli.options import device_option, json_option, limit_option
from fleet.cli.output import age_of, facts, print_array, print_json, say, table, when, word
from fleet.cli.shell import Group
from fleet.cli.times import US, Span


@click.group(cls=Group)
def claim() -> None:
    """Prepare new devices."""


@claim.command(
    examples=(
        "fleet claim create --product freezer",
        "fleet claim create --product freezer --serial FZ-0042 --site 'Store 7' --expires 30d --json",
    )
)
@click.option("--product", required=True, metavar="P", help="What the device is: the model that is sold.")
@click.option("--device", metavar="ID", help="The id it shall have; otherwise PRODUCT-xxxxxx.")
@click.option("--serial", metavar="TEXT", help="The machine's own serial number, as on its plate.")
@click.option("--site", metavar="TEXT", help="Where it stands.")
@click.option("--expires", type=Span(), metavar="SPAN", help="The claim is valid so long: 30m, 12h, 7d. [default: 7d]")
@click.option("--server", metavar="HOST[:PORT]", help="The gateway that the device shall call, as seen from there.")
@json_option()
@pass_client
def create(  # noqa: PLR0913 - one option a fact
    client: Client,
    *,
    product: str,
    device: str | None,
    serial: str | None,
    site: str | None,
    expires: int | None,
    server: str | None,
    as_json: bool,
) -> None:
    """Make a claim: the string that a new device needs to join. It is shown once and works once."""
    body = {
        "product": product,
        "device": device,
        "serial": serial,
        "site": site,
        "expires_s": None if expires is None else max(1, expires // US["s"]),
        "server": server,
    }
    made = client.post("claims", body=body)
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
            ("valid until", when(made, "expires")),
        )
    )
    say("On the device, with that line in the place of CLAIM: sudo fleet-agent install CLAIM")


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
