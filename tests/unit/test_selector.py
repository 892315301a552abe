"""The selector: every spelling that it has, and no text that breaks it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.selector import Field, Term, parse


@pytest.mark.parametrize(
    ("said", "terms"),
    [
        ("", ()),
        ("  ", ()),
        ("product:freezer", (Term(Field.PRODUCT, ("freezer",)),)),
        ('site:"Berlin, Mitte",Ham*', (Term(Field.SITE, ("Berlin, Mitte", "Ham*")),)),
        ("-device:a,b c", (Term(Field.DEVICE, ("a", "b"), negated=True), Term(Field.ANY, ("c",)))),
        ('"two words"', (Term(Field.ANY, ("two words",)),)),
        ("site:", (Term(Field.ANY, ("site:",)),)),
        ('site:""', (Term(Field.SITE, ("",)),)),
    ],
)
def test_a_selector_is_read(said: str, terms: tuple[Term, ...]):
    assert parse(said) == terms


@pytest.mark.parametrize("said", ["colour:red", 'site:"Berlin', "any:x", "a " * 33, "x" * 1025, "a\0"])
def test_what_is_no_selector_is_refused(said: str):
    with pytest.raises(ValueError, match=r"selector|compared"):
        parse(said)


@given(
    st.lists(st.text(st.characters(exclude_characters='" \0', exclude_categories=["Zs", "Cc"]), min_size=1), max_size=4)
)
def test_quoted_values_are_taken_as_they_are(values: list[str]):
    said = "site:" + ",".join(f'"{value}"' for value in values)

    assert parse(said if values else "") == ((Term(Field.SITE, tuple(values)),) if values else ())
