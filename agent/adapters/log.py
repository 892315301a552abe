"""Logging to stderr, one `key=value` line a record, repeats held back.

Under journald the line carries no time of its own. A message that comes again and again is written `BURST` times a
minute and then counted; the count is told with the next one that passes. Libraries speak from warning upwards only,
since they would log addresses and headers.
"""

import json
import logging
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime

BURST = 5  # records of one kind that pass in a window
WINDOW_S = 60.0
MAX_KINDS = 512  # kinds of record remembered


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
            parts.append(f"error={json.dumps(self.formatException(record.exc_info), ensure_ascii=False)}")
        return " ".join(parts)


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


def set_up(level: str, mono_s: Callable[[], float]) -> None:
    """Send the agent's log to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValue(with_time="JOURNAL_STREAM" not in os.environ))
    handler.addFilter(Repeats(mono_s))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("agent").setLevel(level.upper())
