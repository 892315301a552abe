"""The end of the agent's log, as it travels with an alarm that wants a ticket: the newest lines, within the contract.

What looks like a secret is masked where a line is made (`agent.adapters.log`), so none is kept and none can leave.
"""

from collections.abc import Sequence

from agent.wire.limits import MAX_LOG_CHARS, MAX_LOG_LINES

MAX_LINE_CHARS = 1024  # of one line; of a traceback the end says most
CUT = "…"


def last_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the newest of the lines, oldest first, as many as an event may hold."""
    kept: list[str] = []
    room = MAX_LOG_CHARS
    for line in reversed(lines[-MAX_LOG_LINES:]):
        text = _clean(line)
        room -= len(text)
        if room < 0:
            break
        kept.append(text)
    return tuple(reversed(kept))


def _clean(line: str) -> str:
    text = line.replace("\0", "").encode(errors="replace").decode()
    return text if len(text) <= MAX_LINE_CHARS else CUT + text[1 - MAX_LINE_CHARS :]
