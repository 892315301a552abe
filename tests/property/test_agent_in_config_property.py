"""Whatever is written in a config document, the answer is a config or an error that a person can read."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agent.core.config import DeviceConfig, parse_config
from agent.protocols import find
from agent.wire.document import DocumentError

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "config.md").read_text()
EXAMPLES = [part.split("```")[0] for part in PAGE.split("```toml\n")[1:]]


find("modbus")  # the first import takes longer than an example may


def parsed(text: str) -> DeviceConfig | str:
    try:
        return parse_config(text, find)
    except DocumentError as error:
        return str(error)


values = st.sampled_from(
    [
        "0",
        "-1",
        "1.5",
        "nan",
        "inf",
        "9" * 400,
        "1e-320",
        '""',
        '"x"',
        "true",
        "[]",
        "{}",
        "[1]",
        "[{}]",
        "1979-05-27",
        '"\\u0000"',
    ]
)


@given(st.sampled_from(EXAMPLES), st.integers(0, 1000), values)
def test_any_value_in_the_place_of_any_other_is_a_config_or_an_error(example: str, at: int, value: str):
    parts = example.replace(",", " ,").replace("}", " }").split(" = ")
    chosen = 1 + at % (len(parts) - 1)
    _, space, rest = parts[chosen].replace("\n", " \n").partition(" ")
    text = " = ".join([*parts[:chosen], value + space + rest, *parts[chosen + 1 :]])

    assert parsed(text)


@given(st.sampled_from(EXAMPLES), st.integers(0, 2000), st.text(max_size=5))
def test_any_damage_to_the_text_is_a_config_or_an_error(example: str, at: int, text: str):
    at %= len(example)

    assert parsed(example[:at] + text + example[at + 1 :])
