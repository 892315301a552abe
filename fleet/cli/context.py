"""`fleet context`: the servers that this user is signed in to."""

import click

from fleet.cli import access
from fleet.cli.options import json_option
from fleet.cli.output import print_array, print_json, say, table
from fleet.cli.shell import Group


@click.group(cls=Group)
def context() -> None:
    """Choose between the servers you are signed in to."""


@context.command("list", examples=("fleet context list",))
@json_option()
def list_(*, as_json: bool) -> None:
    """List the servers; the current one is marked."""
    contexts = access.load()
    if as_json:
        print_array({"name": n, "url": a.url, "current": n == contexts.current} for n, a in contexts.known.items())
        return
    rows = (("*" if name == contexts.current else "", name, one.url) for name, one in contexts.known.items())
    table(("", "name", "url"), rows, empty="You are signed in nowhere. Sign in with `fleet login URL`.")


@context.command(examples=("fleet context use work",))
@click.argument("name")
@json_option()
def use(name: str, *, as_json: bool) -> None:
    """Speak to this server from now on."""
    contexts = access.load().using(name)
    access.save(contexts)
    if as_json:
        print_json({"name": name, "url": contexts.known[name].url, "current": True})
    else:
        say(f"Now speaking to {contexts.known[name].url}.")


@context.command(examples=("fleet context remove work",))
@click.argument("name")
@json_option()
def remove(name: str, *, as_json: bool) -> None:
    """Forget a server and its token; the token itself stays valid (see `fleet token revoke`)."""
    access.save(access.load().without(name))
    if as_json:
        print_json({"name": name, "removed": True})
    else:
        say(f"Forgot {name}. The token itself stays valid until it is revoked.")
