"""`fleet device`: the machines in the field."""

import sys
from collections.abc import Iterator

import click

from fleet.cli.client import Client, Item, pass_client
from fleet.cli.nearest import naming_neighbours
from fleet.cli.options import device_argument, json_option, limit_option
from fleet.cli.output import age_of, dig, facts, heading, print_array, print_json, say, table, text, value, when, word
from fleet.cli.shell import Group
from fleet.cli.times import US, Time, age, now_us, span

LINE_COUNTS = ("framing", "parity", "overrun", "breaks", "overlong", "reopened")


@click.group(cls=Group)
def device() -> None:
    """See devices, transfer one, shut one out."""


@device.command(
    "list",
    examples=(
        "fleet device list",
        "fleet device list --product freezer --presence offline",
        "fleet device list --json",
    ),
)
@click.option("--product", metavar="P", help="Only of this product.")
@click.option("--customer", metavar="ID", help="Only those of this customer.")
@click.option(
    "--presence", type=click.Choice(["online", "late", "offline", "never"]), help="Only those that are so now."
)
@click.option("--query", "-q", metavar="TEXT", help="Only those whose id, serial, site or customer holds this.")
@click.option("--revoked/--not-revoked", default=None, help="Only revoked ones, or none of them.")
@limit_option(what="devices")
@json_option("Print one JSON array of the API's objects.")
@pass_client
def list_(  # noqa: PLR0913 - one option a fact
    client: Client,
    *,
    product: str | None,
    customer: str | None,
    presence: str | None,
    query: str | None,
    revoked: bool | None,  # three-valued: not said, yes, no
    limit: int | None,
    as_json: bool,
) -> None:
    """List devices: presence, version, config, open alarms and tickets."""
    which = {"product": product, "customer": customer, "presence": presence, "q": query, "revoked": revoked}
    found = client.items("devices", limit=limit, **which)
    if as_json:
        print_array(found)
        return
    columns = ("id", "presence", "last seen", "config", "alarms", "tickets", "agent", "serial", "customer", "site")
    table(columns, map(_row, found), empty="There are no such devices. `fleet claim create` prepares a new one.")


def _row(item: Item) -> tuple[object, ...]:
    alarms = text(item.get("open_alarms") or "")
    if item.get("worst_severity"):
        worst = " " if item.get("open_alarms") == 1 else ", worst "
        alarms = text(f"{item.get('open_alarms')}{worst}").append(word(item["worst_severity"]))
    return (
        item.get("id"),
        word("revoked" if item.get("revoked") else item.get("presence")),
        age_of(item, "last_seen") or "never",
        config_words(item),
        alarms,
        item.get("open_tickets") or "",
        item.get("agent_version"),
        item.get("serial"),
        item.get("customer"),
        item.get("site"),
    )


def config_words(item: Item) -> object:
    """Say how a device stands to its config, in few words."""
    desired, applied, state = (dig(item, "config", key) for key in ("desired", "applied", "state"))
    match state:
        case "in_sync":
            return text(f"{applied} ").append(word(state))
        case "pending" | "trying" | "refused" | "rolled_back":
            return text(f"{applied or 'seed'} → {desired} ").append(word(state))
        case _:
            return text(str(applied or "none set") if not desired else f"{applied or 'seed'} → {desired}", "dim")


@device.command(examples=("fleet device show freezer-7k3m2q", "fleet device show freezer-7k3m2q --json"))
@device_argument()
@json_option()
@pass_client
def show(client: Client, device_id: str, *, as_json: bool) -> None:
    """Show all about one device: health, newest values, certificates, config."""
    with naming_neighbours(client, device_id):
        found = client.get("devices", device_id)
    if as_json:
        print_json(found)
        return
    say(text(found["id"], "bold"), "  ", word("revoked" if found.get("revoked") else found.get("presence")))
    facts(
        (
            ("product", found.get("product")),
            ("serial", found.get("serial")),
            ("site", found.get("site")),
            ("customer", _customer(found.get("customer"), found.get("customer_name"))),
            ("last seen", when(found, "last_seen") or "never"),
            ("so since", when(found, "since")),
            ("agent", found.get("agent_version")),
            ("enrolled", when(found, "enrolled") or "not yet"),
            ("revoked", when(found, "revoked")),
            ("config", config_words(found)),
            ("config not kept", dig(found, "config", "reason")),
            ("open alarms", found.get("open_alarms")),
            ("open tickets", found.get("open_tickets")),
            ("gaps", found.get("gaps")),
            ("quarantined", found.get("quarantined")),
        )
    )
    _latest(found.get("latest") or {})
    _health(found.get("health") or {})
    _certificates(found.get("certificates") or [])


def _customer(customer_id: object, name: object) -> str:
    return f"{name} ({customer_id})" if customer_id else ""


def _latest(latest: Item) -> None:
    if latest:
        heading("Newest values")
        latest_table(latest)


def latest_table(latest: Item) -> None:
    """Print {series: {t_us, v, unit}} as a table."""
    rows = ((name, value(one.get("v"), one.get("unit")), age_of(one, "t")) for name, one in sorted(latest.items()))
    table(("series", "value", "age"), rows, empty="The device has sent no readings yet.")


def _health(health: Item) -> None:
    if not health:
        return
    heading("Health")
    oldest, ends = health.get("buffer_oldest_us") or None, health.get("cert_expires_us")
    waiting = f"{health.get('buffer_rows', 0)} rows, {_size(health.get('buffer_bytes'))}"
    facts(
        (
            ("told", age(health.get("t_us"), now_us())),
            ("agent up for", span(health.get("uptime_s", 0) * US["s"])),
            ("memory", _size(health.get("rss_bytes"))),
            ("buffer", waiting),
            ("oldest unsent", age(oldest, now_us()) if oldest else ""),
            ("certificate ends", age(ends, now_us()) if ends else ""),
            ("written to disk", _written(health)),
            *_machine(health.get("machine") or {}, health.get("road") or {}),
            *_metering(health.get("metering") or {}),
        )
    )
    rows = (
        (
            one.get("name"),
            _port(one),
            one.get("readings"),
            one.get("errors"),
            age(one["last_us"], now_us()) if one.get("last_us") else "never",
            one.get("detail"),
        )
        for one in health.get("sources") or []
    )
    table(("source", "port", "readings", "errors", "newest", "last error"), rows, empty="It named no sources then.")
    for one in health.get("sources") or []:
        for words in _port_words(one):
            say(text(f"  {one.get('name')}: {words}", "dim"))


def _port(source: Item) -> object:
    if dig(source, "line", "silent"):
        return text("silent", "bold yellow")
    return text("connected", "green") if source.get("connected") else text("lost", "bold red")


def _port_words(source: Item) -> Iterator[str]:
    """Say what went wrong on a source's line, and how each slave on its bus answers."""
    line = source.get("line") or {}
    told = [f"{line[name]} {name}" for name in LINE_COUNTS if line.get(name)]
    if told:
        yield f"line: {', '.join(told)}"
    for slave in source.get("slaves") or []:
        wrong = (("timeouts", "timeouts"), ("crc_errors", "CRC errors"), ("exceptions", "exceptions"))
        said = "".join(f", {slave[key]} {words}" for key, words in wrong if slave.get(key))
        yield f"slave {slave.get('address')}: answered {slave.get('answered', 0)} of {slave.get('asked', 0)}{said}"


def _written(health: Item) -> str:
    """Say what the agent has written to its disk."""
    count, readings = health.get("written_bytes"), health.get("written_readings")
    if count is None:
        return ""
    return f"{_size(count)} since its start" + (f", {count / readings:.0f} bytes a reading" if readings else "")


def _machine(machine: Item, road: Item) -> Iterator[tuple[str, str]]:
    """Say what the machine tells of itself."""
    celsius, used, rtt_s = machine.get("cpu_celsius"), machine.get("flash_used_percent"), road.get("rtt_s")
    yield "processor", f"{celsius:.0f} °C" if celsius is not None else ""
    yield "slowed by", ", ".join(machine.get("throttling") or ())
    yield "disk", f"{_size(machine.get('disk_free_bytes', 0))} free" if machine.get("disk_bytes") else ""
    yield "flash life used", f"up to {used} %" if used is not None else ""
    yield "flash errors", str(machine.get("flash_errors") or "")
    yield "answer in", f"{rtt_s * 1000:.0f} ms over the {road.get('road')}" if rtt_s is not None else ""


def _metering(metering: Item) -> Iterator[tuple[str, str]]:
    """Say what a metered link has carried, and what waits for it."""
    size = metering.get("bytes_per_day")
    yield "sent today", f"{_size(metering.get('spent_bytes'))} of {_size(size)}" if size else ""
    yield "holds readings back", str(metering.get("saving") or "")


def _size(count: object) -> str:
    """Write a number of bytes."""
    if not isinstance(count, int):
        return "?"
    return f"{count / 1024:,.0f} KiB" if count < 10 * 1024**2 else f"{count / 1024**2:,.0f} MiB"


def _certificates(certificates: list[Item]) -> None:
    if not certificates:
        return
    heading("Certificates")
    now = now_us()
    rows = (
        (
            str(one.get("fingerprint", ""))[:16],
            when(one, "not_after"),
            word("revoked") if one.get("revoked_us") else "expired" if one.get("not_after_us", now) < now else "valid",
        )
        for one in certificates
    )
    table(("fingerprint", "valid until", "state"), rows, empty="")


@device.command(examples=("fleet device revoke freezer-7k3m2q --reason stolen --yes",))
@device_argument()
@click.option("--reason", metavar="TEXT", help="Why; it stands in the device's events.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@json_option()
@pass_client
def revoke(client: Client, device_id: str, reason: str | None, *, yes: bool, as_json: bool) -> None:
    """Shut a device out: its next request is refused, its live link is cut within seconds.

    There is no way back but a new claim for the device. Asks first if a person is at the keyboard.
    """
    if not yes and not as_json and sys.stdin.isatty():
        click.confirm(f"Shut {device_id} out for good?", abort=True)
    with naming_neighbours(client, device_id):
        done = client.post("devices", device_id, "revoke", body={"reason": reason})
    if as_json:
        print_json(done)
    else:
        say(f"{device_id} is shut out. It needs a new claim to come back.")


@device.command(
    examples=(
        "fleet device transfer freezer-7k3m2q --to acme",
        "fleet device transfer freezer-7k3m2q --to acme --at 2026-01-01T00:00+01:00",
        "fleet device transfer freezer-7k3m2q --to-nobody --yes",
    )
)
@device_argument()
@click.option("--to", "customer", metavar="CUSTOMER", help="Whose it is then; see `fleet customer list`.")
@click.option("--to-nobody", is_flag=True, help="It is nobody's then.")
@click.option(
    "--at", "at_us", type=Time(), metavar="TIME", help="From this time on, which has passed; now if not said."
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@json_option()
@pass_client
def transfer(  # noqa: PLR0913 - one option a fact
    client: Client,
    device_id: str,
    *,
    customer: str | None,
    to_nobody: bool,
    at_us: int | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Make a device a customer's. It cuts its history: each has the time in which it was theirs, and no more.

    There is no transfer before the last one. Asks first if a person is at the keyboard.
    """
    if (customer is None) is not to_nobody:
        raise click.UsageError("Say whose it is then: --to CUSTOMER, or --to-nobody.")
    if not yes and not as_json and sys.stdin.isatty():
        click.confirm(f"Cut the history of {device_id} and make it {customer or 'nobody'}'s?", abort=True)
    with naming_neighbours(client, device_id):
        done = client.post("devices", device_id, "transfer", body=_transferral(customer, at_us), whole=True)
    if as_json:
        print_json(done)
    else:
        say(f"{device_id} is {_customer(customer, done.get('customer_name')) or 'nobody'}'s.")


def _transferral(customer: str | None, at_us: int | None) -> Item:
    return {"customer": customer, **({} if at_us is None else {"at": str(at_us)})}


@device.command(examples=("fleet device owners freezer-7k3m2q",))
@device_argument()
@json_option("Print one JSON array.")
@pass_client
def owners(client: Client, device_id: str, *, as_json: bool) -> None:
    """List whose a device was and is, by time."""
    with naming_neighbours(client, device_id):
        found = client.get("devices", device_id, "owners")["items"]
    if as_json:
        print_array(found)
        return
    rows = (
        (_customer(one["customer"], one["name"]) or "nobody", when(one, "from") or "ever", when(one, "to") or "now")
        for one in found
    )
    table(("customer", "from", "to"), rows, empty="")
