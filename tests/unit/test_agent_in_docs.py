"""Every example of the config reference is a config."""

import re
from pathlib import Path

import pytest

from agent.core.config import parse_config
from agent.protocols import find

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "config.md").read_text()
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_reference_parses(example: str):
    config = parse_config(example, find)

    assert config.sources or config.rules


def test_every_protocol_has_an_example():
    assert {source.protocol for example in EXAMPLES for source in parse_config(example, find).sources} == {
        "cobs",
        "iec62056",
        "lines",
        "modbus",
        "nmea",
        "sdi12",
    }
