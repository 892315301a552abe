"""`fleet-agent rule`: rules tried on readings that were recorded."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from agent.core.recorded import Recorded, Unreadable, read_recording, replay
from agent.core.status import iso
from agent.errors import Misconfigured
from agent.rules.engine import Change
from agent.rules.rule import Rule, read_rules
from agent.wire.document import DocumentError, parse_document

STATE_CHARS = 8  # of the longest state, "clearing"


@click.group("rule")
def command() -> None:
    """Try rules on readings that were recorded.

    \b
    Example:
      fleet-agent rule test rules.toml --replay freezer.ndjson
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped


@command.command("test")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--replay",
    "recording",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Recorded readings, NDJSON or CSV; - is standard input.",
)
@click.option("--series", default="", help="The series that the readings are of, where they do not name it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
def test_command(file: Path, recording: Path, series: str, *, as_json: bool) -> None:
    """Show what the rules of FILE would have raised and cleared, and when.

    FILE is a config document or just its [[rule]] tables; all of its rules are judged, whether at the edge or in the
    fleet. Recorded are readings as `fleet readings`, `fleet-agent buffer export` and `fleet-agent port replay` print
    them. Nothing is sent and nothing is written.

    \b
    Examples:
      fleet-agent rule test rules.toml --replay freezer.csv
      fleet readings freezer-7k3m2q board.temp --from -7d --json |
        fleet-agent rule test rules.toml --replay - --series board.temp
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped
    rules = _rules(file)
    readings = _readings(recording, series)
    changes = 0
    for change in replay(rules, readings):
        changes += 1
        click.echo(_as_json(change) if as_json else _in_words(change))
    _sum_up(rules, readings, changes)


def _rules(file: Path) -> tuple[Rule, ...]:
    try:
        rules = read_rules(parse_document(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise Misconfigured(f"{file} cannot be read: {error.strerror}.") from error
    except (DocumentError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{file}: {error}.") from error
    if not rules:
        raise Misconfigured(f"{file} has no [[rule]].", hint="docs/reference/config.md shows how one is written.")
    return rules


def _readings(recording: Path, series: str) -> list[Recorded]:
    try:
        with click.open_file(str(recording), encoding="utf-8") as lines:
            return read_recording(lines, series)
    except OSError as error:
        raise Misconfigured(f"{recording} cannot be read: {error.strerror}.") from error
    except (Unreadable, UnicodeDecodeError) as error:
        hint = "Say with --series which one it is." if "names no series" in str(error) else ""
        raise Misconfigured(f"{recording}: {error}.", hint=hint) from error


def _in_words(change: Change) -> str:
    seen = "" if change.value is None else f" is {change.value}"
    since = f", bad since {iso(change.first_bad_us)}" if change.first_bad_us else ""
    rule = change.rule
    return (
        f"{iso(change.t_us)}  {change.state:<{STATE_CHARS}}  {rule.severity:<{STATE_CHARS}}  {rule.name}  "
        f"{change.series}{seen} ({rule.condition}{since})"
    )


def _as_json(change: Change) -> str:
    rule = change.rule
    fields = {
        "t_us": change.t_us,
        "t": iso(change.t_us),
        "state": change.state,
        "rule": rule.name,
        "series": change.series,
        "v": change.value,
        "severity": rule.severity,
        "condition": str(rule.condition),
        "first_bad_us": change.first_bad_us,
        "first_bad": iso(change.first_bad_us),
        "ticket": rule.ticket,
    }
    return json.dumps(fields, ensure_ascii=False)


def _sum_up(rules: Sequence[Rule], readings: Sequence[Recorded], changes: int) -> None:
    names = {reading.series for reading in readings}
    span = f", {iso(readings[0].t_us)} … {iso(readings[-1].t_us)}" if readings else ""
    click.echo(f"{len(readings)} readings of {len(names)} series{span}: {changes} changes.", err=True)
    for rule in rules:
        wanted = {rule.series, *rule.others()}
        missing = sorted(one for one in wanted if one not in names and not any(map(rule.matches, names)))
        if missing:
            click.echo(f"The rule {rule.name} had nothing to judge of {', '.join(missing)}.", err=True)
