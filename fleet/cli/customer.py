"""`fleet customer`: who the machines are sold to."""

import click

from fleet.cli.client import Client, Item, pass_client
from fleet.cli.options import json_option, limit_option
from fleet.cli.output import age_of, facts, heading, print_array, print_json, say, table, text, when, word
from fleet.cli.shell import Group

SHOWN_DEVICES = 100
DONE = {"added": "is added", "changed": "is changed", "none": "is known already, just so"}


@click.group(cls=Group)
def customer() -> None:
    """See and add customers."""


@customer.command(
    examples=(
        "fleet customer add acme --name 'ACME Süd GmbH'",
        "fleet customer add acme --name 'ACME Süd GmbH' --external D-10023 --json",
    )
)
@click.argument("customer_id", metavar="CUSTOMER")
@click.option("--name", required=True, metavar="TEXT", help="What people read.")
@click.option("--external", metavar="TEXT", help="What an ERP or CRM calls the customer; no two have the same.")
@json_option()
@pass_client
def add(client: Client, customer_id: str, name: str, external: str | None, *, as_json: bool) -> None:
    """Add a customer, or change what is known of one: CUSTOMER is an id of your own, such as acme.

    The same again changes nothing, so an import may run as often as it likes.
    """
    done = client.put("customers", customer_id, body={"name": name, "external_id": external})
    if as_json:
        print_json(done)
    else:
        say(f"{customer_id} {DONE.get(done.get('change'), 'is added')}: {done.get('name')}.")


@customer.command("list", examples=("fleet customer list", "fleet customer list --query süd --json"))
@click.option("--query", "-q", metavar="TEXT", help="Only those whose id, name or external id holds this.")
@limit_option(what="customers")
@json_option("Print one JSON array.")
@pass_client
def list_(client: Client, query: str | None, limit: int | None, *, as_json: bool) -> None:
    """List customers, with how many devices are theirs."""
    found = client.items("customers", limit=limit, q=query)
    if as_json:
        print_array(found)
        return
    rows = (
        (one.get("id"), one.get("name"), one.get("external_id"), one.get("devices"), age_of(one, "created"))
        for one in found
    )
    columns = ("id", "name", "external id", "devices", "added")
    table(columns, rows, empty="There are no such customers. `fleet customer add` adds one.")


@customer.command(examples=("fleet customer show acme", "fleet customer show acme --json"))
@click.argument("customer_id", metavar="CUSTOMER")
@json_option()
@pass_client
def show(client: Client, customer_id: str, *, as_json: bool) -> None:
    """Show one customer and their devices."""
    found = client.get("customers", customer_id)
    if as_json:
        print_json(found)
        return
    say(text(found.get("name"), "bold"))
    facts(
        (
            ("id", found.get("id")),
            ("external id", found.get("external_id")),
            ("devices", found.get("devices")),
            ("added", when(found, "created")),
        )
    )
    if found.get("devices"):
        heading("Devices")
        devices = client.items("devices", limit=SHOWN_DEVICES, customer=customer_id)
        table(("id", "presence", "product", "serial", "site"), map(_device, devices), empty="")
        if found["devices"] > SHOWN_DEVICES:
            say(text(f"All of them: fleet device list --customer {customer_id}", "dim"))


def _device(one: Item) -> tuple[object, ...]:
    presence = word("revoked" if one.get("revoked") else one.get("presence"))
    return one.get("id"), presence, one.get("product"), one.get("serial"), one.get("site")
