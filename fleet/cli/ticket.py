"""`fleet ticket`: the work that alarms make."""

import sys

import click

from fleet.cli.client import Client, Item, pass_client
from fleet.cli.evidence import print_evidence
from fleet.cli.nearest import known_device
from fleet.cli.options import device_option, json_option, limit_option, ticket_argument
from fleet.cli.output import age_of, facts, heading, print_array, print_json, say, table, text, when, word
from fleet.cli.shell import Group
from fleet.cli.times import clock

STATES = (
    *("new", "triaged", "assigned", "scheduled", "on_site", "repaired", "verifying", "resolved", "closed"),
    *("on_hold", "canceled"),
)
REASONS = {
    "on_hold": ("customer", "parts", "vendor", "problem", "access"),
    "canceled": ("duplicate", "false_alarm", "expected"),
}
REASONS_HELP = " ".join(f"Of {state}: {', '.join(words)}." for state, words in REASONS.items())
TIMELINE = 15  # newest events shown


@click.group(cls=Group)
def ticket() -> None:
    """Work on tickets."""


@ticket.command("list", examples=("fleet ticket list", "fleet ticket list --assignee ana --json"))
@click.option("--state", type=click.Choice([*STATES, "open", "all"]), help="Only in this state.")
@click.option("--assignee", metavar="NAME", help="Only this person's.")
@device_option()
@limit_option(what="tickets")
@json_option("Print one JSON array.")
@pass_client
def list_(  # noqa: PLR0913 - one option a fact
    client: Client, *, state: str | None, assignee: str | None, device: str | None, limit: int | None, as_json: bool
) -> None:
    """List tickets, newest first."""
    known_device(client, device)
    found = client.items("tickets", limit=limit, state=state, assignee=assignee, device=device)
    if as_json:
        print_array(found)
        return
    columns = ("id", "severity", "state", "device", "title", "opened", "assignee")
    table(columns, map(_row, found), empty="There are no such tickets.")


def _row(item: Item) -> tuple[object, ...]:
    state = word(item.get("state"))
    if _reason(item):
        state.append(text(f" ({_reason(item)})"))
    return (
        item.get("ref"),
        word(item.get("severity")),
        state,
        item.get("device"),
        item.get("title"),
        age_of(item, "opened"),
        item.get("assignee"),
    )


def _reason(item: Item) -> str:
    """Return why it stands still; a reason that is kept for going back on hold is not one of now."""
    return str(item.get("reason") or "") if item.get("state") in {"on_hold", "canceled"} else ""


@ticket.command(examples=("fleet ticket show 7", "fleet ticket show 7 --json"))
@ticket_argument()
@json_option()
@pass_client
def show(client: Client, ticket_id: str, *, as_json: bool) -> None:
    """Show one ticket with its evidence: the signal, what changed before, where else it happened."""
    found = client.get("tickets", ticket_id)
    if as_json:
        print_json(found)
        return
    title = text(f"{found.get('ref')}  {found.get('title') or ''}", "bold")
    say(title, "  ", word(found.get("severity")), "  ", word(found.get("state")))
    facts(
        (
            ("device", found.get("device")),
            ("reason", _reason(found)),
            ("assignee", found.get("assignee") or "nobody"),
            ("first bad sample", when(found, "first_bad")),
            ("opened", when(found, "opened")),
            ("can move to", ", ".join(found.get("moves") or [])),
            ("verified if good until", when(found, "verify_until") if found.get("state") == "verifying" else ""),
        )
    )
    print_evidence(found.get("evidence") or {}, found)
    _notes(found.get("notes") or [])
    _timeline(found.get("events") or [])


def _notes(notes: list[Item]) -> None:
    if notes:
        heading("Notes")
    for note in notes:
        say(text(f"{clock(note['t_us'])}  {note.get('author')}: ", "dim"), note.get("text"))


def _timeline(events: list[Item]) -> None:
    if events:
        heading("What happened")
    for one in events[-TIMELINE:]:
        say(text(f"{clock(one['t_us'])}  ", "dim"), one.get("text"))


@ticket.command(examples=("fleet ticket note 7 'Door seal is worn; a new one is ordered.'", "fleet ticket note 7 -"))
@ticket_argument()
@click.argument("words", metavar="TEXT")
@json_option()
@pass_client
def note(client: Client, ticket_id: str, words: str, *, as_json: bool) -> None:
    """Write an internal note on a ticket (- reads it from stdin). No customer ever sees it."""
    content = sys.stdin.read() if words == "-" else words
    if not content.strip():
        raise click.UsageError("The note is empty.")
    done = client.post("tickets", ticket_id, "notes", body={"text": content.strip()})
    if as_json:
        print_json(done)
    else:
        say(f"Noted on ticket {ticket_id}.")


@ticket.command(examples=("fleet ticket assign 7 ana",))
@ticket_argument()
@click.argument("assignee", metavar="NAME")
@json_option()
@pass_client
def assign(client: Client, ticket_id: str, assignee: str, *, as_json: bool) -> None:
    """Give a ticket to somebody; '' makes it nobody's."""
    done = client.post("tickets", ticket_id, "assign", body={"assignee": assignee})
    if as_json:
        print_json(done)
    else:
        whose = f"{assignee}'s" if assignee else "nobody's"
        say(f"{done.get('ref')} is {whose}; it is ", word(done.get("state")), ".")


@ticket.command(examples=("fleet ticket move 7 repaired", "fleet ticket move 7 on_hold --reason parts"))
@ticket_argument()
@click.argument("state", metavar="STATE", type=click.Choice(STATES))
@click.option("--reason", metavar="WORD", help=REASONS_HELP)
@json_option()
@pass_client
def move(client: Client, ticket_id: str, state: str, reason: str | None, *, as_json: bool) -> None:
    """Move a ticket to another state; refused (exit code 4) where the state it is in forbids it."""
    choices = REASONS.get(state)
    if choices and reason not in choices:
        said = f"{reason!r} is no reason of {state}" if reason else f"{state} needs a reason"
        raise click.UsageError(f"{said}; say --reason with one of: {', '.join(choices)}.")
    done = client.post("tickets", ticket_id, "move", body={"to": state, "reason": reason})
    if as_json:
        print_json(done)
    else:
        say(f"{done.get('ref')} is ", word(done.get("state")), ".")
