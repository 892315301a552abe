"""Rows of the buffer as lines of a file: CSV for a spreadsheet, NDJSON for a program. One reading or event a line.

CSV      t,t_us,series,value,unit,clock        t,t_us,kind,subject,text
NDJSON   {"t","t_us","series","v","unit","clock"}     the event as in the wire contract, with "t" before it
"""

import csv
import io
import json
from collections.abc import Iterator
from enum import StrEnum

from agent.core.answers import ReadingAnswer
from agent.core.status import iso
from agent.wire.codec import encode
from agent.wire.messages import Clock, DeviceEvent

READING_COLUMNS = ("t", "t_us", "series", "value", "unit", "clock")
EVENT_COLUMNS = ("t", "t_us", "kind", "subject", "text")


class Format(StrEnum):
    """How the lines are written."""

    CSV = "csv"
    NDJSON = "ndjson"


def head(form: Format, columns: tuple[str, ...]) -> str:
    """Return what stands before the first line."""
    return _row(columns) if form is Format.CSV else ""


def reading_line(form: Format, reading: ReadingAnswer, clock: Clock) -> str:
    """Return the line of one reading; a value that is none is empty in CSV and null in NDJSON."""
    if form is Format.CSV:
        value = "" if reading.v is None else reading.v
        return _row((reading.t or "", reading.t_us, reading.series, value, reading.unit, clock))
    fields = {"t": reading.t, "t_us": reading.t_us, "series": reading.series, "v": reading.v, "unit": reading.unit}
    return json.dumps({**fields, "clock": clock}, ensure_ascii=False, separators=(",", ":")) + "\n"


def event_line(form: Format, event: DeviceEvent) -> str:
    """Return the line of one event."""
    if form is Format.CSV:
        return _row((iso(event.t_us) or "", event.t_us, event.kind, event.subject, event.text))
    return f'{{"t":{json.dumps(iso(event.t_us))},{encode(event).decode()[1:]}\n'


def _row(cells: tuple[object, ...]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)  # RFC 4180
    return line.getvalue()


def batched(lines: Iterator[str], most_chars: int) -> Iterator[str]:
    """Join lines to pieces of about `most_chars`, so that a slow stick is written in few large writes."""
    gathered: list[str] = []
    size = 0
    for line in lines:
        gathered.append(line)
        size += len(line)
        if size >= most_chars:
            yield "".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield "".join(gathered)
