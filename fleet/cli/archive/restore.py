"""An import from files: begun, or taken up where it was; what cannot be read goes into a file of its own.

While it goes on, PATH.import beside the source says how far it is. That is only a shortcut: an import that begins anew
stores nothing twice.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from fleet.cli.archive import lines
from fleet.cli.archive.bring import Bringer, Done
from fleet.cli.archive.disk import Text, part_of
from fleet.cli.archive.keep import MANIFEST
from fleet.cli.archive.told import Item, Place, Reject
from fleet.cli.client import Client
from fleet.errors import Invalid, NotFound, Refused

MAX_MANIFEST_LINE = 64 * 1024  # bytes from its end that are looked at


@dataclass(frozen=True, slots=True)
class Source:
    """What is imported."""

    path: Path | None  # None: stdin
    form: str

    @property
    def name(self) -> str:
        """Return what events call it."""
        return "stdin" if self.path is None else (self.path.name or str(self.path.resolve().name))[:256]

    def beside(self, ending: str) -> Path:
        """Return a file beside it."""
        path = Path("stdin") if self.path is None else self.path
        return (
            path.with_name(path.name + ending) if path.name else path.resolve().with_name(path.resolve().name + ending)
        )

    def mark(self) -> list[object]:
        """Return what changes when the source does."""
        if self.path is None:
            return []
        about = self.path.stat()
        return [str(self.path.resolve()), about.st_size, about.st_mtime_ns, self.form]

    def items(self, start: Place, file: IO[bytes] | None) -> Iterator[Item]:
        """Yield what it tells, from a place on."""
        if self.form == "parquet":
            from fleet.cli.archive import lake  # noqa: PLC0415 - brings numpy and pyarrow

            assert self.path is not None  # noqa: S101 - stdin is no Parquet
            return lake.items(self.path, start)
        assert file is not None  # noqa: S101 - opened by the caller
        return (lines.ndjson if self.form == "ndjson" else lines.csv_rows)(file, start)


def check_whole(source: Source) -> int | None:
    """Return how many readings the manifest of an export says that there are, None without one.

    Raises Refused for an export that is not whole yet.
    """
    path = source.path
    if path is None:
        return None
    manifest = path / MANIFEST if path.is_dir() else source.beside(".manifest")
    if not manifest.exists():
        return None
    with manifest.open("rb") as file:
        file.seek(max(0, manifest.stat().st_size - MAX_MANIFEST_LINE))
        last = file.read().rstrip(b"\n").rpartition(b"\n")[2]
    with suppress(ValueError, KeyError, TypeError):
        said = json.loads(last)
        if said["kind"] == "end":
            return int(said["readings"])
    text = f"{path} is an export that is not whole: its manifest does not end"
    raise Refused(text, hint="End it with the same `fleet export` as before.")


def run(client: Client, source: Source, rejects: Path | None, *, create: bool) -> tuple[Done, Path]:
    """Import all that is left; returns what was done, and where the rejects are."""
    try:
        with sys.stdin.buffer if source.path is None else _opened(source.path) as file:
            return _run(client, source, rejects or source.beside(".rejects.ndjson"), file, create=create)
    except FileNotFoundError as error:
        raise NotFound(
            f"there is no {error.filename}", hint="Say the file, or the folder, that shall be read."
        ) from error
    except OSError as error:
        text = f"{error.filename or source.name}: {error.strerror}"
        raise Invalid(text, hint="If rejects cannot be written there, say --rejects FILE.") from error


class _Nothing:
    """In the place of a file where a folder is read."""

    def __enter__(self) -> None:
        """Open nothing."""

    def __exit__(self, *_: object) -> None:
        """Close nothing."""


def _opened(path: Path) -> Any:  # noqa: ANN401 - a file, or nothing
    path.stat()
    return _Nothing() if path.is_dir() or path.suffix == ".parquet" else path.open("rb")


def _run(client: Client, source: Source, rejects: Path, file: IO[bytes] | None, *, create: bool) -> tuple[Done, Path]:
    state = source.beside(".import")
    about = [*source.mark(), client.server.url, create]
    done, size = _taken_up(state, about) if source.path is not None else (None, 0)
    if done is None:
        begun = client.post("import", body={"source": source.name})
        done, size = Done(begun["id"], begun["until_us"], (0, 1) if source.form != "parquet" else (0, 0)), 0
    with closing(_Rejects(rejects, size)) as written:

        def safe(now: Done) -> None:
            if source.path is not None:
                _keep(state, {"about": about, "rejects": written.keep(), "done": asdict(now)})

        bringer = Bringer(client, done, create=create, reject=written.add, safe=safe)
        bringer.take(source.items(done.place, file))
        written.keep()
    state.unlink(missing_ok=True)
    return bringer.done, rejects


class _Rejects:
    """The file of what was rejected; there is none where nothing was."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._text = Text(path, size) if size and path.exists() else None

    def add(self, one: Reject) -> None:
        """Write one line."""
        if self._text is None:
            self._text = Text(self._path, 0)
        about = {"file": one.where} if one.where else {}
        said = {**about, "line": one.line, "reason": one.reason, "text": one.text}
        self._text.write(json.dumps(said, ensure_ascii=True) + "\n")

    def keep(self) -> int:
        """Flush it; returns its size in bytes."""
        return 0 if self._text is None else self._text.keep()

    def close(self) -> None:
        """Close it."""
        if self._text is not None:
            self._text.close()


def _taken_up(state: Path, about: list[object]) -> tuple[Done | None, int]:
    """Return how far an earlier import of the same source came, and how long its file of rejects was."""
    try:
        said = json.loads(state.read_text())
        if said["about"] != about:
            return None, 0
        done = Done(**said["done"] | {"place": tuple(said["done"]["place"])})
        return done, int(said["rejects"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, 0


def _keep(state: Path, said: dict[str, object]) -> None:
    """Note how far it is, if the disk lets us: without it an import begins anew, and stores nothing twice."""
    with suppress(OSError):
        part_of(state).write_text(json.dumps(said))
        part_of(state).replace(state)
