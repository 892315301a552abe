"""`fleet-agent alarms`: the rules that have something to tell."""

from pathlib import Path

import click

from agent.adapters import lookup
from agent.adapters.standing import load_standing
from agent.cli import options
from agent.cli.asking import as_json, asked, now_us
from agent.core.answers import VERSION, Alarms, alarms_lines, alarms_of
from agent.core.config import parse_config
from agent.core.status import iso
from agent.errors import Damaged
from agent.protocols import find
from agent.rules.rule import Rule
from agent.settings import StateDir
from agent.wire.codec import encode
from agent.wire.document import DocumentError


@click.command("alarms", short_help="Show this device's alarms as its rules stand now.")
@options.state
@as_json
def command(state: Path, *, as_json: bool) -> None:
    """Show the alarms of this device as its rules stand now: pending, active and clearing.

    The running agent is asked; if none runs, its files are read.

    \b
    Examples:
      fleet-agent alarms
      fleet-agent alarms --json | jq '.items[].rule'
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped
    paths = StateDir(state)
    answer = asked(paths, Alarms, "alarms", lambda: _offline(paths))
    click.echo(encode(answer).decode() if as_json else "\n".join(alarms_lines(answer)))


def _offline(paths: StateDir) -> Alarms:
    now = now_us()
    items = alarms_of(lookup.rule_values(paths.buffer), _rules(paths))
    return Alarms(VERSION, running=False, t_us=now, t=iso(now), items=items)


def _rules(paths: StateDir) -> tuple[Rule, ...]:
    """Return the rules of the stored config; none where it cannot be read: the states are told all the same."""
    try:
        text = load_standing(paths.config).running.toml
        return parse_config(text, find).rules if text else ()
    except (Damaged, DocumentError):
        return ()
