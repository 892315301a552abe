"""`fleet config`: what devices shall do, and whether they do it."""

import sys
from collections.abc import Iterable
from pathlib import Path

import click

from fleet.cli.client import Client, Item, pass_client
from fleet.cli.nearest import naming_neighbours
from fleet.cli.options import complete_device, json_option, limit_option
from fleet.cli.output import age_of, print_array, print_json, say, table, text, when, word
from fleet.cli.shell import Group
from fleet.errors import NotFound

MAX_FILE_BYTES = 1_048_576  # the server's own limit is below; this is to fail before sending a video


@click.group(cls=Group)
def config() -> None:
    """Set configs, see who runs them."""


def _one_target(product: str | None, device: str | None) -> None:
    if bool(product) == bool(device):
        raise click.UsageError("Say either --product P or --device ID.")


@config.command(
    "set",
    examples=("fleet config set --product freezer freezer.toml", "fleet config set --device freezer-7k3m2q own.toml"),
)
@click.option("--product", metavar="P", help="For all devices of this product that have no config of their own.")
@click.option(
    "--device", metavar="ID", shell_complete=complete_device, help="For this device alone; it wins over its product's."
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@json_option()
@pass_client
def set_(client: Client, product: str | None, device: str | None, file: str, *, as_json: bool) -> None:
    """Set the config in FILE (TOML; - for stdin). Devices fetch and apply it, or refuse it and say why."""
    _one_target(product, device)
    body = {"product": product, "device": device, "toml": _read(file)}
    if device:
        with naming_neighbours(client, device):
            made = client.post("configs", body=body)
    else:
        made = client.post("configs", body=body)
    if as_json:
        print_json(made)
        return
    target = f"--device {device}" if device else f"--product {product}"
    done = "is set" if made.get("new") else "was set already; nothing has changed"
    say(f"Config {made.get('revision')} {done}. See who has applied it: fleet config status {target}")


def _read(file: str) -> str:
    try:
        if file == "-":
            content = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with Path(file).open("rb") as opened:
                content = opened.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise click.BadParameter(f"{file} is larger than {MAX_FILE_BYTES // 1024} KiB.", param_hint="FILE")
        return content.decode()
    except OSError as error:
        raise click.BadParameter(f"{file} cannot be read: {error.strerror}.", param_hint="FILE") from error
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{file} is not UTF-8 text (byte {error.start}).", param_hint="FILE") from error


@config.command(examples=("fleet config unset --device freezer-7k3m2q",))
@click.option("--device", metavar="ID", shell_complete=complete_device, required=True, help="The device.")
@json_option()
@pass_client
def unset(client: Client, device: str, *, as_json: bool) -> None:
    """Let a device follow its product's config again, where it had one of its own."""
    with naming_neighbours(client, device):
        now = client.delete("devices", device, "config")
    if as_json:
        print_json(now)
    elif now.get("desired"):
        say(f"{device} follows its product: it shall run config {now['desired']}.")
    else:
        say(f"{device} follows its product, which has no config: it goes on with what it runs.")


@config.command("list", examples=("fleet config list --product freezer",))
@click.option("--product", metavar="P", help="Only those set for this product.")
@click.option("--device", metavar="ID", shell_complete=complete_device, help="Only those set for this device.")
@limit_option(what="configs")
@json_option("Print one JSON array.")
@pass_client
def list_(client: Client, product: str | None, device: str | None, limit: int | None, *, as_json: bool) -> None:
    """List configs as they were set, newest first."""
    found = client.items("configs", limit=limit, product=product, device=device)
    if as_json:
        print_array(found)
        return
    rows = (
        (
            one.get("revision"),
            one.get("scope"),
            one.get("target"),
            age_of(one, "created"),
            one.get("author"),
            age_of(one, "unset") if one.get("unset") else "",
        )
        for one in found
    )
    table(
        ("revision", "for", "target", "set", "by", "unset"),
        rows,
        empty="No config has been set. `fleet config set` does.",
    )


@config.command(examples=("fleet config show 4", "fleet config show --device freezer-7k3m2q"))
@click.argument("revision", type=click.IntRange(min=1), required=False)
@click.option("--device", metavar="ID", shell_complete=complete_device, help="The config that this device shall run.")
@click.option("--product", metavar="P", help="The newest config of this product.")
@json_option()
@pass_client
def show(client: Client, revision: int | None, device: str | None, product: str | None, *, as_json: bool) -> None:
    """Print a config: one revision, or what a device or a product shall run."""
    if sum(map(bool, (revision, device, product))) != 1:
        raise click.UsageError("Say one of REVISION, --device ID and --product P.")
    found = client.get("configs", str(_revision(client, revision, device, product)))
    if as_json:
        print_json(found)
        return
    if sys.stdout.isatty():
        about = f"revision {found.get('revision')}, for {found.get('scope')} {found.get('target')}"
        say(text(f"# {about}, set {when(found, 'created')} by {found.get('author')}", "dim"))
    click.echo(text(found["toml"]).plain, nl=not found["toml"].endswith("\n"))


def _revision(client: Client, revision: int | None, device: str | None, product: str | None) -> int:
    if revision:
        return revision
    if device:
        with naming_neighbours(client, device):
            wanted = client.get("devices", device, "config").get("desired")
        if not wanted:
            raise NotFound(
                f"the fleet has set no config for {device}; it runs its own seed",
                hint=f"`fleet config set --device {device} FILE` sets one.",
            )
        return int(wanted)
    newest = next(client.items("configs", limit=1, product=product), None)
    if newest is None:
        raise NotFound(f"no config has been set for product {product}", hint="`fleet config set` does.")
    return int(newest["revision"])


@config.command(examples=("fleet config diff --device freezer-7k3m2q",))
@click.option("--device", metavar="ID", shell_complete=complete_device, required=True, help="The device.")
@json_option()
@pass_client
def diff(client: Client, device: str, *, as_json: bool) -> None:
    """Show what differs between what a device runs and what it shall run, as a unified diff."""
    with naming_neighbours(client, device):
        found = client.get("configs", "diff", device=device)
    if as_json:
        print_json(found)
    elif found.get("diff"):
        for line in found["diff"].splitlines():
            style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
            say(text(line, style))
    else:
        say(f"{device} runs what it shall run.")


@config.command(examples=("fleet config status --product freezer", "fleet config status --device freezer-7k3m2q"))
@click.option("--product", metavar="P", help="Only devices of this product.")
@click.option("--device", metavar="ID", shell_complete=complete_device, help="Only this device.")
@limit_option(what="devices")
@json_option("Print one JSON array.")
@pass_client
def status(client: Client, product: str | None, device: str | None, limit: int | None, *, as_json: bool) -> None:
    """Show who has applied its config, who has not yet, and who refused it and why."""
    found = client.items("configs", "status", limit=limit, product=product, device=device)
    if as_json:
        print_array(found)
        return
    columns = ("device", "state", "desired", "applied", "reported", "reason")
    table(columns, _standings(found), empty="There are no such devices.")


def _standings(found: Iterable[Item]) -> Iterable[tuple[object, ...]]:
    for one in found:
        yield (
            one.get("device"),
            word(one.get("state")),
            one.get("desired") or "-",
            one.get("applied") or "seed",
            age_of(one, "reported"),
            one.get("reason"),
        )
