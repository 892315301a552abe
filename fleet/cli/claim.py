"""`fleet claim`: the right to join, once, for one new device."""

import click

from fleet.cli.client import Client, pass_client
from fleet.cli.options import json_option
from fleet.cli.output import facts, print_json, say, when
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
    say("On the device: fleet-agent enroll CLAIM")
