"""`fleet gap`: no silent loss."""

import click

from fleet.cli.client import Client, pass_client
from fleet.cli.nearest import naming_neighbours
from fleet.cli.options import device_argument, json_option, limit_option
from fleet.cli.output import print_array, table
from fleet.cli.shell import Group
from fleet.cli.times import clock


@click.group(cls=Group)
def gap() -> None:
    """See what will never arrive, and why."""


@gap.command("list", examples=("fleet gap list freezer-7k3m2q",))
@device_argument()
@limit_option(what="gaps")
@json_option("Print one JSON array.")
@pass_client
def list_(client: Client, device_id: str, limit: int | None, *, as_json: bool) -> None:
    """List the gaps in a device's data: readings or events that existed and will not come."""
    with naming_neighbours(client, device_id):
        found = client.items("devices", device_id, "gaps", limit=limit)
        if as_json:
            print_array(found)
            return
        rows = (
            (
                clock(one["from_us"]),
                clock(one["to_us"]),
                one.get("lane"),
                "unknown" if one.get("count") is None else one["count"],
                one.get("reason"),
            )
            for one in found
        )
        table(("from", "to", "lane", "lost", "reason"), rows, empty=f"{device_id} has lost nothing.")
