"""Chunks that were written long ago are read as they were meant; so is what is written today."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleet.core import chunk
from fleet.core.chunk import CLOCKS, Rows
from fleet.core.column import values_of

VECTORS = Path(__file__).parents[1] / "vectors" / "chunk"
CASES = [case for path in sorted(VECTORS.glob("v*.json")) for case in json.loads(path.read_text())]


def told(rows: Rows) -> dict[str, Any]:
    return {
        "name": rows.name,
        "t_us": rows.t_us.tolist(),
        "v": [repr(value) for value in rows.values()],
        "clock": [CLOCKS[number].value for number in rows.clock.tolist()],
        "unit": [rows.units[number] for number in rows.unit.tolist()],
    }


def wanted(case: dict[str, Any]) -> list[dict[str, Any]]:
    return [one | {"v": [repr(value) for value in one["v"]]} for one in case["series"]]


def rows_of(one: dict[str, Any]) -> Rows:
    units = tuple(dict.fromkeys(one["unit"]))
    clock = [[known.value for known in CLOCKS].index(word) for word in one["clock"]]
    unit = [units.index(word) for word in one["unit"]]
    times, clocks, numbers = (np.array(column, np.int64) for column in (one["t_us"], clock, unit))
    return Rows(one["name"], times, values_of(one["v"]), clocks, numbers, units)


def _id(case: dict[str, Any]) -> str:
    return str(case["name"])


@pytest.mark.parametrize("case", CASES, ids=_id)
def test_a_chunk_of_long_ago_is_read(case: dict[str, Any]):
    assert list(map(told, chunk.decode(bytes.fromhex(case["hex"])))) == wanted(case)


@pytest.mark.parametrize("case", CASES, ids=_id)
def test_the_same_readings_are_written_and_read_today(case: dict[str, Any]):
    assert list(map(told, chunk.decode(chunk.encode(list(map(rows_of, case["series"])))))) == wanted(case)
