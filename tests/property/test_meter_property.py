"""Usage is what the readings say, however they came, were sealed, and are cut into periods."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from batches import T0_US
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from seals import Shelf, a_shelf, a_store

from agent.wire.messages import Clock, Segment, Series, Value
from fleet.core.meter import Usage
from fleet.core.rollup import DAY_US
from fleet.store import meter

pytest_plugins = ("databases",)

MIN_US = 60_000_000
DAY0_US = T0_US // DAY_US * DAY_US
NOW_US = DAY0_US + 10 * DAY_US
ROLLOVER = 1000
GAP_US = 60 * MIN_US

COUNTS = st.integers(0, 9999).map(lambda whole: whole / 10)
VALUES = st.one_of(COUNTS, COUNTS, COUNTS, st.integers(-5, 1000), st.sampled_from([None, "fault"]))
READINGS = st.lists(st.tuples(st.integers(0, 3 * 96 * 15), VALUES), min_size=1, max_size=12)  # minutes
BATCHES = st.lists(READINGS, min_size=1, max_size=5)
EDGES = st.lists(st.integers(0, 3 * 96 * 60), min_size=2, max_size=6, unique=True).map(sorted)  # quarters of a minute


def used(shelf: Shelf, edges: Sequence[int]) -> list[Usage]:
    with shelf.engine.connect() as conn:
        return meter.usage(
            conn, shelf.device_id, "board.kwh", edges, max_gap_us=GAP_US, rollover=ROLLOVER, now_us=NOW_US
        )


def step(before: Value, now: Value) -> Fraction:
    was, is_ = Fraction(str(before)), Fraction(str(now))
    if is_ >= was:
        return is_ - was
    rolled = is_ - was + ROLLOVER
    return rolled if 0 <= rolled <= Fraction(ROLLOVER, 2) else max(is_, Fraction(0))


def wanted(shelf: Shelf, from_us: int, to_us: int) -> tuple[Fraction | None, int, float]:
    """Usage, number of readings and coverage, the long way."""
    numbers = [(t_us, v) for t_us, v in shelf.wanted("board.kwh") if isinstance(v, int | float) and t_us < to_us]
    inside = [t_us for t_us, _ in numbers if t_us >= from_us]
    total = sum((step(a, b) for (_, a), (t_us, b) in pairwise(numbers) if t_us >= from_us), Fraction(0))
    gaps = [(a, b) for (a, _), (b, _) in pairwise(numbers) if b - a > GAP_US and b > from_us]
    if not numbers:
        gaps = [(from_us, to_us)]
    else:
        if numbers[0][0] > from_us:
            gaps.append((from_us, numbers[0][0]))
        if to_us - numbers[-1][0] > GAP_US:
            gaps.append((numbers[-1][0], to_us))
    missing = sum(end - max(start, from_us) for start, end in gaps)
    return total if inside else None, len(inside), 1 - missing / (to_us - from_us)


def filled(shelf: Shelf, batches: list[list[tuple[int, Value]]], seals: set[int]) -> None:
    for number, some in enumerate(batches, 1):
        rows = sorted((minute, i) for i, (minute, _) in enumerate(some))
        times = [DAY0_US + minute * MIN_US for minute, _ in rows]
        steps = (0, *(b - a for a, b in pairwise(times)))
        values = tuple(some[i][1] for _, i in rows)
        shelf.take([Segment(number, "boot", 0, Clock.SYNCED, (Series("board.kwh", "kW.h", times[0], steps, values),))])
        if number in seals:
            shelf.seal()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(batches=BATCHES, seals=st.sets(st.integers(1, 5)), cuts=EDGES)
@example(batches=[[(0, 1.5), (1500, 2.5)], [(700, 2.0)]], seals={1}, cuts=[0, 5760])
def test_usage_is_what_the_readings_say_and_adds_up(
    batches: list[list[tuple[int, Value]]], seals: set[int], cuts: list[int], sqlite_url: str
):
    edges = [DAY0_US + cut * MIN_US // 4 for cut in cuts]
    with a_store(sqlite_url) as engine:
        shelf = a_shelf(engine)
        filled(shelf, batches, seals)

        *periods, whole = used(shelf, edges)

        for one, (from_us, to_us) in zip(periods, pairwise(edges), strict=True):
            usage, count, coverage = wanted(shelf, from_us, to_us)
            assert (one.usage, one.readings) == (usage, count)
            assert used(shelf, [from_us, to_us])[-1].usage == usage
            assert one.exact
        usage, count, coverage = wanted(shelf, edges[0], edges[-1])
        assert (whole.usage, whole.readings) == (usage, count)
        assert abs((whole.coverage or 0) - coverage) < 1e-9
        assert (whole.usage or 0) == sum(one.usage or 0 for one in periods)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    minutes=st.lists(st.integers(0, 3 * 96 * 15 - 1), min_size=2, max_size=30, unique=True).map(sorted),
    steps=st.lists(st.integers(0, 40), min_size=30, max_size=30),
)
def test_a_counter_that_never_fell_counts_the_same_from_windows_alone(
    minutes: list[int], steps: list[int], sqlite_url: str
):
    values = [sum(steps[: i + 1]) / 10 for i in range(len(minutes))]
    edges = [DAY0_US + hour * 60 * MIN_US for hour in range(0, 73, 6)]
    with a_store(sqlite_url) as engine:
        shelf = a_shelf(engine)
        filled(shelf, [list(zip(minutes, values, strict=True))], {1})
        before = used(shelf, edges)
        shelf.forget_readings(NOW_US)

        after = used(shelf, edges)

        assert after == before
        assert all(one.exact for one in after)
