"""An export into files: begun, or taken up where it was, and tried again where the server or the network fails."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Protocol

from fleet.cli.archive import source
from fleet.cli.archive.disk import part_of
from fleet.cli.archive.journal import Journal, Machine, State, Task
from fleet.cli.archive.take import Writer, take
from fleet.cli.archive.text import TextFile
from fleet.cli.client import Client, Unreachable
from fleet.cli.times import iso
from fleet.errors import Busy, FleetError, Invalid, NotFound, Refused

TRIES = 5  # in a row without any progress, before the command gives up
WAIT_S = 1.0  # before the second try, doubled for each further one
SLACK_US = 5_000_000  # by which two commands with the same `-7d` may differ beyond the time between them
MANIFEST = "_manifest.ndjson"

GOES_ON = "The same command goes on where it was."


@dataclass(frozen=True, slots=True)
class Outcome:
    """What there is now."""

    task: Task
    state: State
    devices: int
    place: Path
    files: int
    new: bool  # False: it was whole before


class Keeper(Writer, Protocol):
    """Writes to the disk, and notes in the journal what is safe there."""

    def finish(self, state: State) -> dict[str, object]:
        """Give what was written its name; returns what the journal's end says of it."""


Opened = Callable[[], AbstractContextManager[Keeper]]
Told = Callable[[State, int], None]
"""Hears how far an export is, and of how many groups."""


def planned(client: Client, asked: Task) -> tuple[Task, list[Machine]]:
    """Ask what there is; raises NotFound where there is nothing."""
    found = source.plan(client, asked.selector, asked.series, asked.asked_from_us, asked.asked_to_us)
    machines = [Machine(**one) for one in found["devices"]]
    if not machines:
        raise NotFound(
            "no device that you chose has readings or gaps of that time",
            hint="`fleet device list` shows the devices; leave out --from and --to for all that is kept.",
        )
    return replace(asked, from_us=found["from_us"], to_us=found["to_us"]), machines


def to_file(client: Client, asked: Task, path: Path, told: Told, *, again: bool) -> Outcome:
    """Export into one file of text; its journal stands beside it, as PATH.manifest."""
    with _writing(path), closing(Journal.open(path.with_name(path.name + ".manifest"))) as journal:
        if path.exists() and journal.task is None and not again:
            text = f"{path} is there already, and is no export that could go on"
            raise Refused(text, hint="Name another --out, or say --again to put the export in its place.")
        if path.exists() and not journal.ended and not part_of(path).exists():
            path.replace(part_of(path))  # whole and in place, and the journal does not know it yet
        return _run(client, asked, journal, lambda: TextFile(path, journal, asked.form), told, path, again=again)


def to_folder(client: Client, asked: Task, folder: Path, told: Told, *, again: bool) -> Outcome:
    """Export into a folder of Parquet."""
    from fleet.cli.archive.parquet import ParquetFolder  # noqa: PLC0415 - brings numpy and pyarrow

    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / MANIFEST).exists() and any(folder.iterdir()):
            text = f"{folder} is not empty, and is no export that could go on"
            raise Refused(text, hint="Name another folder for --out.")
        with closing(Journal.open(folder / MANIFEST)) as journal:
            if again:
                for name in journal.names:
                    (folder / name).unlink(missing_ok=True)
            return _run(client, asked, journal, lambda: ParquetFolder(folder, journal), told, folder, again=again)


def _run(  # noqa: PLR0913, PLR0917 - from where, what, into what
    client: Client, asked: Task, journal: Journal, opened: Opened, told: Told, place: Path, *, again: bool
) -> Outcome:
    task = journal.task
    fresh = again or task is None or (journal.ended and not place.exists())
    if not fresh and task is not None:
        _same(asked, task, journal.path)
    if fresh:
        journal.begin(*planned(client, asked))
    new = not journal.ended
    if new:
        _finish(client, journal, opened, told)
    assert journal.task is not None  # noqa: S101 - begun above
    return Outcome(journal.task, journal.state, len(journal.machines), place, max(1, len(journal.names)), new)


def _finish(client: Client, journal: Journal, opened: Opened, told: Told) -> None:
    """Take out what is left; goes on by itself where it was cut off, and gives up after some tries in vain."""
    task, machines = journal.task, journal.machines
    assert task is not None  # noqa: S101 - begun by the caller
    groups = len(source.groups(machines))
    tries = 0

    def said(state: State) -> None:
        nonlocal tries
        tries = 0
        told(state, groups)

    while True:
        tries += 1
        try:
            with opened() as writer:
                state = take(client, task, machines, journal.state, writer, said)
                about = writer.finish(state)
            journal.end(damaged=state.damaged, **about)
        except (Unreachable, Busy) as error:
            if tries >= TRIES:
                error.hint = f"Nothing is lost. {GOES_ON}"
                raise
            time.sleep(WAIT_S * 2 ** (tries - 1))
        else:
            return


def _same(asked: Task, task: Task, path: Path) -> None:
    """Refuse another task than the one that was begun; `-7d` moves with time and is the same."""
    passed_us = max(0, asked.began_us - task.began_us) + SLACK_US
    times = ((asked.asked_from_us, task.asked_from_us), (asked.asked_to_us, task.asked_to_us))
    moved = any((new is None) != (old is None) or not 0 <= (new or 0) - (old or 0) < passed_us for new, old in times)
    fixed = [one.name for one in fields(Task) if not one.name.endswith("_us")]
    if moved or any(getattr(asked, name) != getattr(task, name) for name in fixed):
        which = task.selector or "the whole fleet"
        raise Refused(
            f"another export is there: {which} as {task.form}, {iso(task.from_us)} to {iso(task.to_us)} ({path})",
            hint="Say the same as then to go on with it, name another --out, or say --again to begin anew.",
        )


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say in a sentence what the disk refuses."""
    try:
        yield
    except FileNotFoundError as error:
        text = f"{error.filename or error} is not there as it was left"
        raise Invalid(text, hint="Say --again to begin anew, or name another --out.") from error
    except FleetError:
        raise
    except OSError as error:
        text = f"{error.filename or path} cannot be written: {error.strerror}"
        raise Invalid(text, hint=f"Make room, or name another --out. {GOES_ON}") from error
