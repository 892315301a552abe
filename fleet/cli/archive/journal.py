"""What of an export is done, on disk: it goes on from there, and when it has ended it is the export's manifest.

One JSON object a line, appended and flushed to the disk after the data that it speaks of:

    export     what was asked for, with both ends of the span fixed
    device     … the devices, in the order in which they are taken
    planned    … all of them were told
    part       so much is done: where it goes on, and all that was written up to there
    end        all is done

The last `part` is all that has to be known. A line that was cut off by a power cut is dropped; what it spoke of is done
again, and comes out the same.
"""

import fcntl
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from fleet.errors import Refused

VERSION = 1


@dataclass(frozen=True, slots=True)
class Task:
    """What is exported: `from_us` ≤ t < `to_us`."""

    form: str  # ndjson, csv, parquet
    selector: str
    series: tuple[str, ...]
    from_us: int
    to_us: int
    asked_from_us: int | None  # as the command said them, when it began
    asked_to_us: int | None
    began_us: int
    server: str


@dataclass(frozen=True, slots=True)
class Machine:
    """One device, as the fleet knows it."""

    device: str
    product: str
    serial: str = ""
    site: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """How far it is: groups before `group` are done, of it all before `next_us`, of that day devices up to `after`."""

    group: int = 0
    next_us: int | None = None  # None: the group has not begun; its gaps come first
    after: str | None = None
    readings: int = 0
    checksum: int = 0  # the fleet's tally, modulo 2⁶⁴
    gaps: int = 0
    damaged: int = 0
    size: int = 0  # bytes of the file of text, or of that of gaps


@dataclass(slots=True)
class Journal:
    """A journal that is open; another command that opens it is turned away."""

    path: Path
    task: Task | None = None
    machines: Sequence[Machine] = ()
    state: State = field(default_factory=State)
    ended: bool = False
    names: list[str] = field(default_factory=list)  # of the files that were written
    _fd: int = -1

    @classmethod
    def open(cls, path: Path) -> "Journal":
        """Open what is there, or begin; raises Refused where another command is at work, or it is none of ours."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            raise Refused(f"another command is at work on {path.parent}", hint="Wait for it, or stop it.") from error
        journal = cls(path, _fd=fd)
        journal._load()
        return journal

    def close(self) -> None:
        """Close it; an export that has not begun leaves none behind."""
        if self.task is None:
            self.path.unlink(missing_ok=True)
        os.close(self._fd)

    def begin(self, task: Task, machines: Sequence[Machine]) -> None:
        """Note what is to be done; whatever stood there before is gone."""
        os.ftruncate(self._fd, 0)
        self.task, self.machines = task, machines
        self.state, self.ended, self.names = State(), False, []
        lines = [{"kind": "export", "version": VERSION, **asdict(task)}]
        lines += [{"kind": "device", **asdict(one)} for one in machines]
        self._append(*lines, {"kind": "planned", "devices": len(machines)})

    def part(self, state: State, *, file: str | None = None, rows: int = 0) -> None:
        """Note how far it is; what it says lies on the disk already."""
        about: dict[str, Any] = {} if file is None else {"file": file, "rows": rows}
        self._append({"kind": "part", **asdict(state), **about})
        self.state = state
        if file is not None:
            self.names.append(file)

    def end(self, **about: object) -> None:
        """Note that all is done."""
        sums = {"readings": self.state.readings, "checksum": f"{self.state.checksum:016x}", "gaps": self.state.gaps}
        self._append({"kind": "end", "devices": len(self.machines), **sums, **about})
        self.ended = True

    def _append(self, *lines: dict[str, Any]) -> None:
        data = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
        while data:
            data = data[os.write(self._fd, data) :]
        os.fsync(self._fd)

    def _load(self) -> None:
        data = b""
        while piece := os.pread(self._fd, 1 << 20, len(data)):
            data += piece
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(self._fd, whole)
        machines: list[Machine] = []
        task: Task | None = None
        try:
            for line in map(json.loads, data[:whole].splitlines()):
                kind = line["kind"]
                if kind == "export":
                    task = Task(**{one.name: line[one.name] for one in fields(Task)})
                    task = replace(task, series=tuple(task.series))
                elif kind == "device":
                    machines.append(Machine(**{one.name: line[one.name] for one in fields(Machine)}))
                elif kind == "planned":
                    self.task, self.machines = task, machines
                elif kind == "part":
                    self.state = State(**{one.name: line[one.name] for one in fields(State)})
                    self.names += [line["file"]] if "file" in line else []
                elif kind == "end":
                    self.ended = True
        except (ValueError, KeyError, TypeError) as error:
            os.close(self._fd)
            text = f"{self.path} is not the journal of an export, or is damaged"
            raise Refused(text, hint="Export to another place, or remove it together with what lies there.") from error
