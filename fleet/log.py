"""Logs: one line an event, key=value, to stderr. What libraries log (uvicorn, sqlalchemy) becomes the same lines."""

import logging
import sys
from typing import Any, TextIO

import structlog

LIBRARY_LEVEL = logging.WARNING


class _ToStructlog(logging.Handler):
    """Hands what a library logs on to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record on."""
        log = structlog.get_logger(part=record.name)
        log.log(record.levelno, record.getMessage(), exc_info=record.exc_info)


def set_up(stream: TextIO | None = None) -> None:
    """Send all logs to `stream`, stderr by default."""
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "part", "event"]),
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=LIBRARY_LEVEL, handlers=[_ToStructlog()], force=True)
    logging.getLogger("uvicorn.error").setLevel(LIBRARY_LEVEL)
    # nats-py logs each lost connection with a traceback; the link says what it means.
    logging.getLogger("nats").setLevel(logging.CRITICAL)


def hush_endings() -> None:
    """Say no more of requests that end because the server does: uvicorn calls each open stream an error."""
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
