"""`firmware-sim`: simulated boards from the command line. Errors are sentences on stderr; exit 1 failed, 2 usage."""

import json
import sys
from pathlib import Path

import click

from firmware_sim import catalogue, control
from firmware_sim.board import run_board
from firmware_sim.errors import SimError
from firmware_sim.faults import Fault
from firmware_sim.run import MAX_RATE_HZ, Settings
from firmware_sim.swarm.cli import swarm

LINK = click.Path(path_type=Path)
POSITIVE = click.FloatRange(min=0.0, min_open=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fieldline")
def cli() -> None:
    """Simulate sensor boards on pseudo terminals, for demos and tests without hardware."""


@cli.command()
@click.argument("kind", type=click.Choice(list(catalogue.KINDS)))
@click.option("--link", type=LINK, required=True, help="Path of the port, a symbolic link to the pty.")
@click.option(
    "--protocol",
    type=click.Choice(["csv", "json", "kv", "modbus", "iec62056", "sdi12", "nmea"]),
    help="How it speaks. [default: its own]",
)
@click.option(
    "--rate", "rate_hz", type=click.FloatRange(0.0, MAX_RATE_HZ, min_open=True), help="Samples a second, up to 2,000."
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same values.")
@click.option("--ledger", type=click.Path(dir_okay=False, path_type=Path), help="SQLite file that keeps every sample.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many samples (answers, for modbus).")
@click.option("--speedup", type=POSITIVE, default=1.0, show_default=True, help="How much faster physics goes.")
@click.option("--name", help="Name of the board in the ledger. [default: its kind]")
@click.option("--unit", type=click.IntRange(1, 247), default=1, show_default=True, help="Address of a modbus slave.")
@click.option("--await-reader", is_flag=True, help="Begin when the port is opened for the first time.")
def board(kind: str, link: Path, **options: object) -> None:
    """Run a board until Ctrl-C.

    Example: firmware-sim board freezer --link /tmp/ttyF0 --ledger freezer.db
    """
    run_board(Settings(kind, link, **options))  # type: ignore[arg-type]  # click has checked each of them


@cli.command(short_help="Break the running board behind LINK, or set it right.")
@click.argument("link", type=LINK)
@click.argument("fault", type=click.Choice([str(each) for each in Fault]))
@click.option("--quantity", help="Which quantity is stuck. [default: the board's first]")
@click.option("--for", "for_s", type=POSITIVE, help="Seconds until the fault ends by itself.")
def fault(link: Path, fault: str, quantity: str | None, for_s: float | None) -> None:
    """Break the running board behind LINK, or set it right with replug or clear.

    Example: firmware-sim fault /tmp/ttyF0 overheat --for 30
    """
    status = control.ask(link, {"do": "fault", "fault": fault, "quantity": quantity, "for_s": for_s})
    click.echo(f"{status['name']} on {status['link']}: {', '.join(status['faults']) or 'no fault'}")


@cli.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def list_boards(*, as_json: bool) -> None:
    """Show the boards that run, and those that could.

    Example: firmware-sim list --json
    """
    running = control.running()
    if as_json:
        available = [
            {
                "board": kind.name,
                "text": kind.text,
                "protocols": list(kind.protocols),
                "rate_hz": kind.rate_hz,
                "quantities": [{"name": each.name, "unit": each.unit} for each in kind.quantities],
            }
            for kind in catalogue.KINDS.values()
        ]
        click.echo(json.dumps({"running": running, "available": available}))
        return
    click.echo("Running:" if running else "No board is running.")
    for status in running:
        state = ", ".join(status["faults"]) or ("open" if status["open"] else "closed")
        click.echo(f"  {status['link']}  {status['board']} {status['protocol']} {status['rate_hz']:g} Hz, {state}")
    click.echo("Available:")
    for kind in catalogue.KINDS.values():
        click.echo(f"  {kind.name:9} {kind.text} ({', '.join(kind.protocols)})")


@cli.command(short_help="Play the main job with the real programs, from sample to ticket.")
@click.option("--check", is_flag=True, help="Unattended: kill, block, compare every ledger, end with one JSON object.")
def demo(*, check: bool) -> None:
    """Play the main job with the real programs: a server, five machines, an alarm, a ticket, a config.

    Example: firmware-sim demo --check
    """
    from firmware_sim.scenarios.demo import run  # noqa: PLC0415 - a board alone needs no HTTP client

    sys.exit(run(check=check, say=click.echo))


@cli.command(short_help="Run one fleet of several nodes on this machine.")
@click.option("--nodes", type=click.IntRange(2, 3), default=3, show_default=True, help="Servers, each with its broker.")
@click.option("--check", is_flag=True, help="Unattended: a swarm, kills, a verdict; ends with one JSON object.")
@click.option(
    "--devices", type=click.IntRange(1, 1000), default=60, show_default=True, help="Of the swarm, with --check."
)
@click.option("--rounds", type=click.IntRange(1), default=1, show_default=True,
              help="With --check: how often a node, a broker and the database are killed.")  # fmt: skip
def cluster(*, nodes: int, check: bool, devices: int, rounds: int) -> None:
    """Run one fleet of several nodes on this machine: PostgreSQL, haproxy, brokers. Ctrl-C ends it.

    Example: firmware-sim cluster --check --rounds 3
    """
    from firmware_sim.scenarios.cluster import run  # noqa: PLC0415 - a board alone needs no HTTP client

    sys.exit(run(nodes=nodes, devices=devices, rounds=rounds, check=check, say=click.echo))


cli.add_command(swarm)


def main() -> None:
    """Run the command line; what goes wrong is told in a sentence."""
    try:
        cli()
    except SimError as error:
        click.echo(f"firmware-sim: {error}", err=True)
        sys.exit(1)
