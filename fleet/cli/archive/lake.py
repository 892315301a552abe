"""Reading a folder of Parquet back, as `fleet export` wrote it or others did: files by name, rows as they stand."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fleet.cli.archive import lines
from fleet.cli.archive.parquet import DEVICES, GAPS, arrow
from fleet.cli.archive.told import Head, Item, Place, Reading, Reject, problem

ROWS = 65_536  # in memory at once
NEEDED = ("device", "series", "t")
TEXTS = ("device", "product", "serial", "site", "series", "unit", "clock")


def files(root: Path) -> list[Path]:
    """Return what there is to read, in order: what tells of devices and gaps first."""
    if root.is_file():
        return [root]
    beside = [root / name for name in (DEVICES, GAPS) if (root / name).exists()]
    found = (path for path in sorted(root.rglob("*.parquet")) if not any(part[0] in "_." for part in path.parts[-1:]))
    return beside + list(found)


def items(root: Path, start: Place) -> Iterator[Item]:
    """Yield what the files from `start` (number of a file, and row of it) on tell."""
    for number, path in enumerate(files(root)):
        if number < start[0]:
            continue
        where = str(path.relative_to(root)) if path != root else path.name
        first = start[1] if number == start[0] else 0
        if path.suffix != ".parquet":
            with path.open("rb") as file:
                for item in lines.ndjson(file, (0, 1), where):
                    yield _at(item, (number, 0))
        else:
            yield from _rows(path, root, where, number, first)


def _at(item: Item, place: Place) -> Item:
    return item._replace(place=place) if isinstance(item, Reading) else replace(item, place=place)


def _rows(path: Path, root: Path, where: str, number: int, first: int) -> Iterator[Item]:
    pa = arrow()
    row = 0
    try:
        file = pa.parquet.ParquetFile(path)
        lacking = [name for name in NEEDED if name not in file.schema_arrow.names]
        if lacking:
            yield Reject((number, 0), where, 0, f"it has no column {' and no '.join(lacking)}", "")
            return
        folders = (
            dict(part.split("=", 1) for part in path.relative_to(root).parts if "=" in part) if path != root else {}
        )
        for batch in file.iter_batches(ROWS):
            count = batch.num_rows
            if row + count > first:
                yield from _batch(batch, folders, where, number, row, max(0, first - row))
            row += count
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        yield Reject((number, row), where, 0, f"from row {row + 1} on it cannot be read as Parquet: {said}", "")


def _batch(  # noqa: PLR0913, PLR0917 - where it is from
    batch: Any,  # noqa: ANN401 - pyarrow's
    folders: dict[str, str],
    where: str,
    number: int,
    row: int,
    skip: int,
) -> Iterator[Item]:
    count = batch.num_rows
    texts = [_texts(batch, name, folders, count) for name in TEXTS]
    times = _times(batch)
    values = _values(batch, count)
    heads: dict[tuple[Any, ...], Head] = {}
    for at, (told, t_us, v) in enumerate(zip(zip(*texts, strict=True), times, values, strict=True)):
        if at < skip:
            continue
        head = heads.get(told)
        if head is None:
            head = heads[told] = Head._make((*(one or "" for one in told[:6]), told[6] or "unknown"))
        place = (number, row + at)
        wrong = problem(head, t_us, v)
        if wrong is None:
            yield Reading(place, head, t_us, v)
        else:
            yield Reject(place, where, row + at + 1, wrong, "")


def _texts(batch: Any, name: str, folders: dict[str, str], count: int) -> Sequence[Any] | Iterator[Any]:  # noqa: ANN401
    if name not in batch.schema.names:
        return repeat(unquote(folders.get(name, "")), count)
    column = batch.column(name)
    pa = arrow()
    found: list[Any] = column.cast(pa.string()).to_pylist()
    return found


def _times(batch: Any) -> list[Any]:  # noqa: ANN401
    pa = arrow()
    column = batch.column("t")
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", tz=column.type.tz))
    found: list[Any] = column.cast(pa.int64()).to_pylist()
    return found


def _values(batch: Any, count: int) -> Iterator[Any]:  # noqa: ANN401
    pa = arrow()
    names = batch.schema.names
    kinds = {"value": pa.float64(), "value_int": pa.int64(), "text": pa.string()}
    number, whole, text = (
        batch.column(name).cast(kind).to_pylist() if name in names else repeat(None, count)
        for name, kind in kinds.items()
    )
    for one, exact, said in zip(number, whole, text, strict=True):
        yield exact if exact is not None else one if one is not None else said
