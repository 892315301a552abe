"""`fleet token`: access for programs and people."""

import click

from fleet.cli.client import Client, Item, pass_client
from fleet.cli.options import json_option, limit_option
from fleet.cli.output import age_of, print_array, print_json, say, table, when, word
from fleet.cli.shell import Group
from fleet.cli.times import US, Span, now_us


@click.group(cls=Group)
def token() -> None:
    """Give programs and people access, and take it away."""


@token.command(examples=("fleet token create ana --scope technician --expires 90d",))
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice(["read", "technician", "admin"]),
    default="read",
    show_default=True,
    help="What it may do; each includes the one before.",
)
@click.option("--expires", type=Span(), metavar="SPAN", help="It is valid so long; for ever otherwise.")
@json_option()
@pass_client
def create(client: Client, name: str, scope: str, expires: int | None, *, as_json: bool) -> None:
    """Make a token for NAME. It is shown once; events carry the name of who did what."""
    expires_s = None if expires is None else max(1, expires // US["s"])
    made = client.post("tokens", body={"name": name, "scope": scope, "expires_s": expires_s})
    if as_json:
        print_json(made)
        return
    click.echo(made["token"])
    say(f"Token {made.get('id')} for {name} ({scope}). This is the only time that it is shown.")


def _state(one: Item) -> object:
    ends_us = one.get("expires_us")
    if one.get("revoked_us"):
        return word("revoked")
    return "expired" if ends_us and ends_us <= now_us() else "valid"


@token.command("list", examples=("fleet token list",))
@limit_option(what="tokens")
@json_option("Print one JSON array.")
@pass_client
def list_(client: Client, limit: int | None, *, as_json: bool) -> None:
    """List tokens; never their secrets."""
    found = client.items("tokens", limit=limit)
    if as_json:
        print_array(found)
        return
    rows = (
        (
            one.get("id"),
            one.get("name"),
            one.get("scope"),
            age_of(one, "created"),
            when(one, "expires") or "never",
            _state(one),
        )
        for one in found
    )
    table(("id", "name", "scope", "created", "expires", "state"), rows, empty="There are no tokens.")


@token.command(examples=("fleet token revoke 3",))
@click.argument("token_id", metavar="TOKEN", type=click.IntRange(min=1))
@json_option()
@pass_client
def revoke(client: Client, token_id: int, *, as_json: bool) -> None:
    """End a token's validity, at once. TOKEN is its number in `fleet token list`."""
    done = client.delete("tokens", str(token_id))
    if as_json:
        print_json(done)
    else:
        say(f"Token {token_id} is no longer valid.")
