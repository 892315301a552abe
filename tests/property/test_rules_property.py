"""Rules, whatever comes: how readings are cut into calls, who ticks when, and what is restarted changes nothing."""

import itertools
import json
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.rules.engine import Change, Judge, RuleState
from agent.rules.phase import Phase, pack, unpack
from agent.rules.rule import Rule, read_rules
from agent.wire.document import parse_document
from agent.wire.messages import Value

S = 1_000_000
SERIES = ("a.x", "a.y", "b.z")
CONDITIONS = (
    "series = 'a.x'\nabove = 2\nhold_s = 3",
    "series = '*'\nrate_above = 1\nwindow_s = 4\nhold_s = 1",
    "series = 'a.x'\nstep_above = 2\nrollover = 8",
    "series = 'a.y'\nstep_above = 4\nwindow_s = 6\nhold_s = 0",
    "series = 'a.y'\nstuck_s = 6\ntolerance = 0.5",
    "series = 'a.x'\nchanged = true",
    "series = 'a.y'\nequals = 3\nhold_s = 2",
    "series = 'b.z'\nabsent_s = 5",
    "all = [{ series = 'a.x', above = 1 }, { not = { series = 'a.y', above = 3 } }]\nhold_s = 2",
    """any = [
        { series = 'a.x', absent_s = 4 },
        { all = [{ series = 'b.z', equals = 1 }, { series = 'a.y', below = 2 }] },
    ]
    hold_s = 3""",
)
PAUSES = "[[source]]\nname = 'a'\nexpected_s = 0.7\n[[source]]\nname = 'b'\nexpected_s = 1\n"
RULES: tuple[Rule, ...] = read_rules(
    parse_document(
        PAUSES + "".join(f"[[rule]]\nname = 'r{i}'\nclear_hold_s = 2\n{it}\n" for i, it in enumerate(CONDITIONS))
    )
)

Row = tuple[int, str, Value]
VALUES: st.SearchStrategy[Value] = st.one_of(st.integers(0, 5), st.none())


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    """Readings in order of time, several at a time among them."""
    steps = draw(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(SERIES), VALUES), max_size=60))
    times = itertools.accumulate(step for step, _, _ in steps)
    return [(t * S, series, value) for t, (_, series, value) in zip(times, steps, strict=True)]


def told(changes: Sequence[Change]) -> list[tuple[str, str, str, int, int, Value]]:
    """What changes say, in an order that does not depend on which rule was asked first."""
    return sorted((it.rule.name, it.series, str(it.state), it.t_us, it.first_bad_us, str(it.value)) for it in changes)


def run(judge: Judge, readings: Sequence[Row]) -> list[Change]:
    return [change for t_us, series, value in readings for change in judge.feed(series, t_us, value)]


def through_json(judge: Judge) -> Judge:
    kept = json.dumps({"\n".join(key): pack(state) for key, state in judge.states().items()})
    return Judge(RULES, {tuple(key.split("\n")): unpack(it) for key, it in json.loads(kept).items()})  # type: ignore[misc]


def started() -> Judge:
    judge = Judge(RULES)
    judge.tick(0)
    return judge


def end_of(readings: Sequence[Row]) -> int:
    return (readings[-1][0] if readings else 0) + 60 * S


@given(rows(), st.data())
@settings(deadline=None)
def test_a_restart_at_any_point_changes_nothing(readings: list[Row], data: st.DataObject):
    whole = started()
    expected = run(whole, readings) + whole.tick(end_of(readings))

    judge, found = started(), []
    rest = readings
    while rest:
        cut = data.draw(st.integers(1, len(rest)))
        found += run(judge, rest[:cut])
        judge = through_json(judge)
        rest = rest[cut:]
    found += judge.tick(end_of(readings))

    assert told(found) == told(expected)
    assert judge.states() == whole.states()


@given(rows(), st.lists(st.integers(0, 240), max_size=30))
@settings(deadline=None)
def test_it_does_not_matter_when_and_how_often_somebody_ticks(readings: list[Row], ticks: list[int]):
    quiet = started()
    expected = run(quiet, readings) + quiet.tick(end_of(readings))

    busy, found = started(), []
    for t_us, series, value in readings:
        for tick in sorted(tick for tick in ticks if tick * S <= t_us):
            found += busy.tick(tick * S)
        found += busy.feed(series, t_us, value)
    found += busy.tick(end_of(readings))

    assert told(found) == told(expected)


@given(rows(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_series_at_one_moment_does_not_matter(readings: list[Row], random: Random):
    straight = started()
    expected = run(straight, readings) + straight.tick(end_of(readings))

    mixed: list[Row] = []
    for _, moment in itertools.groupby(readings, key=lambda row: row[0]):
        together = list(moment)
        names = list(dict.fromkeys(series for _, series, _ in together))
        random.shuffle(names)
        mixed += [row for name in names for row in together if row[1] == name]
    other = started()
    found = run(other, mixed) + other.tick(end_of(readings))

    assert told(found) == told(expected)


@given(rows(), st.data())
@settings(deadline=None)
def test_a_late_reading_never_changes_a_thing(readings: list[Row], data: st.DataObject):
    judge = started()
    newest: dict[str, int] = {}
    for t_us, series, value in readings:
        judge.feed(series, t_us, value)
        newest[series] = t_us
        if t_us > 0 and value is not None:
            before = judge.states()
            late_us = data.draw(st.integers(0, t_us - 1))
            assert not judge.feed(series, late_us, data.draw(VALUES))
            assert phases(judge.states()) == phases(before)


def phases(states: dict[tuple[str, str], RuleState]) -> dict[tuple[str, str], tuple[Phase, int, int]]:
    return {key: (it.phase, it.first_bad_us, it.bad_samples) for key, it in states.items()}


@pytest.mark.parametrize("fields", [["active", 5, 0, 3, 9], ["ok", 0, 0, 0, -1]])
def test_a_state_of_the_first_release_is_read(fields: list[object]):
    state = unpack(fields)

    assert pack(state) == fields
    assert state.memory == ()
