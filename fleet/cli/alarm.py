"""`fleet alarm`: what is out of bounds."""

import click

from fleet.cli.client import Client, Item, pass_client
from fleet.cli.nearest import known_device
from fleet.cli.options import device_option, json_option, limit_option
from fleet.cli.output import age_of, facts, person, print_array, print_json, say, table, text, value, when, word
from fleet.cli.shell import Group

SEVERITIES = ("critical", "major", "minor", "warning")


@click.group(cls=Group)
def alarm() -> None:
    """See and acknowledge alarms."""


@alarm.command("list", examples=("fleet alarm list", "fleet alarm list --severity critical --device freezer-7k3m2q"))
@click.option(
    "--state",
    type=click.Choice(["pending", "active", "clearing", "cleared", "open", "all"]),
    help="Only in this state.",
)
@click.option("--severity", type=click.Choice(SEVERITIES), help="Only of this severity.")
@device_option()
@limit_option(what="alarms")
@json_option("Print one JSON array.")
@pass_client
def list_(  # noqa: PLR0913 - one option a fact
    client: Client, *, state: str | None, severity: str | None, device: str | None, limit: int | None, as_json: bool
) -> None:
    """List alarms, newest first."""
    known_device(client, device)
    found = client.items("alarms", limit=limit, state=state, severity=severity, device=device)
    if as_json:
        print_array(found)
        return
    columns = ("id", "severity", "state", "device", "series", "condition", "value", "raised", "times", "acked by")
    table(columns, map(_row, found), empty="There are no such alarms.")


def _row(item: Item) -> tuple[object, ...]:
    return (
        item.get("id"),
        word(item.get("severity")),
        word(item.get("state")),
        item.get("device"),
        item.get("series"),
        item.get("condition"),
        value(item.get("value")),
        age_of(item, "raised"),
        item.get("count"),
        person(item.get("acked_by")),
    )


@alarm.command(examples=("fleet alarm show 12",))
@click.argument("alarm_id", metavar="ALARM", type=click.IntRange(min=1))
@json_option()
@pass_client
def show(client: Client, alarm_id: int, *, as_json: bool) -> None:
    """Show one alarm."""
    found = client.get("alarms", str(alarm_id))
    if as_json:
        print_json(found)
        return
    title = text(f"Alarm {found['id']}", "bold")
    say(title, "  ", word(found.get("severity")), "  ", word(found.get("state")))
    facts(
        (
            ("device", found.get("device")),
            ("series", found.get("series")),
            ("rule", found.get("rule")),
            ("condition", found.get("condition")),
            ("value", value(found.get("value"))),
            ("first bad sample", when(found, "first_bad")),
            ("raised", when(found, "raised")),
            ("cleared", when(found, "cleared")),
            ("times", found.get("count")),
            ("acknowledged", when(found, "acked") and f"{when(found, 'acked')} by {person(found.get('acked_by'))}"),
            ("ticket", f"T-{found['ticket']}" if found.get("ticket") else ""),
        )
    )


@alarm.command(examples=("fleet alarm ack 12",))
@click.argument("alarm_id", metavar="ALARM", type=click.IntRange(min=1))
@json_option()
@pass_client
def ack(client: Client, alarm_id: int, *, as_json: bool) -> None:
    """Acknowledge an alarm: somebody has seen it, and it is you."""
    done = client.post("alarms", str(alarm_id), "ack", body={})
    if as_json:
        print_json(done)
    else:
        say(f"Alarm {alarm_id} is acknowledged by {person(done.get('acked_by'))}.")
