"""An export as Parquet: `product=…/day=…/part-….parquet` (hive), and beside it what is no reading.

    DIR/product=freezer/day=2026-05-28/part-00000.parquet   readings of up to 100 devices and one UTC day
    DIR/_devices.ndjson · DIR/_gaps.ndjson                  lines as in an export of NDJSON
    DIR/_manifest.ndjson                                    the journal

Readers of such folders leave out what begins with `_`. A file is whole or has another name (`….part`).

A value stands in the column of its kind, so that each is exact: `value` is the number as a double, `value_int` the same
as 64-bit integer where the reading was an integer, `text` a text; a reading without a value has none of them.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import numpy as np

from fleet.cli.archive.disk import Text, part_of, put_in_place, sync_folder
from fleet.cli.archive.journal import Journal, Machine, State
from fleet.cli.archive.rows import Line, Ndjson
from fleet.errors import Misconfigured

DEVICES = "_devices.ndjson"
GAPS = "_gaps.ndjson"
ROW_GROUP = 500_000  # rows: about 15 MB while they are gathered
DAY_US = 86_400_000_000
NAMED = ("device", "serial", "site", "series", "unit", "clock")
"""Columns that seldom change from row to row; kept as numbers of a dictionary."""


@cache
def arrow() -> Any:  # noqa: ANN401 - the module
    """Return pyarrow; raises Misconfigured where it is not installed."""
    try:
        import pyarrow as pa  # type: ignore[import-untyped] # noqa: PLC0415 - 40 MB, which only Parquet needs
        import pyarrow.parquet  # type: ignore[import-untyped] # noqa: PLC0415 - the same
    except ImportError as error:
        hint = "Install it: pip install 'fieldline[fleet]'. NDJSON and CSV need nothing."
        raise Misconfigured("Parquet needs pyarrow, which is not installed here", hint=hint) from error
    return pa


@cache
def schema() -> Any:  # noqa: ANN401 - pyarrow's
    """Return the columns of a file; `product` and `day` are in its folders' names."""
    pa = arrow()
    name = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [
            ("device", name),
            ("serial", name),
            ("site", name),
            ("series", name),
            pa.field("t", pa.timestamp("us", tz="UTC"), nullable=False),
            ("value", pa.float64()),
            ("value_int", pa.int64()),
            ("text", pa.string()),
            ("unit", name),
            ("clock", name),
        ]
    )


class ParquetFolder:
    """Writes one file after the other, a product, day and group of devices each."""

    def __init__(self, folder: Path, journal: Journal) -> None:
        self._folder = folder
        self._journal = journal
        self._group = 0
        self._gaps = Text(folder / GAPS, journal.state.size)
        self._file: _File | None = None

    def __enter__(self) -> Self:
        """Write which devices there are, if it stands nowhere yet."""
        path = self._folder / DEVICES
        if not self._journal.state.size and not self._journal.names:
            text = Text(part_of(path), 0)
            text.write("".join(map(Ndjson().machine, self._journal.machines)))
            text.keep()
            text.close()
            put_in_place(path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop what is not whole."""
        self._gaps.close()
        if self._file is not None:
            self._file.abandon()

    def gap(self, line: Line, machine: Machine) -> None:
        """Write one gap."""
        self._gaps.write(Ndjson().gap(line, machine))

    def begin(self, group: int) -> None:
        """Take the number of the group whose readings come now."""
        self._group = group

    def readings(self, line: Line, machine: Machine) -> None:
        """Write some readings; those of one day come together."""
        if self._file is None:
            day = datetime.fromtimestamp(line["t0_us"] // 1_000_000, UTC).date()
            place = f"product={quote(machine.product, safe='')}/day={day}/part-{self._group:05}.parquet"
            self._file = _File(self._folder, place)
        self._file.add(line, machine)

    def reached(self, state: State) -> None:
        """Give the file its name where its day has ended."""
        if state.after is not None:
            return  # the day goes on in the next answer
        file, self._file = self._file, None
        if file is not None:
            file.finish()
            self._note(state, file=file.place, rows=file.rows)
        elif state.next_us is None:
            self._note(state)

    def finish(self, state: State) -> dict[str, object]:
        """Note the end; every file has its name already."""
        self._note(state)
        return {"files": len(self._journal.names)}

    def _note(self, state: State, **about: Any) -> None:  # noqa: ANN401 - of the file
        self._journal.part(replace(state, size=self._gaps.keep()), **about)


class _File:
    """One file while it is written; a few hundred thousand rows are gathered before they are."""

    def __init__(self, folder: Path, place: str) -> None:
        self.place = place
        self.rows = 0
        self._path = folder / place
        new = not self._path.parent.exists()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if new:
            sync_folder(self._path.parent.parent)
            sync_folder(folder)
        pa = arrow()
        self._out = part_of(self._path).open("wb")
        self._writer = pa.parquet.ParquetWriter(self._out, schema(), compression="zstd")
        self._clear()

    def add(self, line: Line, machine: Machine) -> None:
        """Take the readings of a line of the API."""
        count = len(line["v"])
        names = (machine.device, machine.serial, machine.site, line["series"], line["unit"], line["clock"])
        for runs, name in zip(self._names, names, strict=True):
            runs.append(name)
        self._counts.append(count)
        self._t.append(np.cumsum(np.array(line["dt"], np.int64)) + line["t0_us"])
        for column, part in zip((self._value, self._whole, self._text), _values(line["v"]), strict=True):
            column.append(part)
        self.rows += count
        self._held += count
        if self._held >= ROW_GROUP:
            self._flush()

    def finish(self) -> None:
        """Write what is left, flush the file to the disk, and give it its name."""
        self._flush()
        self._writer.close()
        self._out.flush()
        os.fsync(self._out.fileno())
        self._out.close()
        put_in_place(self._path)

    def abandon(self) -> None:
        """Drop the file."""
        with suppress(OSError):
            self._writer.close()  # else it closes itself later, into a file that is closed, and complains
        self._out.close()
        part_of(self._path).unlink(missing_ok=True)

    def _clear(self) -> None:
        self._held = 0
        self._names: list[list[str]] = [[] for _ in NAMED]
        self._counts: list[int] = []
        self._t: list[Any] = []
        self._value: list[Any] = []
        self._whole: list[Any] = []
        self._text: list[Any] = []

    def _flush(self) -> None:
        if not self._held:
            return
        pa = arrow()
        named = dict(zip(NAMED, (_named(runs, self._counts) for runs in self._names), strict=True))
        columns = {
            **named,
            "t": pa.array(np.concatenate(self._t), pa.timestamp("us", tz="UTC")),
            "value": pa.concat_arrays(self._value),
            "value_int": pa.concat_arrays(self._whole),
            "text": pa.concat_arrays(self._text),
        }
        self._writer.write_table(pa.table([columns[one.name] for one in schema()], schema=schema()))
        self._clear()


def _named(runs: Sequence[str], counts: Sequence[int]) -> Any:  # noqa: ANN401 - of pyarrow, which has no types
    """Return a column in which `runs[i]` stands `counts[i]` times."""
    pa = arrow()
    numbers = {name: number for number, name in enumerate(dict.fromkeys(runs))}
    codes = np.repeat(np.array([numbers[name] for name in runs], np.int32), counts)
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(list(numbers), pa.string()))


def _values(v: Sequence[Any]) -> tuple[Any, Any, Any]:
    """Return the columns `value`, `value_int` and `text` of some values."""
    pa = arrow()
    kinds = set(map(type, v))
    if kinds == {float}:
        return pa.array(np.array(v, np.float64)), pa.nulls(len(v), pa.int64()), pa.nulls(len(v), pa.string())
    if kinds == {int}:
        whole = np.array(v, np.int64)
        return pa.array(whole.astype(np.float64)), pa.array(whole), pa.nulls(len(v), pa.string())
    numbers = [float(one) if isinstance(one, int | float) else None for one in v]
    whole_numbers = [one if isinstance(one, int) else None for one in v]
    texts = [one if isinstance(one, str) else None for one in v]
    return pa.array(numbers, pa.float64()), pa.array(whole_numbers, pa.int64()), pa.array(texts, pa.string())
