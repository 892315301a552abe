"""The selector: which devices are meant, in one line of text. The one such language, wherever devices are chosen.

    product:freezer site:"Berlin Mitte",Hamburg* -device:freezer-000001 door

Words stand apart by spaces, and all of them must hold. `product:`, `site:`, `device:`, `serial:` and `customer:` (id
or name; "" for nobody) name what is compared; commas separate alternatives, `*` stands for any characters (then case
does not matter), a minus before a word turns it around, quotes hold spaces and commas together. A word without a colon
is a part of id, serial or site, in any case. Nothing selects all devices.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

MAX_CHARS = 1024
MAX_TERMS = 32

_TERM = re.compile(r'\s*(?P<minus>-?)(?:(?P<field>[a-z]+):)?(?P<values>(?:"[^"]*"|[^\s"])+)')
_VALUE = re.compile(r'((?:"[^"]*"|[^,"])*)(?:,|$)')


class Field(StrEnum):
    """What of a device is compared."""

    PRODUCT = "product"
    SITE = "site"
    DEVICE = "device"
    SERIAL = "serial"
    CUSTOMER = "customer"  # id or name of whose it is now
    ANY = "any"  # a part of id, serial or site


@dataclass(frozen=True, slots=True)
class Term:
    """One word: some of `values` must fit the field, or none where it is `negated`."""

    field: Field
    values: tuple[str, ...]
    negated: bool = False


Selector = tuple[Term, ...]
"""Terms that must all hold; () selects all devices."""


def parse(text: str) -> Selector:
    """Read a selector; raises ValueError with a sentence."""
    if len(text) > MAX_CHARS or "\0" in text:
        raise ValueError(f"a selector has at most {MAX_CHARS} characters, and no NUL")
    terms: list[Term] = []
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = _TERM.match(text, at)
        if found is None or (found.end() < len(text) and not text[found.end()].isspace()):
            raise ValueError(f"{text[at:].strip()[:40]!r} is no word of a selector: a quote is not closed")
        terms.append(_term(found))
        at = found.end()
    if len(terms) > MAX_TERMS:
        raise ValueError(f"a selector has at most {MAX_TERMS} words")
    return tuple(terms)


def _term(found: re.Match[str]) -> Term:
    name, said = found["field"], found["values"]
    if name is None:
        return Term(Field.ANY, (said.replace('"', ""),), bool(found["minus"]))
    if name not in set(Field) - {Field.ANY}:
        known = ", ".join(f"{one}:" for one in Field if one is not Field.ANY)
        raise ValueError(f"{name}: is nothing that is compared; say one of {known}")
    values = tuple(one.replace('"', "") for one in _VALUE.findall(said))
    return Term(Field(name), tuple(one for one in values if one) or ("",), bool(found["minus"]))
