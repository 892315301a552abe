"""Logging to stderr, one `key=value` line a record, repeats held back.

Under journald the line carries no time of its own. A message that comes again and again is written `BURST` times a
minute and then counted; the count is told with the next one that passes. Libraries speak from warning upwards only,
since they would log addresses and headers. What looks like a secret is masked all the same, in tracebacks too.

A bug leaves one line as well, its traceback in `error=`, wherever it comes up: the loop, a thread, a destructor. The
last lines are kept in memory (`tail`), for `fleet-agent log` on a machine whose journal is not kept.
"""

import json
import logging
import os
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TextIO

BURST = 5  # records of one kind that pass in a window
WINDOW_S = 60.0
MAX_KINDS = 512  # kinds of record remembered
MAX_ERROR_CHARS = 8192  # of a traceback; its end says most
TAIL_LINES = 200  # kept in memory
TAIL_CHARS = 64 * 1024  # of all of them together

SECRETS = (
    (re.compile(r"(fl1/[^/\s]+/[^/\s]+/)[\w-]+"), r"\1***"),  # a claim
    (re.compile(r"(\w://)[^/\s:@]*:[^/\s@]+@"), r"\1***@"),  # an address with a password
    (re.compile(r"((?:Basic|Bearer) )[\w.~+/=-]{8,}"), r"\1***"),  # an Authorization header
    (re.compile(r"(BEGIN [A-Z ]*PRIVATE KEY-----).*?(?=-----END|$)", re.DOTALL), r"\1***"),
)

log = logging.getLogger("agent")


class KeyValue(logging.Formatter):
    """Format a record as `level=warning from=sync msg="…"`."""

    def __init__(self, *, with_time: bool) -> None:
        super().__init__()
        self._with_time = with_time

    def format(self, record: logging.LogRecord) -> str:
        """Return one line; line breaks and quotes in the message are escaped."""
        parts = [f"level={record.levelname.lower()}", f"from={record.name.removeprefix('agent.')}"]
        if self._with_time:
            when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
            parts.insert(0, f"t={when.replace('+00:00', 'Z')}")
        parts.append(f"msg={json.dumps(record.getMessage(), ensure_ascii=False)}")
        held_back = getattr(record, "held_back", 0)
        if held_back:
            parts.append(f"held_back={held_back}")
        if record.exc_info:
            error = self.formatException(record.exc_info)[-MAX_ERROR_CHARS:]
            parts.append(f"error={json.dumps(error, ensure_ascii=False)}")
        return masked(" ".join(parts))


def masked(text: str) -> str:
    """Return the text without what looks like a secret."""
    for pattern, instead in SECRETS:
        text = pattern.sub(instead, text)
    return text


class Repeats(logging.Filter):
    """Let a kind of record pass `BURST` times a window. A kind is its logger and its message's template."""

    def __init__(self, mono_s: Callable[[], float]) -> None:
        super().__init__()
        self._mono_s = mono_s
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}  # kind → start of its window, records in it

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record passes."""
        kind = (record.name, str(record.msg))
        now = self._mono_s()
        since, count = self._seen.get(kind, (now, 0))
        if now - since >= WINDOW_S:
            record.held_back = max(0, count - BURST)
            since, count = now, 0
        if kind not in self._seen and len(self._seen) >= MAX_KINDS:
            self._seen.clear()
        self._seen[kind] = (since, count + 1)
        return count < BURST


class Tail(logging.StreamHandler[TextIO]):
    """Writes to a stream, and keeps the last lines, dated, within their bounds."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._dated = KeyValue(with_time=True)
        self._lines: deque[str] = deque(maxlen=TAIL_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record and keep it."""
        super().emit(record)
        self._lines.append(self._dated.format(record)[:TAIL_CHARS])
        while sum(map(len, self._lines)) > TAIL_CHARS:
            self._lines.popleft()

    def lines(self) -> Sequence[str]:
        """Return what is kept, oldest first."""
        return tuple(self._lines)


def tail() -> Sequence[str]:
    """Return the last lines of the log, oldest first; none before `set_up`."""
    return next((it.lines() for it in logging.getLogger().handlers if isinstance(it, Tail)), ())


def set_up(level: str, mono_s: Callable[[], float]) -> None:
    """Send the agent's log to stderr, and what nobody caught to the log."""
    handler = Tail(sys.stderr)
    handler.setFormatter(KeyValue(with_time="JOURNAL_STREAM" not in os.environ))
    handler.addFilter(Repeats(mono_s))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    log.setLevel(level.upper())
    threading.excepthook = _thread_died
    sys.unraisablehook = _unraisable


def tell_bug(what: str, error: BaseException) -> None:
    """Write one line about an error that nobody expected; with or without `set_up`."""
    if not logging.getLogger().handlers:
        set_up("info", lambda: 0.0)
    log.critical("%s: %s: %s", what, type(error).__name__, error, exc_info=error)


def _thread_died(about: threading.ExceptHookArgs) -> None:
    if about.exc_value is not None and not isinstance(about.exc_value, SystemExit):
        name = about.thread.name if about.thread is not None else "unknown"
        tell_bug(f"the thread {name} died of a bug", about.exc_value)


def _unraisable(about: "sys.UnraisableHookArgs") -> None:
    if about.exc_value is not None:
        tell_bug(f"a bug where nobody can catch it ({about.err_msg or 'a destructor'})", about.exc_value)
