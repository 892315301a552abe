"""The golden vectors of the wire contract, read by both sides."""

import gzip
import json
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.wire import codec, messages
from agent.wire.errors import WireError
from fleet.gateway.decode import decode_batch

Decode = Callable[[bytes], messages.Batch]
VECTORS = Path(__file__).parents[1] / "vectors" / "wire"
VALID = json.loads((VECTORS / "valid.json").read_text())
INVALID = json.loads((VECTORS / "invalid.json").read_text())


def _ids(case: dict[str, Any]) -> str:
    return str(case["name"])


@pytest.mark.parametrize("case", VALID, ids=_ids)
def test_the_device_reads_a_vector_and_writes_the_same_bytes(case: dict[str, Any]):
    message = codec.decode(getattr(messages, case["kind"]), case["text"].encode())

    assert codec.encode(message).decode() == case["text"]


@pytest.mark.parametrize("case", VALID, ids=_ids)
def test_the_server_reads_a_vector_as_the_device_does(case: dict[str, Any]):
    kind = getattr(messages, case["kind"])

    assert msgspec.json.decode(case["text"], type=kind) == codec.decode(kind, case["text"].encode())


@pytest.mark.parametrize("decode", [codec.decode_batch, decode_batch], ids=["device", "server"])
@pytest.mark.parametrize("case", INVALID, ids=_ids)
def test_an_error_names_the_place(case: dict[str, Any], decode: Decode):
    document = json.loads(VALID[0]["text"])
    holder = reduce(lambda node, key: node[key], case["path"][:-1], document)
    holder[case["path"][-1]] = case["value"]

    with pytest.raises(WireError) as caught:
        decode(_gzip(json.dumps(document)))

    assert caught.value.place == case["place"]
    assert caught.value.problem


@pytest.mark.parametrize("decode", [codec.decode_batch, decode_batch], ids=["device", "server"])
def test_keys_of_a_later_version_are_ignored(decode: Decode):
    document = json.loads(VALID[0]["text"])
    document["later"] = {"x": 1}
    document["segments"][0]["later"] = 5

    assert decode(_gzip(json.dumps(document))) == decode(_gzip(VALID[0]["text"]))


def _gzip(text: str) -> bytes:
    return gzip.compress(text.encode())
