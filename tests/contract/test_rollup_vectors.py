"""Rollups that were written long ago are read as they were meant; bytes that are none are told."""

import json
import zlib
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.core import rollup
from fleet.core.column import ChunkError
from fleet.core.rollup import Windows

VECTORS = Path(__file__).parents[1] / "vectors" / "chunk"
CASES = json.loads((VECTORS / "rollup-v1.json").read_text())


def told(windows: Windows) -> dict[str, Any]:
    columns = {one.name: getattr(windows, one.name) for one in fields(windows)}
    return {name: some if isinstance(some, list) else some.tolist() for name, some in columns.items()}


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_rollup_of_long_ago_is_read(case: dict[str, Any]):
    found = rollup.decode(bytes.fromhex(case["hex"]), case["step_s"])

    assert told(found) == case["windows"]
    assert rollup.encode(found, case["step_s"])[:1] == bytes([rollup.VERSION])
    assert told(rollup.decode(rollup.encode(found, case["step_s"]), case["step_s"])) == case["windows"]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_chart_reads_the_first_columns_alone(case: dict[str, Any]):
    found = rollup.decode_envelope(bytes.fromhex(case["hex"]), case["step_s"])

    for name in ("start_us", "count", "clocks", "low", "high"):
        column = getattr(found, name)
        assert (column if isinstance(column, list) else column.tolist()) == case["windows"][name]


@settings(max_examples=150)
@given(changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damage_that_the_crc_does_not_show_is_told_or_harmless(changes: list[tuple[float, int]]):
    body = bytearray(bytes.fromhex(CASES[0]["hex"])[5:])
    for where, byte in changes:
        body[int(where * (len(body) - 1))] = byte
    data = bytes([rollup.VERSION]) + zlib.crc32(body).to_bytes(4, "little") + bytes(body)

    with suppress(ChunkError):
        rollup.decode(data, CASES[0]["step_s"])


def test_damage_is_told():
    data = bytes.fromhex(CASES[0]["hex"])

    for at in range(len(data)):
        with pytest.raises(ChunkError):
            rollup.decode(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], CASES[0]["step_s"])
    with pytest.raises(ChunkError, match="no rollup of version 1"):
        rollup.decode(b"", CASES[0]["step_s"])
