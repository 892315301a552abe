"""Bytes → lines, at any split, in bounded memory.

A line is dated by the arrival of its first byte. In one call every line but the first began in the chunk at hand;
only the first may have begun earlier, so one moment tells it all.

What comes first after a port was opened may be the rest of a line whose beginning was never seen: `23,-18.2` can be
the end of `1023,-18.2` and would read as a good line. If bytes come within `SETTLE_S` of the opening, the sender was
in mid-speech and they are dropped up to the first line end; after a silence the first byte begins a line.
"""

SETTLE_S = 0.02  # seconds of silence after which a byte is taken as the first of its line
DEFAULT_MAX_LINE_BYTES = 1024


class LineSplitter:
    """Splits a stream at `end`. A line longer than `max_bytes` is dropped and counted, however it was split."""

    def __init__(self, end: bytes = b"\n", max_bytes: int = DEFAULT_MAX_LINE_BYTES, *, settles: bool = True) -> None:
        self._end = end
        self._max_bytes = max_bytes
        self._settles = settles  # whether the first line may be a rest that reads as a whole one
        self._rest = b""
        self._rest_s = 0.0
        self._skipping = False
        self._opened_s: float | None = None

    def opened(self, now_s: float) -> None:
        """Start anew at `now_s`, monotonic seconds."""
        self._rest = b""
        self._skipping = False
        self._opened_s = now_s if self._settles else None

    def split(self, data: bytes, now_s: float) -> tuple[list[bytes], float, int]:
        """Take bytes; returns the lines they complete, when the first of them began, and how many were too long."""
        if self._opened_s is not None and data:
            self._skipping = now_s - self._opened_s < SETTLE_S
            self._opened_s = None
        began_s = self._rest_s if self._rest else now_s
        text = self._rest + data
        lines = text.split(self._end)
        rest = lines.pop()
        too_long = 0
        if lines and self._skipping:
            del lines[0]
            began_s = now_s
            self._skipping = False
        if len(text) > self._max_bytes:
            whole = [line for line in lines if len(line) <= self._max_bytes]
            too_long = len(lines) - len(whole)
            if too_long and lines[0] is not (whole[0] if whole else None):
                began_s = now_s
            lines = whole
        if self._skipping:
            rest = rest[max(0, len(rest) - len(self._end) + 1) :]
        elif len(rest) >= self._max_bytes + len(self._end):
            too_long += 1
            self._skipping = True
            rest = rest[max(0, len(rest) - len(self._end) + 1) :]
        self._rest_s = now_s if len(rest) <= len(data) else self._rest_s
        self._rest = rest
        return lines, began_s, too_long
