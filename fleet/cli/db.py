"""`fleet db`: work on the database itself, where no server runs. Beside `fleet serve` all that needs no server."""

from pathlib import Path

import click

from fleet.cli.options import data_option, json_option
from fleet.cli.output import print_json, say, table
from fleet.cli.shell import Failure, Group

ROWS_SAID = 100_000  # between two words on how far a table is


@click.group(cls=Group)
def db() -> None:
    """Move the database of a server that is stopped."""


@db.command(
    examples=(
        "fleet db copy --to postgresql+psycopg://fieldline@db/fieldline",
        "fleet db copy --data /var/lib/fieldline-server --to postgresql+psycopg://fieldline@db/fieldline",
        "fleet db copy --from postgresql+psycopg://fieldline@db/fieldline --to sqlite:////srv/fleet/fieldline.db",
    )
)
@data_option("Data directory of the server whose SQLite is copied.")
@click.option("--from", "source", default="", metavar="URL", help="The source, if it is not SQLite in the data.")
@click.option("--to", "target", required=True, metavar="URL", help="The target: an empty database.")
@json_option('Print one JSON object: {"equal", "tables": [{"table", "rows", "source", "target", "equal"}]}.')
def copy(data: Path, source: str, target: str, *, as_json: bool) -> None:
    """Copy a server's database to another, SQLite or PostgreSQL, and compare both.

    The server must be stopped. A copy that was cut off goes on where it was when the same command is given again; no
    server starts on a copy that is not finished. In the end all rows of both sides are counted and checked.
    """
    from fleet.dbcopy import copy_database, ends_of  # noqa: PLC0415 - the server's parts are imported only to be used

    ends = ends_of(data, source, target)
    said: dict[str, int] = {}

    def told(name: str, count: int) -> None:
        if count - said.get(name, 0) >= ROWS_SAID or name not in said:
            said[name] = count
            click.echo(f"copying {name}: {count:,} rows", err=True)

    compared = copy_database(ends, told)
    items = [
        {
            "table": one.table,
            "rows": one.source.rows,
            "source": f"{one.source.checksum:016x}",
            "target": f"{one.target.checksum:016x}",
            "equal": one.is_equal,
        }
        for one in compared
    ]
    is_equal = all(one.is_equal for one in compared)
    if as_json:
        print_json({"equal": is_equal, "tables": items})
    else:
        rows = (
            (one["table"], one["rows"], one["source"], one["target"], "" if one["equal"] else "differs")
            for one in items
        )
        table(("table", "rows", "source", "target", ""), rows, empty="There are no tables.")
    if not is_equal:
        names = ", ".join(one.table for one in compared if not one.is_equal)
        raise Failure(
            f"the copy is not what the source is: {names}.",
            "No server starts on it. Make the target anew and copy again; check the disks of both.",
        )
    if not as_json:
        say("Both hold the same. Start the server on the copy: fleet serve --data … --database URL")
        say(f"Not in the database, and needed as before: {data / 'ca'} (every device trusts it) and admin.token.")
