"""An export as one file of text, or on stdout."""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from fleet.cli.archive.disk import Text, part_of, put_in_place
from fleet.cli.archive.journal import Journal, Machine, State
from fleet.cli.archive.rows import Csv, Line, Ndjson

KEEP_S = 1.0  # how often what was written is flushed and noted, at most

FORMS: dict[str, type[Ndjson] | type[Csv]] = {"ndjson": Ndjson, "csv": Csv}


class TextFile:
    """Writes `path`.part, notes in the journal what is safe of it, and renames it at the end."""

    def __init__(self, path: Path, journal: Journal, form: str) -> None:
        self._path = path
        self._journal = journal
        self._form = FORMS[form]()
        self._kept_s = time.monotonic()
        self._text = Text(part_of(path), journal.state.size)

    def __enter__(self) -> Self:
        """Write what stands at the head, once."""
        if not self._journal.state.size:
            self._text.write(self._form.head + "".join(map(self._form.machine, self._journal.machines)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; what was not noted is dropped when it is opened again."""
        self._text.close()

    def begin(self, group: int) -> None:
        """Go on: all groups stand in one file."""

    def gap(self, line: Line, machine: Machine) -> None:
        """Write one gap."""
        self._text.write(self._form.gap(line, machine))

    def readings(self, line: Line, machine: Machine) -> None:
        """Write some readings."""
        self._text.write(self._form.readings(line, machine))

    def reached(self, state: State) -> None:
        """Note how far it is, now and then."""
        if time.monotonic() - self._kept_s >= KEEP_S:
            self._note(state)

    def finish(self, state: State) -> dict[str, object]:
        """Give the file its name; returns what the journal's end says of it."""
        self._note(state)
        put_in_place(self._path)
        return {"file": self._path.name, "size": self._journal.state.size}

    def _note(self, state: State) -> None:
        self._journal.part(replace(state, size=self._text.keep()))
        self._kept_s = time.monotonic()


class Stdout:
    """Writes to stdout; nothing is noted, so it cannot go on."""

    def __init__(self, form: str, machines: Sequence[Machine]) -> None:
        self._form = FORMS[form]()
        self._machines = machines

    def __enter__(self) -> Self:
        """Write what stands at the head."""
        sys.stdout.write(self._form.head + "".join(map(self._form.machine, self._machines)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave stdout open."""

    def begin(self, group: int) -> None:
        """Go on: all groups stand in one stream."""

    def gap(self, line: Line, machine: Machine) -> None:
        """Write one gap."""
        sys.stdout.write(self._form.gap(line, machine))

    def readings(self, line: Line, machine: Machine) -> None:
        """Write some readings."""
        sys.stdout.write(self._form.readings(line, machine))

    def reached(self, state: State) -> None:
        """Go on."""

    def finish(self) -> None:
        """Flush what was written."""
        sys.stdout.flush()
