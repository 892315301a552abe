"""What the commands that look into the agent share: ask the running one, else read its files."""

from collections.abc import Callable
from typing import TypeVar

import click

from agent.adapters.clock import SystemClock
from agent.adapters.local_api import ask
from agent.core.moment import parse_moment
from agent.errors import Misconfigured, Unavailable
from agent.settings import StateDir
from agent.wire.codec import decode
from agent.wire.errors import WireError

T = TypeVar("T")

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
since = click.option("--from", "from_text", metavar="WHEN", help="Begin: 2h (ago), 3d, or 2026-03-01T12:00Z.")
until = click.option("--to", "to_text", metavar="WHEN", help="End, written like the beginning.")


def asked(state: StateDir, kind: type[T], question: str, offline: Callable[[], T]) -> T:
    """Return the running agent's answer, or `offline()` where none runs or an older one does not know the question."""
    if not state.root.is_dir():
        raise Misconfigured(
            f"There is no {state.root}.", hint="Give the agent's directory with --state, or install it first."
        )
    try:
        return decode(kind, ask(state.socket, question))
    except (Unavailable, WireError):
        return offline()


def moment(text: str | None, default_us: int) -> int:
    """Read a moment from an option; a bad one is a usage error."""
    if text is None:
        return default_us
    try:
        return parse_moment(text, now_us())
    except ValueError as error:
        raise click.UsageError(f"{error}.") from error


def now_us() -> int:
    """Return the time by this machine's clock, UTC microseconds."""
    return SystemClock().now_us()
