"""`fleet import`: telemetry out of files."""

from pathlib import Path

import click

from fleet.cli.archive.bring import Done
from fleet.cli.archive.restore import Source, check_whole, run
from fleet.cli.client import Client, pass_client
from fleet.cli.export import SUFFIXES
from fleet.cli.options import json_option
from fleet.cli.output import facts, print_json
from fleet.cli.shell import Command
from fleet.errors import Invalid

NAMED = 20  # devices, in a sentence


@click.command(
    "import",
    cls=Command,
    examples=(
        "fleet import berlin.ndjson",
        "fleet import lake --create",
        "fleet import freezer.csv --rejects unread.ndjson --json",
    ),
)
@click.argument("path", metavar="PATH", type=click.Path(allow_dash=True))
@click.option(
    "--format",
    "form",
    type=click.Choice(("ndjson", "csv", "parquet")),
    help="What PATH is; its ending says it otherwise, and a folder is Parquet.",
)
@click.option("--create", is_flag=True, help="Make devices that the fleet does not know; they are never enrolled.")
@click.option(
    "--rejects",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write what cannot be read here, a line each with the reason; PATH.rejects.ndjson if not said.",
)
@json_option("Say in JSON what was imported.")
@pass_client
def import_(  # noqa: PLR0913 - one option a fact
    client: Client, *, path: str, form: str | None, create: bool, rejects: Path | None, as_json: bool
) -> None:
    """Read an export back, into this fleet or another.

    What the fleet holds already is left alone, so it may be run again, and goes on after an interruption. No rule looks
    at what is imported, and no newest value goes back.
    """
    source = Source(None if path == "-" else Path(path), form or _form(path))
    if source.path is None and source.form == "parquet":
        raise click.UsageError("Parquet cannot be read from stdin: say a folder.")
    wanted = check_whole(source)
    done, where = run(client, source, rejects, create=create)
    _tell(done, where, as_json=as_json)
    _complain(done, where, wanted)


def _form(path: str) -> str:
    if path != "-" and (Path(path).is_dir() or Path(path).suffix == ".parquet"):
        return "parquet"
    found = SUFFIXES.get(Path(path).suffix.lower())
    if found is None:
        raise click.UsageError(f"{path} does not say what it is: add --format ndjson, csv or parquet.")
    return found


def _tell(done: Done, where: Path, *, as_json: bool) -> None:
    if as_json:
        sums = {"readings": done.readings, "known": done.known, "gaps": done.gaps, "rejected": done.rejected}
        rejects = {"rejects": str(where) if done.rejected else None}
        print_json({"import": done.id, **sums, **rejects, "left_out": done.left_out})
        return
    facts(
        (
            ("imported", f"{done.readings:,} readings, {done.gaps:,} gaps"),
            ("known already", f"{done.known:,} readings" if done.known else None),
            ("rejected", f"{done.rejected:,}, see {where}" if done.rejected else None),
            ("left out", f"{sum(done.left_out.values()):,} readings of unknown devices" if done.left_out else None),
        )
    )


def _complain(done: Done, where: Path, wanted: int | None) -> None:
    """Fail where not all that was in the file is in the fleet now."""
    if done.left_out:
        named = sorted(done.left_out)
        more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
        text = f"this fleet does not know {', '.join(named[:NAMED])}{more}; of these nothing was imported"
        raise Invalid(text, hint="Say --create to make them (a file must say their product). The rest is imported.")
    if done.rejected:
        hint = f"{where} says of each line why. All else is imported."
        raise Invalid(f"{done.rejected} lines could not be imported", hint=hint)
    found = done.readings + done.known
    if wanted is not None and found != wanted:
        text = f"the manifest of the export says {wanted} readings, the file holds {found}"
        raise Invalid(text, hint="It was changed or cut off since; what it holds is imported.")
