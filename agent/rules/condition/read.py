"""Read the condition of a `[[rule]]` table, or of a table below its `all`, `any` or `not`.

A table has one condition, which is one key or a pair that belongs together, and the options that go with it. Whatever
stands beside it and does not go with it is an error that names both.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count

from agent.rules.condition.limit import Above, Below, Equals, Limit, Outside
from agent.rules.condition.one import Condition
from agent.rules.condition.pace import Rate, Step
from agent.rules.condition.several import AllOf, AnyOf, Node, NotOf, Part, Several
from agent.rules.condition.silence import Absent
from agent.rules.condition.still import Changed, Stuck
from agent.wire.document import Table
from agent.wire.limits import MAX_VALUE_CHARS
from agent.wire.units import US_PER_S

DEFAULT_HYSTERESIS_RATIO = 0.05  # of the limit
DEFAULT_WINDOW_S = 60.0
ABSENT_INTERVALS = 3  # of silence, where the expected interval is given
MIN_WINDOW_S = 0.001
MAX_WINDOW_S = 7 * 86_400.0
MAX_PARTS = 32  # conditions on one series in one rule
MAX_DEPTH = 4  # of `all`, `any` and `not` in each other


@dataclass(frozen=True, slots=True)
class _Family:
    """Keys that make a condition together, the options beside them, and how they are read."""

    keys: tuple[str, ...]
    options: tuple[str, ...]
    read: Callable[[Table], Condition]


Expected = Callable[[str], int]
"""Returns how far apart the readings of a series are at most, µs; 0 where that is not known."""


def read_condition(table: Table, series: str = "", expected: Expected = lambda _: 0) -> Condition | Several:
    """Read the condition of a rule. `series` is the rule's own, "" if it has none; raises DocumentError."""
    node = _Reader(series, expected).read(table, 1)
    if isinstance(node, Part):
        return node.condition
    return Several(node, tuple(node.parts()))


class _Reader:
    """Reads one rule's condition, part by part."""

    def __init__(self, own: str, expected: Expected) -> None:
        self._own = own
        self._expected = expected
        self._number = count()

    def read(self, table: Table, depth: int) -> Node:
        """Read a condition or what joins several."""
        key = _key(table)
        if key not in JOINS:
            if key == "absent":
                return Part(self._next(table), "", self._silence(table))
            return Part(self._next(table), "", _BY_KEY[key].read(table))
        if depth > MAX_DEPTH:
            raise table.error(key, f"more than {MAX_DEPTH} of all, any and not in each other")
        if key == "not":
            return NotOf(self._read_below(table.table(key), depth))
        below = tuple(self._read_below(each, depth) for each in table.tables(key))
        if not below:
            raise table.error(key, "empty; it is an array of conditions, each with its series")
        return AllOf(below) if key == "all" else AnyOf(below)

    def _read_below(self, table: Table, depth: int) -> Node:
        node = self.read(table, depth + 1)
        if isinstance(node, Part):
            node = Part(node.index, _series(table, self._own), node.condition)
        table.done()
        return node

    def _silence(self, table: Table) -> Condition:
        """Read `absent = true`: silence against what the source's own config says."""
        if not table.flag("absent"):
            raise table.error("absent", "false says nothing; leave it out")
        series = table.text("series") if "series" in table else self._own
        expected_us = self._expected(series)
        if not expected_us:
            why = f"nothing says how often {series!r} is read"
            raise table.error("absent", f"{why}: give the source every_s or expected_s, or the rule absent_s")
        return Absent(expected_us * ABSENT_INTERVALS)

    def _next(self, table: Table) -> int:
        index = next(self._number)
        if index >= MAX_PARTS:
            raise table.error("", f"more than {MAX_PARTS} conditions in one rule")
        return index


def _series(table: Table, own: str) -> str:
    """Return the series of a part, "" where it is the rule's own."""
    if "series" not in table:
        if not own:
            raise table.error("series", "missing; name it here, or once in the rule for all that name none")
        return ""
    series = table.text("series")
    if "*" in series:
        raise table.error("series", f"{series!r} is a pattern; a condition over several series names each of them")
    if "*" in own:
        raise table.error("series", f"cannot be named where the rule's series is a pattern, {own!r}")
    return "" if series == own else series


def _key(table: Table) -> str:
    """Return the key that says which condition the table has; there is exactly one family of them."""
    found = [key for key in CONDITIONS if key in table]
    if not found:
        meant = next(filter(None, (table.misspelt(key) for key in CONDITIONS)), "")
        raise table.error("above", f"missing; a rule has one of {', '.join(CONDITIONS)}{meant}")
    key = found[0]
    mine = () if key in JOINS else _BY_KEY[key].keys
    for other in found[1:]:
        if other not in mine:
            raise table.error(other, f"stands beside {key!r}; a rule has one condition, `all` and `any` join several")
    fitting = () if key in JOINS else _BY_KEY[key].options
    for option, families in _OPTIONS.items():
        if option not in fitting and table.has(option):
            raise table.error(option, f"goes with {' and '.join(families)}, not with {key!r}")
    return key


def _limit(table: Table, above: str, below: str) -> Limit:
    """Read a limit and its band: one of two keys, or both for bad outside of the two."""
    if above in table and below in table:
        low, high = table.number(below), table.number(above)
        if low >= high:
            raise table.error(below, f"{low:g} is not less than {above} = {high:g}")
        band = table.number("hysteresis", (high - low) * DEFAULT_HYSTERESIS_RATIO, least=0, most=(high - low) / 2)
        return Outside(low, high, band)
    key, kind = (above, Above) if above in table else (below, Below)
    limit = table.number(key)
    return kind(limit, table.number("hysteresis", abs(limit) * DEFAULT_HYSTERESIS_RATIO, least=0))


def _plain_limit(table: Table) -> Condition:
    return _limit(table, "above", "below")


def _rate(table: Table) -> Condition:
    window_s = table.number("window_s", DEFAULT_WINDOW_S, least=MIN_WINDOW_S, most=MAX_WINDOW_S)
    return Rate(_limit(table, "rate_above", "rate_below"), _us(window_s))


def _step(table: Table) -> Condition:
    limit = _limit(table, "step_above", "step_below")
    window_s = table.number("window_s", least=MIN_WINDOW_S, most=MAX_WINDOW_S) if "window_s" in table else 0
    rollover = table.number("rollover", least=1, most=2**64) if "rollover" in table else 0
    return Step(limit, _us(window_s), rollover)


def _equals(table: Table) -> Condition:
    wanted = table.scalar("equals")
    if isinstance(wanted, str) and len(wanted) > MAX_VALUE_CHARS:
        raise table.error("equals", f"{len(wanted)} characters, more than {MAX_VALUE_CHARS}")
    return Equals(int(wanted) if isinstance(wanted, bool) else wanted)


def _changed(table: Table) -> Condition:
    if not table.flag("changed"):
        raise table.error("changed", "false says nothing; leave it out, or use stuck_s for a value that does not move")
    return Changed()


def _stuck(table: Table) -> Condition:
    stuck_s = table.number("stuck_s", least=MIN_WINDOW_S, most=MAX_WINDOW_S)
    return Stuck(_us(stuck_s), table.number("tolerance", 0, least=0))


def _absent(table: Table) -> Condition:
    if "absent_s" not in table:
        expected_s = table.number("expected_s", least=MIN_WINDOW_S, most=MAX_WINDOW_S / ABSENT_INTERVALS)
        return Absent(_us(expected_s) * ABSENT_INTERVALS)
    if "expected_s" in table:
        raise table.error("expected_s", f"stands beside 'absent_s', which it would set to {ABSENT_INTERVALS} times it")
    return Absent(_us(table.number("absent_s", least=MIN_WINDOW_S, most=MAX_WINDOW_S)))


def _us(duration_s: float) -> int:
    return round(duration_s * US_PER_S)


JOINS = ("all", "any", "not")

FAMILIES = (
    _Family(("above", "below"), ("hysteresis",), _plain_limit),
    _Family(("rate_above", "rate_below"), ("hysteresis", "window_s"), _rate),
    _Family(("step_above", "step_below"), ("hysteresis", "window_s", "rollover"), _step),
    _Family(("equals",), (), _equals),
    _Family(("changed",), (), _changed),
    _Family(("stuck_s",), ("tolerance",), _stuck),
    _Family(("absent_s", "expected_s"), (), _absent),
    _Family(("absent",), (), _absent),  # read by `_Reader`, which knows the source
)

_BY_KEY: Mapping[str, _Family] = {key: family for family in FAMILIES for key in family.keys}

CONDITIONS = (*_BY_KEY, *JOINS)

_OPTIONS: Mapping[str, tuple[str, ...]] = {
    option: tuple(each.keys[0] for each in FAMILIES if option in each.options)
    for family in FAMILIES
    for option in family.options
}
