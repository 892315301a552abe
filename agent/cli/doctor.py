"""`fleet-agent doctor`: what is amiss, and what to do about it."""

import contextlib
import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from agent.adapters import doctor
from agent.adapters.clock import SystemClock
from agent.adapters.network import check_network
from agent.adapters.peek import value
from agent.adapters.standing import load_local
from agent.adapters.vitals import Vitals
from agent.cli import options
from agent.core.config import parse_config
from agent.core.finding import Finding, Level, fail, ok, render, to_json, worst
from agent.errors import Misconfigured
from agent.protocols import find
from agent.services.sync import LINK_PORT_KEY
from agent.settings import StateDir, load_identity


@click.command("doctor", short_help="Check this machine and the way to the fleet; say what to do.")
@options.state
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
def command(state: Path, *, as_json: bool) -> None:
    """Check rights, ports, clock, disk, buffer, certificate and the way to the fleet; say what to do.

    Looks and changes nothing. Exit code 1 if something does not work, 0 if all does or there are only warnings.

    \b
    Examples:
      sudo fleet-agent doctor
      sudo fleet-agent doctor --json | jq '.findings[] | select(.level != "ok")'
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped
    found = []
    for finding in _examine(StateDir(state)):
        found.append(finding)
        if not as_json:
            click.echo(render(finding))
    if as_json:
        click.echo(json.dumps(to_json(found), ensure_ascii=False))
    sys.exit(1 if worst(found) is Level.FAIL else 0)


def _examine(state: StateDir) -> Iterator[Finding]:
    clock, vitals = SystemClock(), Vitals()
    yield from doctor.check_state(state)
    yield from doctor.check_clock(clock)
    yield from doctor.check_disk(state, vitals)
    yield from doctor.check_power(vitals)
    try:
        identity = load_identity(state)
    except Misconfigured as error:
        yield fail("identity", error.message, error.hint)
        return
    yield ok("identity", f"{identity.device_id} of {identity.host}:{identity.gateway_port}.")
    yield from doctor.check_certificate(identity, clock)
    yield from doctor.check_key(identity)
    yield from doctor.check_service(state)
    yield from doctor.check_ports(state, lambda text, local: parse_config(text, find, local).sources)
    yield from doctor.check_buffer(state)
    yield from check_network(identity, _link_port(state), proxy=load_local(state.local)[0].proxy)


def _link_port(state: StateDir) -> int:
    with contextlib.suppress(sqlite3.Error, OSError, ValueError):
        return int(value(state.buffer, LINK_PORT_KEY) or 0)
    return 0
