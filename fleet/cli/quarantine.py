"""`fleet quarantine`: what could not be read is kept, bytes and all."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fleet.cli.client import Client, pass_client
from fleet.cli.options import device_option, json_option, limit_option
from fleet.cli.output import age_of, facts, print_array, print_json, say, table, when
from fleet.cli.shell import Group
from fleet.errors import NotFound

GONE = "the bytes are not kept any more"

F = TypeVar("F", bound=Callable[..., Any])


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


def _id_argument() -> Callable[[F], F]:
    return click.argument("quarantine_id", metavar="ID", type=click.IntRange(min=1))


@quarantine.command(examples=("fleet quarantine show 3",))
@_id_argument()
@json_option()
@pass_client
def show(client: Client, quarantine_id: int, *, as_json: bool) -> None:
    """Show one batch: what of it could not be read, and where."""
    found = client.get("quarantine", str(quarantine_id))
    if as_json:
        print_json(found)
        return
    kept = found.get("size_bytes")
    facts(
        (
            ("device", found.get("device")),
            ("received", when(found, "received")),
            ("road", found.get("road")),
            ("place", found.get("place")),
            ("problem", found.get("problem")),
            ("batch", found.get("batch")),
            ("kept", f"{kept} bytes: fleet quarantine fetch {quarantine_id} FILE" if kept else GONE),
        )
    )


@quarantine.command(examples=("fleet quarantine fetch 3 batch.gz",))
@_id_argument()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@json_option('Print {"id", "file", "bytes"}.')
@pass_client
def fetch(client: Client, quarantine_id: int, file: str, *, as_json: bool) -> None:
    """Write the bytes of one batch, as they came, into FILE (- for stdout); a file that is there is kept."""
    body = client.content("quarantine", str(quarantine_id), "body")
    if not body:
        raise NotFound(f"of batch {quarantine_id} {GONE}", hint=f"`fleet quarantine show {quarantine_id}` says why.")
    if file == "-":
        sys.stdout.buffer.write(body)
        return
    try:
        with Path(file).open("xb") as opened:
            opened.write(body)
    except OSError as error:
        raise click.BadParameter(f"{file} cannot be written: {error.strerror}.", param_hint="FILE") from error
    if as_json:
        print_json({"id": quarantine_id, "file": file, "bytes": len(body)})
    else:
        say(f"{len(body)} bytes are in {file}; one that is gzip reads with: zcat {file}")


@quarantine.command(examples=("fleet quarantine discard 3",))
@_id_argument()
@json_option()
@pass_client
def discard(client: Client, quarantine_id: int, *, as_json: bool) -> None:
    """Drop the bytes of one batch for good; the line that says what it was stays in the list."""
    done = client.post("quarantine", str(quarantine_id), "discard", body={})
    if as_json:
        print_json(done)
    else:
        say(f"The bytes of batch {quarantine_id} are gone; what it was stays in the list.")


@quarantine.command(examples=("fleet quarantine replay 3",))
@_id_argument()
@json_option()
@pass_client
def replay(client: Client, quarantine_id: int, *, as_json: bool) -> None:
    """Read one batch again, as after an upgrade, and store what of it is missing; its gap ends."""
    done = client.post("quarantine", str(quarantine_id), "replay", body={})
    if as_json:
        print_json(done)
    else:
        say(f"{done['rows']} rows of {done['device']} with {done['readings']} readings were missing and are stored.")
