"""`firmware-sim swarm`: many devices against one server."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import click

MODES = ("steady", "burst", "backlog", "storm", "slow", "hostile", "hint")
ROADS = ("auto", "link", "sync", "half")
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class Span(click.ParamType[float]):
    """A length of time: 10s, 5m, 1d; seconds where no unit is said."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401 - click's
        """Return seconds."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)?", value)
        if found is None or float(found[1]) <= 0:
            self.fail(f"{value!r} is no time; say 10s, 5m, 1d.", param, ctx)
        return float(found[1]) * UNITS[found[2] or "s"]


class Watched(click.ParamType[tuple[str, int]]):
    """A process to be watched: NAME=PID."""

    name = "watched"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:  # noqa: ANN401 - click's
        """Return name and process id."""
        if isinstance(value, tuple):
            return value
        name, _, pid = value.partition("=")
        if not name or not pid.isdecimal():
            self.fail(f"{value!r} is not NAME=PID.", param, ctx)
        return name, int(pid)


@click.command(short_help="Play many devices against a fleet; compare what was acked.")
@click.option("--mode", type=click.Choice(MODES), default="steady", show_default=True, help="What the devices do.")
@click.option("--devices", type=click.IntRange(1, 100_000), default=100, show_default=True, help="How many.")
@click.option("--series", type=click.IntRange(1, 256), default=10, show_default=True, help="Series of each device.")
@click.option("--every", type=Span(), default="10s", show_default=True, help="Time between two readings of a series.")
@click.option("--for", "for_s", type=Span(), default="60s", show_default=True, help="How long; backlog: at most.")
@click.option("--backlog", type=Span(), default="1d", show_default=True, help="What each brings, in mode backlog.")
@click.option("--outage", type=Span(), default="10s", show_default=True, help="How long all are gone, in mode storm.")
@click.option("--share", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="That is slow or hostile.")
@click.option("--road", type=click.Choice(ROADS), default="auto", show_default=True, help="What they take.")
@click.option("--per-row", type=click.IntRange(1, 4096), default=1, show_default=True, help="Readings a series a row.")
@click.option("--rows", type=click.IntRange(0, 4096), default=0, help="Rows a batch at most. [default: what fits]")
@click.option("--premake", type=click.IntRange(0), default=0, help="Batches of each device made before the start.")
@click.option("--connecting", type=click.IntRange(1), default=128, show_default=True, help="Links opened at once.")
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, envvar="FLEET_URL", help="The fleet's API.")
@click.option("--token-file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="File that holds the fleet's admin token; or set FLEET_TOKEN.")  # fmt: skip
@click.option("--state", type=click.Path(file_okay=False, path_type=Path), default="swarm-state", show_default=True,
              help="Identities, used again by the next run.")  # fmt: skip
@click.option("--watch", "watched", type=Watched(), multiple=True, help="A process to measure: NAME=PID.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the devices' jitter.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--page", type=click.Path(dir_okay=False, path_type=Path), help="Write the report as a page with plots.")
def swarm(  # noqa: PLR0913 - one option a fact
    *,
    token_file: Path | None,
    for_s: float,
    backlog: float,
    outage: float,
    every: float,
    watched: tuple[tuple[str, int], ...],
    as_json: bool,
    page: Path | None,
    **options: Any,  # noqa: ANN401 - click has checked each of them
) -> None:
    """Play many devices against a fleet, over its real roads, and hold what it has against what they were acked.

    Ends with 0 if nothing was lost, doubled or changed. Ctrl-C ends it early, and in order.

    Example: firmware-sim swarm --devices 10000 --series 10 --every 10s --token-file fieldline-data/admin.token
    """
    from firmware_sim.swarm.crew import Road  # noqa: PLC0415 - a board alone needs none of it
    from firmware_sim.swarm.modes import Mode, Times  # noqa: PLC0415 - the same
    from firmware_sim.swarm.run import Settings, run  # noqa: PLC0415 - the same

    secret = os.environ.get("FLEET_TOKEN", "") if token_file is None else token_file.read_text().strip()
    if not secret:
        raise click.UsageError(
            "Give the fleet's admin token: --token-file fieldline-data/admin.token, or set FLEET_TOKEN."
        )
    options["mode"], options["road"] = Mode(options["mode"]), Road(options["road"])
    times = Times(for_s, backlog, outage)
    settings = Settings(token=secret, times=times, every_s=every, watched=dict(watched), **options)
    report = run(settings, lambda text: click.echo(text, err=True), _progress)
    click.echo("", err=True)
    if page is not None:
        page.write_text(report.page())
    click.echo(json.dumps(report.figures()) if as_json else report.sentence())
    sys.exit(0 if report.verdict.is_clean else 1)


def _progress(line: str) -> None:
    """Show how it goes: one line that changes on a terminal, a line now and then elsewhere."""
    if sys.stderr.isatty():
        click.echo(f"\r{line}\033[K", nl=False, err=True)
    else:
        click.echo(line, err=True)
