"""`fleet quarantine`: what could not be read is kept, bytes and all."""

import click

from fleet.cli.client import Client, pass_client
from fleet.cli.options import device_option, json_option, limit_option
from fleet.cli.output import age_of, print_array, table
from fleet.cli.shell import Group


@click.group(cls=Group)
def quarantine() -> None:
    """See what devices sent that could not be read."""


@quarantine.command("list", examples=("fleet quarantine list --device freezer-7k3m2q",))
@device_option()
@limit_option()
@json_option("Print one JSON array.")
@pass_client
def list_(client: Client, device: str | None, limit: int | None, *, as_json: bool) -> None:
    """List quarantined batches, newest first: where each could not be read, and why."""
    found = client.items("quarantine", limit=limit, device=device)
    if as_json:
        print_array(found)
        return
    rows = (
        (
            one.get("id"),
            one.get("device"),
            age_of(one, "received"),
            one.get("road"),
            one.get("place"),
            one.get("problem"),
        )
        for one in found
    )
    table(("id", "device", "received", "road", "place", "problem"), rows, empty="Nothing is in quarantine.")
