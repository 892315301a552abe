"""`fleet node`: the servers of a fleet that has several."""

import click

from fleet.cli.client import Client, pass_client
from fleet.cli.options import json_option
from fleet.cli.output import age_of, print_array, table, word
from fleet.cli.shell import Group


@click.group(cls=Group)
def node() -> None:
    """See the servers that share the database."""


@node.command("list", examples=("fleet node list", "fleet node list --json"))
@json_option("Print one JSON array.")
@pass_client
def list_(client: Client, *, as_json: bool) -> None:
    """List nodes: since when each is up, when it was last heard, and the jobs that it does."""
    found = client.get("nodes")["items"]
    if as_json:
        print_array(found)
        return
    rows = (
        (
            one.get("address"),
            word("up" if one.get("up") else "gone"),
            one.get("version"),
            age_of(one, "started"),
            age_of(one, "seen"),
            ", ".join(one.get("jobs", ())),
        )
        for one in found
    )
    empty = "One server is alone here. `fleet serve --cluster-key` makes it one of several."
    table(("address", "state", "version", "started", "seen", "jobs"), rows, empty=empty)
