"""Reading a folder of Parquet back, as `fleet export` wrote it or others did: files by name, rows as they stand."""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from agent.wire.limits import MAX_READINGS
from fleet.cli.archive import lines
from fleet.cli.archive.parquet import DEVICES, GAPS, arrow
from fleet.cli.archive.told import Head, Item, Place, Reading, Reject, Run, problem

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
    return item._replace(place=place) if isinstance(item, Reading | Run) else replace(item, place=place)


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
    times, values = _times(batch), _values(batch, count)
    for start, end in pairwise(_cuts(batch, times, skip)):
        told = [column[start] for column in texts]
        head = Head._make((*(one or "" for one in told[:6]), told[6] or "unknown"))
        t_us, v = times[start:end], values[start:end]
        if _is_plain(head, t_us, v):
            yield Run((number, row + start), head, t_us, v)
            continue
        for at in range(start, end):
            place = (number, row + at)
            wrong = problem(head, times[at], values[at])
            if wrong is None:
                yield Reading(place, head, times[at], values[at])
            else:
                yield Reject(place, where, row + at + 1, wrong, "")


def _cuts(batch: Any, times: list[Any], skip: int) -> list[int]:  # noqa: ANN401
    """Return where the rows from `skip` on are cut: other words, a step back in time, a line that is full, the end."""
    count = len(times)
    changes = np.zeros(count, np.bool_)
    for name in TEXTS:
        if name in batch.schema.names:
            column = batch.column(name)
            column = column if hasattr(column, "indices") else column.dictionary_encode()
            codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
            changes[1:] |= codes[1:] != codes[:-1]
    if None in times:
        changes[:] = True
    else:
        t_us = np.array(times, np.int64)
        changes[1:] |= t_us[1:] < t_us[:-1]
    found = [skip, *(at for at in np.flatnonzero(changes).tolist() if at > skip), count]
    return [at for start, end in pairwise(found) for at in range(start, end, MAX_READINGS)] + [count]


def _is_plain(head: Head, t_us: list[Any], v: list[Any]) -> bool:
    """Tell at a glance that all is well with numbers of one kind, as with nearly all there are; False says nothing."""
    kinds = set(map(type, v))
    if kinds not in ({float}, {int}) or (kinds == {float} and not math.isfinite(sum(v))):
        return False
    return problem(head, t_us[0], v[0]) is None and problem(head, t_us[-1], v[-1]) is None


def _texts(batch: Any, name: str, folders: dict[str, str], count: int) -> list[Any]:  # noqa: ANN401
    if name not in batch.schema.names:
        return [unquote(folders.get(name, ""))] * count
    found: list[Any] = batch.column(name).cast(arrow().string()).to_pylist()
    return found


def _times(batch: Any) -> list[Any]:  # noqa: ANN401
    pa = arrow()
    column = batch.column("t")
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", tz=column.type.tz))
    found: list[Any] = column.cast(pa.int64()).to_pylist()
    return found


def _values(batch: Any, count: int) -> list[Any]:  # noqa: ANN401
    pa = arrow()
    kinds = {"value_int": pa.int64(), "value": pa.float64(), "text": pa.string()}
    found: list[Any] = [None] * count
    for name, kind in kinds.items():
        if name in batch.schema.names and batch.column(name).null_count < count:
            column = batch.column(name).cast(kind).to_pylist()
            found = [new if one is None else one for one, new in zip(found, column, strict=True)]
    return found
