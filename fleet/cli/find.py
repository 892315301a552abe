"""`fleet find`: one look-up by whatever is at hand."""

import click

from fleet.cli.client import Client, pass_client
from fleet.cli.options import json_option
from fleet.cli.output import print_array, table, text
from fleet.cli.shell import Command, NothingThere


@click.command(cls=Command, examples=("fleet find FZ-0042", "fleet find 'Store 7'", "fleet find 12 --json"))
@click.argument("anything")
@json_option("Print one JSON array.")
@pass_client
def find(client: Client, anything: str, *, as_json: bool) -> None:
    """Find devices, tickets and more by anything you know of them.

    An id, a serial, a customer, a site, a word of a title.
    """
    found = client.get("find", q=anything)["items"]
    if as_json:
        print_array(found)
        return
    if not found:
        raise NothingThere(f"Nothing is known by {anything!r}.", "Try a part of it: find looks inside.")
    rows = ((one.get("noun"), text(one.get("label"), "bold"), one.get("text")) for one in found)
    table(("what", "which", "about"), rows, empty="")
