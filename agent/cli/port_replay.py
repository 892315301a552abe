"""`fleet-agent port replay`: a capture through a source, as readings."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import click

from agent.adapters.capture import ReplayClock, ReplayPorts
from agent.cli.line import source_of
from agent.core.capture import Capture, Unreadable, read_capture
from agent.core.config import SourceConfig
from agent.core.status import iso
from agent.errors import Misconfigured
from agent.ports import Reading
from agent.protocols import find
from agent.services.replay import replay
from agent.wire.messages import SourceHealth


@click.command("replay", short_help="Print the readings that a source would make of a CAPTURE.")
@click.argument("capture", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Device config with the source that reads it; the source's port does not matter.",
)
@click.option("--source", help="Which source of it.  [default: its only one]")
def command(capture: Path, config: Path, source: str | None) -> None:
    """Read a CAPTURE as a source would have, at once, and print its readings as NDJSON.

    Readings are dated as they were then. What could not be read is counted on standard error.

    \b
    Example:
      fleet-agent port replay meter.capture --config running.toml --source meter
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped
    found = source_of(config, source)
    try:
        with capture.open(encoding="utf-8") as lines:
            whole = read_capture(lines)
    except OSError as error:
        raise Misconfigured(f"The capture {capture} cannot be read: {error.strerror}.") from error
    except (Unreadable, UnicodeDecodeError) as error:
        raise Misconfigured(f"{capture}: {error}.") from error
    health = asyncio.run(_replay(whole, found))
    last = f" The last: {health.detail}." if health.detail else ""
    click.echo(f"{health.readings} readings, {health.errors} errors.{last}", err=True)


async def _replay(capture: Capture, source: SourceConfig) -> SourceHealth:
    clock = ReplayClock(capture.header)
    return await replay(ReplayPorts(capture, clock), clock, source, find, _print)


def _print(readings: Sequence[Reading]) -> None:
    for one in readings:
        row = {"series": one.name, "unit": one.unit, "t_us": one.t_us, "t": iso(one.t_us), "v": one.v}
        click.echo(json.dumps(row, ensure_ascii=False))
