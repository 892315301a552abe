"""Strict reading of config documents: each mistake names its key and the nearest known one."""

from enum import StrEnum

import pytest

from agent.wire.document import DocumentError, Table, parse_document


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


def _read(text: str) -> tuple[object, ...]:
    document = parse_document(text)
    got = []
    for table in document.tables("thing"):
        got.append(
            (
                table.name("name"),
                table.number("size", 1.0, least=0),
                table.flag("on", default=True),
                table.choice("colour", Colour, Colour.RED),
            )
        )
        table.table("inner").done()
        table.done()
    document.done()
    return tuple(got)


def test_a_document_is_read_with_its_defaults():
    assert _read('[[thing]]\nname = "a"\n[[thing]]\nname = "b"\nsize = 2\non = false\ncolour = "green"') == (
        ("a", 1.0, True, Colour.RED),
        ("b", 2.0, False, Colour.GREEN),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[thing]", "not valid TOML: .*line 1"),
        ("[[thing]]", r"thing\[0\]\.name: missing; it is a string"),
        ("[[thing]]\nname = 5", r"thing\[0\]\.name: expected a string, got a whole number"),
        ('[[thing]]\nname = "a b"', r"thing\[0\]\.name: 'a b' is not a name"),
        ('[[thing]]\nname = "a"\nszie = 3', r"thing\[0\]\.szie: unknown key; did you mean 'size'\?"),
        ('[[thing]]\nname = "a"\nsize = -1', r"thing\[0\]\.size: -1 is not within 0…inf"),
        ('[[thing]]\nname = "a"\nsize = inf', r"thing\[0\]\.size: inf is not within"),
        ('[[thing]]\nname = "a"\nsize = nan', r"thing\[0\]\.size: nan is not within"),
        ('[[thing]]\nname = "a"\nsize = true', r"thing\[0\]\.size: expected a number, got true or false"),
        (
            '[[thing]]\nname = "a"\ncolour = "gren"',
            r"thing\[0\]\.colour: 'gren' is none of red, green; did you mean 'green'\?",
        ),
        ('[[thing]]\nname = "a"\n[thing.inner]\nx = 1', r"thing\[0\]\.inner\.x: unknown key"),
        ("thing = 3", "thing: expected an array of tables, got a whole number"),
        ("thing = [3]", r"thing\[0\]: expected a table, got a whole number"),
        ("[[thin]]", "thin: unknown key; did you mean 'thing'"),
    ],
)
def test_a_mistake_names_its_key(text: str, message: str):
    with pytest.raises(DocumentError, match=message):
        _read(text)


def test_a_key_that_was_asked_about_is_known():
    table = Table({"a": 1}, "")

    assert "a" in table
    table.done()


def test_a_pattern_that_does_not_compile_is_told():
    with pytest.raises(DocumentError, match=r"t\.match: not a regular expression"):
        Table({"match": "("}, "t").pattern("match")
