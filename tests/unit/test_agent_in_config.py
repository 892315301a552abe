"""The device's config document: what parses, and how a mistake is told."""

import re

import pytest

from agent.core.config import Parity, parse_config
from agent.core.quantity import Quantity
from agent.protocols import find
from agent.protocols.lines import Column, Format, LinesOptions
from agent.wire.document import DocumentError

SAMPLE = """
[[source]]
name = "board"
port = "/dev/tty0"
baudrate = 115200
protocol = "lines"
[source.lines]
format = "csv"
columns = [{ name = "n", unit = "1" }, { name = "temp", unit = "Cel" }]

[[rule]]
name = "too-warm"
series = "board.temp"
above = -5.0
hold_s = 2
clear_hold_s = 2
severity = "critical"
ticket = true
"""


def test_the_sample_parses_exactly():
    config = parse_config(SAMPLE, find)

    (source,) = config.sources
    assert (source.name, source.port, source.protocol) == ("board", "/dev/tty0", "lines")
    assert (source.baudrate, source.bytesize, source.parity, source.stopbits) == (115200, 8, Parity.NONE, 1.0)
    assert source.options == LinesOptions(
        Format.CSV, (Column("n", Quantity("n", "1")), Column("temp", Quantity("temp", "Cel")))
    )
    assert [rule.name for rule in config.rules] == ["too-warm"]
    assert config.flush_s == 1.0


def test_an_empty_document_is_a_config_that_reads_nothing():
    config = parse_config("", find)

    assert (config.sources, config.rules, config.flush_s) == ((), (), 1.0)


def test_the_same_text_gives_an_equal_config_so_that_only_changes_restart_a_port():
    text = SAMPLE.replace('format = "csv"', 'format = "csv"\nskip = "^boot"')

    assert parse_config(text, find) == parse_config(text, find)


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (("baudrate", "baudrat"), r"source\[0\]\.baudrat: unknown key; did you mean 'baudrate'\?"),
        (("115200", '"115200"'), r"source\[0\]\.baudrate: expected a whole number, got a string"),
        (("115200", "0"), r"source\[0\]\.baudrate: 0 is not within 50…"),
        (("[[source]]", "[source]"), r"source: expected an array of tables, got a table"),
        (("[[rule]]", "[[rules]]"), r"rules: unknown key; did you mean 'rule'\?"),
        (('name = "board"', ""), r"source\[0\]\.name: missing"),
        (('"/dev/tty0"', '"ttyUSB0"'), r"source\[0\]\.port: 'ttyUSB0' is no path"),
        (('protocol = "lines"', 'protocol = "line"'), r"source\[0\]\.protocol: .*did you mean 'lines'\?"),
        (("[source.lines]", "[source.line]"), r"source\[0\]\.lines\.format: missing"),
        (('"csv"', '"cvs"'), r"source\[0\]\.lines\.format: 'cvs' is none of .*did you mean 'csv'\?"),
        (('unit = "Cel"', 'unit = "°C"'), r"columns\[1\]\.unit: '°C' is not UCUM; did you mean 'Cel'\?"),
        (
            ('unit = "Cel"', 'units = "Cel"'),
            r"columns\[1\]\.unit: missing; it is a string; is 'units' meant to be it\?",
        ),
        (('name = "temp"', 'name = "n"'), r"source\[0\]\.lines\.columns: 'n' is there twice"),
        (('name = "temp"', 'name = "te mp"'), r"columns\[1\]\.name: 'te mp' is not a name"),
        (('unit = "Cel"', 'unit = "Cel", scale = 0'), r"columns\[1\]\.scale: 0 would make"),
        (('unit = "Cel"', f'unit = "Cel", scale = {"9" * 400}'), r"columns\[1\]\.scale: inf is not within"),
        (('unit = "Cel"', 'unit = "Cel", scale = 1e-320'), r"columns\[1\]\.scale: 9\.9.*e-321 would make"),
        (('unit = "Cel"', 'unit = "Cel", scal = 1'), r"columns\[1\]\.scal: unknown key; did you mean 'scale'\?"),
        (("hold_s = 2\nc", 'hold_s = "2"\nc'), r"rule\[0\]\.hold_s: expected a number"),
        (("[[rule]]", "[agent]\nflush = 1\n[[rule]]"), r"agent\.flush: unknown key; did you mean 'flush_s'\?"),
        (("[[rule]]", "[agent]\nflush_s = 0\n[[rule]]"), r"agent\.flush_s: 0 is not within 0\.05…60"),
        (("[[rule]]", "[[rule]"), r"not valid TOML: .*line 11"),
    ],
)
def test_a_mistake_names_its_place_and_the_way_out(mistake: tuple[str, str], told: str):
    text = SAMPLE.replace(*mistake, 1)

    with pytest.raises(DocumentError) as caught:
        parse_config(text, find)

    assert re.search(told, str(caught.value)), caught.value


def test_a_port_is_shared_only_by_sources_that_agree():
    other = SAMPLE.split("[[rule]]", maxsplit=1)[0].replace('"board"', '"other"')

    assert len(parse_config(SAMPLE + other, find).sources) == 2
    with pytest.raises(DocumentError, match=r"source\[1\]\.port: /dev/tty0 is set otherwise by 'board'"):
        parse_config(SAMPLE + other.replace("115200", "9600"), find)
    with pytest.raises(DocumentError, match=r"source\[1\]\.name: 'board' is the name of another source"):
        parse_config(SAMPLE + other.replace('"other"', '"board"'), find)
