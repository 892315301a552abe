"""`fleet login`: learn a server's address and token, once."""

import os
import sys
from urllib.parse import urlsplit

import click

from fleet.cli import access
from fleet.cli.client import closing_client
from fleet.cli.options import json_option
from fleet.cli.output import print_json, say
from fleet.cli.shell import Command
from fleet.errors import Unauthenticated


@click.command(
    cls=Command,
    examples=(
        "fleet login http://127.0.0.1:8080 < fieldline-data/admin.token",
        "fleet login https://fleet.example.com --name work",
    ),
)
@click.argument("url", required=False)
@click.option("--name", metavar="CONTEXT", help="Call this server so; its host name otherwise.")
@click.option("--ca", type=click.Path(exists=True, dir_okay=False, resolve_path=True), help="Trust this CA (PEM file).")
@json_option()
def login(url: str | None, name: str | None, ca: str | None, *, as_json: bool) -> None:
    """Sign in to a fleet server.

    Asks for the token, or reads it from stdin, checks it with the server and keeps it readable by you alone. The
    server's own token is in the file admin.token of its data folder.
    """
    address = access.clean_url(url or os.environ.get("FLEET_URL", "") or access.DEFAULT_URL)
    host = urlsplit(address).hostname or ""
    if address.startswith("http:") and not access.is_loopback(host):
        click.echo(f"Warning: the token goes to {host} unencrypted; use https where the server has it.", err=True)
    server = access.Access(address, _token(address), ca or os.environ.get("FLEET_CA", ""), name or host)
    with closing_client(server) as client:
        who = client.get("whoami")
    access.save(access.load().adding(server))
    if as_json:
        print_json({"context": server.name, "url": address, **who})
    else:
        say(f"Signed in to {address} as {who.get('name')} ({who.get('scope')}); the context is {server.name!r}.")


def _token(address: str) -> str:
    if sys.stdin.isatty():
        typed = click.prompt(f"Token for {address}", hide_input=True, type=str)
    else:
        typed = sys.stdin.readline()
    token = str(typed).strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        hint = "A token is one word that starts with flt_; pipe it in or type it when asked."
        raise Unauthenticated("that is no token" if token else "no token was given", hint=hint)
    return token
